"""How long to wait after failures. Pure."""

from __future__ import annotations

from datetime import timedelta

_FIRST = timedelta(seconds=5)
_LONGEST = timedelta(minutes=3)
_JITTER = 0.5


def backoff(failures: int, chance: float) -> timedelta:
    """The wait after so many failures in a row (from 1): 5 s, doubling up to 3 min. ``chance``,
    from 0 to 1, takes up to half of it away, so that those who failed together do not come back
    together.

    >>> [backoff(n, 0).seconds for n in (1, 2, 3, 6, 7, 1000)]
    [5, 10, 20, 160, 180, 180]
    >>> backoff(2, 1).seconds
    5
    """
    return min(_LONGEST, _FIRST * (1 << min(failures - 1, 16))) * (1 - _JITTER * chance)
