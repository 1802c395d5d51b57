"""The one place that reads the time or sleeps; everything else takes a ``Clock``."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_SLICE_S = 0.1


class Clock(Protocol):
    """Time as an argument. ``now`` is aware UTC; ``wait`` returns True if the event was set."""

    def now(self) -> datetime: ...

    def wait(self, event: threading.Event, timeout: timedelta) -> bool: ...


class SystemClock:
    """Wall clock and real waiting."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def wait(self, event: threading.Event, timeout: timedelta) -> bool:
        return event.wait(max(0.0, timeout.total_seconds()))


class FakeClock:
    """A clock that only moves when told to, or when somebody waits on it.

    >>> clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    >>> clock.wait(threading.Event(), timedelta(seconds=5))
    False
    >>> clock.now().second
    5
    """

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        self._now += by

    def wait(self, event: threading.Event, timeout: timedelta) -> bool:
        if event.is_set():
            return True
        self.advance(max(timeout, timedelta()))
        return event.is_set()


class EitherEvent(threading.Event):
    """Set when it is set itself or the other one is; waiting for it heeds both.

    >>> other = threading.Event()
    >>> event = EitherEvent(other)
    >>> other.set()
    >>> event.wait(), event.is_set()
    (True, True)
    """

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        return super().is_set() or self._other.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """A tenth of a second late for the other one: two events cannot be waited for at once."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _SLICE_S if until is None else min(_SLICE_S, until - time.monotonic())
            if left <= 0:
                break
            super().wait(left)
        return self.is_set()


def monotonic_s() -> float:
    """Seconds on a clock that never goes back, for measuring durations."""
    return time.monotonic()


def wall_s() -> float:
    """Seconds since the Unix epoch."""
    return time.time()


def sleep(seconds: float) -> None:
    """Block this thread. Only for adapters that poll something local."""
    time.sleep(seconds)


def rfc3339(at: datetime) -> str:
    """RFC 3339 text in UTC with milliseconds.

    >>> rfc3339(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05.000Z'
    """
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """The inverse of ``rfc3339``; ValueError when the text has no offset.

    >>> parse_rfc3339("2026-01-02T03:04:05.000Z").hour
    3
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return at.astimezone(UTC)
