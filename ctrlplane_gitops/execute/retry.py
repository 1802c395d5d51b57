"""How often, and after how long, a failed action is tried again. Pure."""

from __future__ import annotations

from datetime import timedelta

MAX_ATTEMPTS = 6
_FIRST = timedelta(milliseconds=200)
_LONGEST = timedelta(seconds=10)
_LONGEST_ASKED = timedelta(minutes=2)


def next_delay(attempt: int, asked_s: float | None = None) -> timedelta | None:
    """The wait after failed attempt number ``attempt`` (from 1); None when it was the last.
    ``asked_s`` is how long whoever answered wants to be left in peace: at least so long, and what
    would take too long is left to the next pass.

    Doubling without jitter: one lease means one caller, so there is no herd to spread.

    >>> next_delay(1), next_delay(3), next_delay(6)
    (datetime.timedelta(microseconds=200000), datetime.timedelta(microseconds=800000), None)
    >>> next_delay(1, 20), next_delay(1, 3600)
    (datetime.timedelta(seconds=20), None)
    """
    asked = timedelta(seconds=asked_s or 0)
    if attempt >= MAX_ATTEMPTS or asked > _LONGEST_ASKED:
        return None
    return max(asked, min(_LONGEST, _FIRST * (1 << (attempt - 1))))
