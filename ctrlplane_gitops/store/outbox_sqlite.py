"""What is to be told to others, in SQLite, over a connection of its own: a notification waits for
no state that is being read, and holds up none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ctrlplane_gitops.state.notification import Attempt, Closed, Message, MessageState, Notice
from ctrlplane_gitops.store.beside import Beside
from ctrlplane_gitops.store.codec import decode_time, encode_time
from ctrlplane_gitops.store.outbox import (
    GIVEN_UP_AFTER,
    KEPT,
    KEPT_FOR,
    MAX_PENDING,
    MessageFilter,
    Reading,
)


class SqliteOutbox:
    """The rows of the store at ``path``."""

    def __init__(self, path: Path, *, is_read_only: bool = False) -> None:
        self._beside = Beside(path, "outbox", is_read_only=is_read_only)

    def read_cursor(self) -> int | None:
        rows = self._select("SELECT number FROM outbox_cursor")
        return rows[0][0] if rows else None

    def read_notices(self) -> Sequence[Notice]:
        rows = self._select(
            "SELECT subscription, address, kind, identity, count, since, last_at, event, message "
            "FROM notices ORDER BY subscription, address, kind, identity"
        )
        return [
            Notice(
                subscription, address, kind, identity, count, decode_time(since),
                decode_time(last_at), event, message,
            )
            for subscription, address, kind, identity, count, since, last_at, event, message
            in rows
        ]  # fmt: skip

    def read_on(self, reading: Reading) -> bool:
        with self._beside.writing() as connection:
            row = connection.execute("SELECT number FROM outbox_cursor").fetchone()
            is_same = all(
                connection.execute(_HAS_NOTICE, (*item.key, item.count, item.event)).fetchone()
                for item in reading.old
            )
            if (row[0] if row else None) != reading.before or not is_same:
                return False
            connection.execute("DELETE FROM outbox_cursor")
            if reading.after is not None:
                connection.execute("INSERT INTO outbox_cursor VALUES (1, ?)", (reading.after,))
            for item in reading.old:
                connection.execute(_DELETE_NOTICE, (*item.key, item.count, item.event))
            connection.executemany(
                "INSERT OR REPLACE INTO notices VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (*item.key, item.count, encode_time(item.since), encode_time(item.last_at),
                     item.event, item.message)
                    for item in reading.new
                ],
            )  # fmt: skip
            connection.executemany(
                f"INSERT INTO outbox ({_COLUMNS}) VALUES "
                "(NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_encode(item) for item in reading.messages],
            )
        return True

    def find_due(self) -> Mapping[str, datetime]:
        rows = self._select(
            "SELECT subscription, min(next_at) FROM outbox WHERE state = 'pending' "
            "GROUP BY subscription"
        )
        return {subscription: decode_time(at) for subscription, at in rows}

    def claim(self, subscription: str, now: datetime, until: datetime) -> Message | None:
        with self._beside.writing() as connection:
            row = connection.execute(
                f"UPDATE outbox SET next_at = ? WHERE number = (SELECT number FROM outbox "
                "WHERE state = 'pending' AND subscription = ? AND next_at <= ? "
                f"ORDER BY number LIMIT 1) RETURNING {_COLUMNS}",
                (encode_time(until), subscription, encode_time(now)),
            ).fetchone()
        return None if row is None else _decode(row)

    def end_attempt(self, id: str, attempt: Attempt, now: datetime) -> bool:
        is_over = attempt.state is not MessageState.PENDING
        with self._beside.writing() as connection:
            written = connection.execute(
                "UPDATE outbox SET state = ?, attempts = attempts + 1, next_at = ?, status = ?, "
                "error = ?, ended_at = ? WHERE id = ? AND state = 'pending'",
                (attempt.state.value, _encode_time(attempt.next_at), attempt.status, attempt.error,
                 encode_time(now) if is_over else None, id),
            )  # fmt: skip
        return written.rowcount == 1

    def give_up(self, subscription: str, reason: str, now: datetime) -> int:
        with self._beside.writing() as connection:
            connection.execute("DELETE FROM notices WHERE subscription = ?", (subscription,))
            return connection.execute(
                f"{_FAIL} WHERE state = 'pending' AND subscription = ?",
                (reason, encode_time(now), subscription),
            ).rowcount

    def close_subscription(self, closed: Closed) -> None:
        row = (closed.subscription, closed.target, encode_time(closed.at))
        with self._beside.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO outbox_closed VALUES (?, ?, ?)", row)

    def open_subscription(self, subscription: str) -> None:
        with self._beside.writing() as connection:
            connection.execute("DELETE FROM outbox_closed WHERE subscription = ?", (subscription,))

    def read_closed(self) -> Mapping[str, Closed]:
        rows = self._select("SELECT subscription, target, at FROM outbox_closed")
        return {row[0]: Closed(row[0], row[1], decode_time(row[2])) for row in rows}

    def read_subscriptions(self) -> Collection[str]:
        rows = self._select(
            "SELECT subscription FROM outbox WHERE state = 'pending' UNION "
            "SELECT subscription FROM notices UNION SELECT subscription FROM outbox_closed"
        )
        return [row[0] for row in rows]

    def read_messages(
        self, where: MessageFilter, *, before: int | None = None, limit: int = 100
    ) -> Sequence[Message]:
        conditions: list[tuple[str, Any]] = []
        if where.subscription is not None:
            conditions.append(("subscription = ?", where.subscription))
        if where.state is not None:
            conditions.append(("state = ?", where.state.value))
        if where.address is not None:
            conditions.append(("address = ?", where.address))
        if before is not None:
            conditions.append(("number < ?", before))
        text = " AND ".join(condition for condition, _ in conditions) or "TRUE"
        rows = self._select(
            f"SELECT {_COLUMNS} FROM outbox WHERE {text} ORDER BY number DESC LIMIT ?",
            *(value for _, value in conditions),
            max(limit, 0),
        )
        return [_decode(row) for row in rows]

    def prune(self, now: datetime) -> None:
        at = encode_time(now)
        with self._beside.writing() as connection:
            connection.execute(
                f"{_FAIL} WHERE state = 'pending' AND created_at < ?",
                ("nobody took it in time", at, encode_time(now - GIVEN_UP_AFTER)),
            )
            connection.execute(
                f"{_FAIL} WHERE state = 'pending' AND number IN (SELECT number FROM (SELECT "
                "number, row_number() OVER (PARTITION BY subscription ORDER BY number DESC) AS "
                "place FROM outbox WHERE state = 'pending') WHERE place > ?)",
                ("too many are waiting", at, MAX_PENDING),
            )
            connection.execute(
                "DELETE FROM outbox WHERE ended_at < ? OR (ended_at IS NOT NULL AND number <= "
                "(SELECT max(number) - ? FROM outbox))",
                (encode_time(now - KEPT_FOR), KEPT),
            )

    def close(self) -> None:
        """Twice is once."""
        self._beside.close()

    def _select(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._beside.reading() as connection:
            return [] if connection is None else connection.execute(statement, values).fetchall()


_COLUMNS = (
    "number, id, subscription, event, type, address, created_at, body, state, attempts, next_at, "
    "status, error, ended_at"
)
_SAME_NOTICE = (
    "FROM notices WHERE subscription = ? AND address = ? AND kind = ? AND identity = ? "
    "AND count = ? AND event = ?"
)
_HAS_NOTICE, _DELETE_NOTICE = f"SELECT 1 {_SAME_NOTICE}", f"DELETE {_SAME_NOTICE}"
_FAIL = "UPDATE outbox SET state = 'failed', next_at = NULL, error = ?, ended_at = ?"


def _encode(message: Message) -> tuple[Any, ...]:
    return (
        message.id, message.subscription, message.event, message.type, message.address,
        encode_time(message.created_at), message.body, message.state.value, message.attempts,
        _encode_time(message.next_at), message.status, message.error,
        _encode_time(message.ended_at),
    )  # fmt: skip


def _decode(row: tuple[Any, ...]) -> Message:
    number, id, subscription, event, type, address, created_at, body, state = row[:9]
    attempts, next_at, status, error, ended_at = row[9:]
    return Message(
        id, subscription, event, type, address, decode_time(created_at), body, MessageState(state),
        attempts, _decode_time(next_at), status, error, _decode_time(ended_at), number,
    )  # fmt: skip


def _encode_time(at: datetime | None) -> str | None:
    return None if at is None else encode_time(at)


def _decode_time(text: str | None) -> datetime | None:
    return None if text is None else decode_time(text)
