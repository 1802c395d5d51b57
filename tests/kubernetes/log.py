"""What a container said, as its node gives it out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

_KEPT = 20_000


class Log:
    """Lines with their time; readers may follow until it is closed."""

    def __init__(self) -> None:
        self._lines: deque[tuple[datetime, str]] = deque(maxlen=_KEPT)
        self._number = 0
        self._changed = threading.Condition()
        self._is_closed = False

    def add(self, text: str) -> None:
        with self._changed:
            self._lines.append((datetime.now(UTC), text))
            self._number += 1
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def read(
        self, *, tail: int | None, since: datetime | None, is_follow: bool, is_timed: bool
    ) -> Iterator[str]:
        """Lines without their end. While nothing is said a follower gets "" every half second, so
        that it can see whether anybody still listens."""
        with self._changed:
            lines, position = list(self._lines), self._number
        if since is not None:
            lines = [line for line in lines if line[0] >= since]
        if tail is not None:
            lines = lines[len(lines) - min(tail, len(lines)) :]
        while True:
            for at, text in lines:
                yield f"{stamp(at)} {text}" if is_timed else text
            if not is_follow:
                return
            with self._changed:
                if position == self._number and self._is_closed:
                    return
                if position == self._number and not self._changed.wait(0.5):
                    lines = []
                else:
                    count = min(self._number - position, len(self._lines))
                    lines = list(self._lines)[len(self._lines) - count :]
                    position = self._number
            if not lines:
                yield ""


def stamp(at: datetime) -> str:
    """As nodes do: nanoseconds.

    >>> stamp(datetime(2026, 1, 1, tzinfo=UTC))
    '2026-01-01T00:00:00.000000000Z'
    """
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def since(seconds: str, time: str) -> datetime | None:
    """What ``sinceSeconds`` or ``sinceTime`` of a request mean."""
    if time:
        return datetime.fromisoformat(time.replace("Z", "+00:00"))
    return datetime.now(UTC) - timedelta(seconds=int(seconds)) if seconds else None
