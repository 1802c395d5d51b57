"""The ledger of deliveries in SQLite. Those that come at the same time are written together: a
transaction that is on disk costs as much for one as for fifty."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.state.delivery import DeliveryOutcome, DeliveryRecord
from ctrlplane_gitops.store.beside import Beside
from ctrlplane_gitops.store.codec import decode_time, encode_time
from ctrlplane_gitops.store.delivery import KEPT, KEPT_REJECTIONS, DeliveryFilter
from ctrlplane_gitops.store.delivery_memory import copy_of
from ctrlplane_gitops.store.retained import BATCH
from ctrlplane_gitops.value import replace

# How many rows are added before those that are too many go.
_TRIM_EVERY = 256


class _Waiting:
    """Deliveries that are to be written, and what came of that. Whoever brought them sleeps until
    ``wake`` unless it is its turn to write for all."""

    def __init__(self, records: Sequence[DeliveryRecord]) -> None:
        self.records = records
        self.written: Sequence[DeliveryRecord] | None = None
        self.error: StoreError | None = None
        self._gate = threading.Lock()
        self._gate.acquire()

    @property
    def is_over(self) -> bool:
        return self.written is not None or self.error is not None

    def wait(self) -> None:
        self._gate.acquire()

    def wake(self) -> None:
        self._gate.release()


class SqliteDeliveries:
    """The rows of the store at ``path``, over a connection of its own that is opened when it is
    first needed: whoever delivers must not wait for a state of ten thousand instances that is
    being read."""

    def __init__(self, path: Path, *, is_read_only: bool = False) -> None:
        self._beside = Beside(path, "deliveries", is_read_only=is_read_only)
        self._keeper = Beside(path, "deliveries", is_read_only=is_read_only)
        self._waiting_lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._is_writing = False
        self._added = 0

    def accept(self, record: DeliveryRecord) -> DeliveryRecord:
        return self.accept_all([record])[0]

    def accept_all(self, records: Sequence[DeliveryRecord]) -> Sequence[DeliveryRecord]:
        waiting = _Waiting(records)
        with self._waiting_lock:
            self._waiting.append(waiting)
            is_writer, self._is_writing = not self._is_writing, True
        if not is_writer:
            waiting.wait()
        if not waiting.is_over:
            self._write_waiting()
        if waiting.written is None:
            error = waiting.error or StoreError("the deliveries were not written")
            raise StoreError(error.message, hint=error.hint, is_retryable=True)
        return waiting.written

    def tally(self, key: str, record: DeliveryRecord) -> None:
        with self._beside.writing() as connection:
            _count(connection, "tally", key, record)
            self._trim(connection, 1)

    def end(self, records: Sequence[DeliveryRecord]) -> None:
        # A pass ends many of them alike.
        alike: dict[tuple[Any, ...], list[int]] = {}
        for item in records:
            end = (item.outcome.value, item.commit, _encode_end(item), item.message)
            alike.setdefault(end, []).append(item.number)
        with self._beside.writing() as connection:
            for end, numbers in alike.items():
                connection.execute(_END, (*end, json.dumps(numbers)))
        self._bring_in()

    def read_open(self) -> Sequence[DeliveryRecord]:
        return self._select("WHERE outcome = 'accepted' ORDER BY number", ())

    def read(
        self, where: DeliveryFilter, *, before: int | None = None, limit: int = 100
    ) -> Sequence[DeliveryRecord]:
        conditions: list[tuple[str, Any]] = []
        if where.sender is not None:
            conditions.append(("sender = ?", where.sender))
        if where.outcome is not None:
            conditions.append(("outcome = ?", where.outcome.value))
        if before is not None:
            conditions.append(("number < ?", before))
        text = " AND ".join(condition for condition, _ in conditions) or "TRUE"
        values = [value for _, value in conditions]
        return self._select(f"WHERE {text} ORDER BY number DESC LIMIT ?", (*values, max(limit, 0)))

    def prune(self, before: datetime) -> int:
        with self._beside.writing() as connection:
            return connection.execute(_PRUNE, (encode_time(before),)).rowcount

    def close(self) -> None:
        """Twice is once."""
        self._beside.close()
        self._keeper.close()

    def _bring_in(self) -> None:
        """Bring what accepting has left in SQLite's log into the file, which nobody who delivers
        waits for here. What could not be done now is done later."""
        with suppress(StoreError), self._keeper.reading() as connection:
            if connection is not None:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _write_waiting(self) -> None:
        """Write what everybody has brought so far, and wake them; whoever came meanwhile writes
        next, so that nobody writes for others for ever."""
        with self._waiting_lock:
            waiting, self._waiting = self._waiting, []
        try:
            with self._beside.writing() as connection:
                written = [[_put(connection, one) for one in item.records] for item in waiting]
                self._trim(connection, sum(map(len, written)))
            for item, rows in zip(waiting, written, strict=True):
                item.written = rows
        except StoreError as error:
            for item in waiting:
                item.error = error
        finally:
            with self._waiting_lock:
                following = self._waiting[:1]
                self._is_writing = bool(following)
            for item in (*waiting, *following):
                item.wake()

    def _trim(self, connection: sqlite3.Connection, added: int) -> None:
        before, self._added = self._added, self._added + added
        if before == 0 or before // _TRIM_EVERY != self._added // _TRIM_EVERY:
            for statement in _TRIM:
                connection.execute(statement)

    def _select(self, rest: str, values: tuple[Any, ...]) -> list[DeliveryRecord]:
        with self._beside.reading() as connection:
            if connection is None:
                return []
            rows = connection.execute(f"SELECT {_COLUMNS} FROM deliveries {rest}", values)
            return [_decode(row) for row in rows.fetchall()]


_COLUMNS = (
    "number, id, at, sender, outcome, given_id, digest, event, ref, announced, commit_id, "
    "ended_at, message, reason, original, count"
)
_INSERT = (
    f"INSERT INTO deliveries ({_COLUMNS}, tally) "
    "VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_END = (
    "UPDATE deliveries SET outcome = ?, commit_id = ?, ended_at = ?, message = ? "
    "WHERE number IN (SELECT value FROM json_each(?)) AND outcome = 'accepted'"
)
_TRIM = (
    f"DELETE FROM deliveries WHERE number <= (SELECT max(number) - {KEPT} FROM deliveries) "
    "AND outcome <> 'accepted'",
    "DELETE FROM deliveries WHERE outcome = 'rejected' AND number <= (SELECT number FROM "
    "deliveries WHERE outcome = 'rejected' ORDER BY number DESC LIMIT 1 "
    f"OFFSET {KEPT_REJECTIONS})",
)

_PRUNE = (
    "DELETE FROM deliveries WHERE at < ? AND number IN (SELECT number FROM deliveries "
    f"WHERE outcome <> 'accepted' ORDER BY number LIMIT {BATCH})"
)


def _put(connection: sqlite3.Connection, record: DeliveryRecord) -> DeliveryRecord:
    """One more row, or one more copy of a row."""
    row = connection.execute(
        f"{_INSERT} ON CONFLICT DO NOTHING RETURNING number", (*_encode(record), "")
    ).fetchone()
    if row is not None:
        return replace(record, number=row[0])
    known = _decode(
        connection.execute(
            f"SELECT {_COLUMNS} FROM deliveries WHERE original = '' AND ((given_id <> '' AND "
            "sender = ? AND given_id = ?) OR (digest <> '' AND digest = ?)) "
            "ORDER BY number LIMIT 1",
            (record.sender, record.given_id, record.digest),
        ).fetchone()
    )
    return _count(connection, "original", "", copy_of(known, record))


def _count(
    connection: sqlite3.Connection, column: str, tally: str, record: DeliveryRecord
) -> DeliveryRecord:
    """Onto the row with the same ``column``, or as a row of its own."""
    row = connection.execute(
        f"{_INSERT} ON CONFLICT ({column}) WHERE {column} <> '' DO UPDATE SET "
        "count = count + excluded.count, ended_at = excluded.ended_at, "
        f"message = excluded.message RETURNING {_COLUMNS}",
        (*_encode(record), tally),
    ).fetchone()
    return _decode(row)


def _encode(record: DeliveryRecord) -> tuple[Any, ...]:
    return (
        record.id, encode_time(record.at), record.sender, record.outcome.value, record.given_id,
        record.digest, record.event, record.ref, record.announced, record.commit,
        _encode_end(record), record.message, record.reason, record.original, record.count,
    )  # fmt: skip


def _encode_end(record: DeliveryRecord) -> str | None:
    return None if record.ended_at is None else encode_time(record.ended_at)


def _decode(row: tuple[Any, ...]) -> DeliveryRecord:
    number, id, at, sender, outcome, given_id, digest, event, ref, announced, commit = row[:11]
    ended_at, message, reason, original, count = row[11:]
    return DeliveryRecord(
        id, decode_time(at), sender, DeliveryOutcome(outcome), given_id, digest, event, ref,
        announced, commit, None if ended_at is None else decode_time(ended_at), message, reason,
        original, count, number,
    )  # fmt: skip
