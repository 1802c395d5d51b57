"""What is to be told to others, in memory."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from ctrlplane_gitops.state.notification import Attempt, Closed, Message, MessageState, Notice
from ctrlplane_gitops.store.outbox import (
    GIVEN_UP_AFTER,
    KEPT,
    KEPT_FOR,
    MAX_PENDING,
    MessageFilter,
    NoticeKey,
    Reading,
)
from ctrlplane_gitops.value import replace


class MemoryOutbox:
    """``_rows`` are by number, in its order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursor: int | None = None
        self._notices: dict[NoticeKey, Notice] = {}
        self._rows: dict[int, Message] = {}
        self._last = 0
        self._closed: dict[str, Closed] = {}

    def read_cursor(self) -> int | None:
        with self._lock:
            return self._cursor

    def read_notices(self) -> Sequence[Notice]:
        with self._lock:
            return [self._notices[key] for key in sorted(self._notices)]

    def read_on(self, reading: Reading) -> bool:
        with self._lock:
            is_same = all(self._notices.get(item.key) == item for item in reading.old)
            if self._cursor != reading.before or not is_same:
                return False
            self._cursor = reading.after
            for item in reading.old:
                del self._notices[item.key]
            self._notices.update({item.key: item for item in reading.new})
            for message in reading.messages:
                self._last += 1
                self._rows[self._last] = replace(message, number=self._last)
            return True

    def find_due(self) -> Mapping[str, datetime]:
        found: dict[str, datetime] = {}
        with self._lock:
            for item in self._pending():
                if item.next_at is not None:
                    at = found.get(item.subscription, item.next_at)
                    found[item.subscription] = min(at, item.next_at)
        return found

    def claim(self, subscription: str, now: datetime, until: datetime) -> Message | None:
        with self._lock:
            for item in self._pending(subscription):
                if item.next_at is not None and item.next_at <= now:
                    claimed = self._rows[item.number] = replace(item, next_at=until)
                    return claimed
            return None

    def end_attempt(self, id: str, attempt: Attempt, now: datetime) -> bool:
        with self._lock:
            for item in self._pending():
                if item.id == id:
                    is_over = attempt.state is not MessageState.PENDING
                    self._rows[item.number] = replace(
                        item,
                        state=attempt.state,
                        attempts=item.attempts + 1,
                        next_at=attempt.next_at,
                        status=attempt.status,
                        error=attempt.error,
                        ended_at=now if is_over else None,
                    )
                    return True
            return False

    def give_up(self, subscription: str, reason: str, now: datetime) -> int:
        with self._lock:
            for key in [key for key in self._notices if key[0] == subscription]:
                del self._notices[key]
            return self._fail(self._pending(subscription), reason, now)

    def close_subscription(self, closed: Closed) -> None:
        with self._lock:
            self._closed[closed.subscription] = closed

    def open_subscription(self, subscription: str) -> None:
        with self._lock:
            self._closed.pop(subscription, None)

    def read_closed(self) -> Mapping[str, Closed]:
        with self._lock:
            return dict(self._closed)

    def read_subscriptions(self) -> Collection[str]:
        with self._lock:
            waiting = {item.subscription for item in self._pending()}
            return waiting | {key[0] for key in self._notices} | set(self._closed)

    def read_messages(
        self, where: MessageFilter, *, before: int | None = None, limit: int = 100
    ) -> Sequence[Message]:
        with self._lock:
            found = [
                item
                for item in reversed(self._rows.values())
                if where.subscription in (None, item.subscription)
                and where.state in (None, item.state)
                and where.address in (None, item.address)
                and (before is None or item.number < before)
            ]
        return found[: max(limit, 0)]

    def prune(self, now: datetime) -> None:
        with self._lock:
            old = [item for item in self._pending() if item.created_at < now - GIVEN_UP_AFTER]
            self._fail(old, "nobody took it in time", now)
            for subscription in {item.subscription for item in self._pending()}:
                much = self._pending(subscription)[:-MAX_PENDING]
                self._fail(much, "too many are waiting", now)
            last = max(self._rows, default=0)
            for number, item in list(self._rows.items()):
                at = item.ended_at
                if at is not None and (at < now - KEPT_FOR or number <= last - KEPT):
                    del self._rows[number]

    def _pending(self, subscription: str | None = None) -> list[Message]:
        return [
            item
            for item in self._rows.values()
            if item.state is MessageState.PENDING and subscription in (None, item.subscription)
        ]

    def _fail(self, messages: Sequence[Message], reason: str, now: datetime) -> int:
        for item in messages:
            self._rows[item.number] = replace(
                item, state=MessageState.FAILED, next_at=None, error=reason, ended_at=now
            )
        return len(messages)
