"""When each check is due. Pure but for what it holds: the time is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count

from ctrlplane_gitops.health.tally import Probed

# So much work is left to each of many that begin together: five hundred a second.
_APART = timedelta(milliseconds=2)


class Schedule:
    """Each check has its own interval and keeps to it: a probe that is late does not put off the
    one after it. Checks that begin together are spread, over their interval at most, and so they
    stay."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, Probed]] = []
        self._numbers = count()

    def begin(self, checks: Sequence[Probed], now: datetime) -> None:
        """The first of them is due at once."""
        for place, item in enumerate(checks):
            spread = min(item.check.interval, _APART * len(checks))
            self._put(item, now + spread * (place / len(checks)))

    def go_on(self, item: Probed, now: datetime) -> None:
        """After a probe; what was missed meanwhile is left out."""
        due, interval = item.due or now, item.check.interval
        missed = max(0, (now - due) // interval)
        self._put(item, due + interval * (missed + 1))

    def take(self, now: datetime) -> list[Probed]:
        """Those that are due, the longest waiting first. They are due again only after
        ``go_on``."""
        found = []
        while self._heap and (self._heap[0][0] <= now or not self._heap[0][2].is_live):
            item = heappop(self._heap)[2]
            if item.is_live:
                found.append(item)
        return found

    def next_due(self) -> datetime | None:
        return self._heap[0][0] if self._heap else None

    def _put(self, item: Probed, due: datetime) -> None:
        item.due = due
        heappush(self._heap, (due, next(self._numbers), item))
