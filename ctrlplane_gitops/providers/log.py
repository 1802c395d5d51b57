"""Lines of a log with timestamps, as container engines give them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from ctrlplane_gitops.providers.base import LogLine


def split_lines(replica: str, chunks: Iterable[bytes]) -> Iterator[LogLine]:
    """Lines of a log with timestamps, wherever the chunks were cut.

    >>> [line.text for line in split_lines("a", [b"2026-01-02T03:04:05.123456789Z x", b"y\\nz"])]
    ['xy', 'z']
    """
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield _parse_line(replica, line)
    if rest:
        yield _parse_line(replica, rest)


def _parse_line(replica: str, line: bytes) -> LogLine:
    text = line.decode("utf-8", "replace").rstrip("\r")
    stamp, _, rest = text.partition(" ")
    try:
        # Nanoseconds: Python reads at most six digits of them, and ignores the others.
        at = datetime.fromisoformat(stamp).astimezone(UTC)
    except ValueError:
        return LogLine(replica, "log", None, text)
    return LogLine(replica, "log", at, rest)
