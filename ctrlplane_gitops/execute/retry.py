"""How often, and after how long, a failed action is tried again. Pure."""

from __future__ import annotations

from datetime import timedelta

MAX_ATTEMPTS = 6
_FIRST = timedelta(milliseconds=200)
_LONGEST = timedelta(seconds=10)


def next_delay(attempt: int) -> timedelta | None:
    """The wait after failed attempt number ``attempt`` (from 1); None when it was the last.

    Doubling without jitter: one lease means one caller, so there is no herd to spread.

    >>> next_delay(1), next_delay(3), next_delay(6)
    (datetime.timedelta(microseconds=200000), datetime.timedelta(microseconds=800000), None)
    """
    if attempt >= MAX_ATTEMPTS:
        return None
    return min(_LONGEST, _FIRST * (1 << (attempt - 1)))
