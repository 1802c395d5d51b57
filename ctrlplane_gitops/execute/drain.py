"""Replicas that were taken out of the route table, until no request can be on its way to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ctrlplane_gitops.rollout.routing import places_of
from ctrlplane_gitops.state.desired import DesiredRoute
from ctrlplane_gitops.state.observed import ObservedReplicaSet
from ctrlplane_gitops.state.traffic import Member, RouteEntry

_COUNT_EVERY = timedelta(milliseconds=200)
# A request that was on its way through the router when the table changed is counted by then.
_SETTLE = timedelta(milliseconds=100)


@dataclass(slots=True)
class _Leaving:
    """``since`` is when the table without it was seen to be live, None before."""

    members: tuple[Member, ...]
    since: datetime | None = None


@dataclass(slots=True)
class Drain:
    """Those of one instance, by name. Where the router counts requests, a replica is drained when
    it has none left; otherwise, and at the latest, when the drain timeout is over."""

    leaving: dict[str, _Leaving] = field(default_factory=dict)
    counted_at: datetime | None = None

    @property
    def is_over(self) -> bool:
        return not self.leaving

    def leave(self, members: Mapping[str, tuple[Member, ...]]) -> None:
        """These get no new requests from the next table on."""
        self.leaving.update({name: _Leaving(found) for name, found in members.items()})

    def suspect(self, members: Mapping[str, tuple[Member, ...]]) -> None:
        """These may have been taken out by somebody who did not live to see them drained."""
        for name, found in members.items():
            self.leaving.setdefault(name, _Leaving(found))

    def stay(self, names: Collection[str]) -> None:
        """These get requests again."""
        for name in names:
            self.leaving.pop(name, None)

    def confirm(self, now: datetime) -> None:
        """The table without them is what is served."""
        for item in self.leaving.values():
            item.since = item.since or now

    def busy(self, now: datetime, timeout: timedelta) -> frozenset[str]:
        """The names of those that requests may still be on their way to."""
        over = [
            name
            for name, item in self.leaving.items()
            if item.since is not None and now - item.since >= timeout
        ]
        for name in over:
            del self.leaving[name]
        return frozenset(self.leaving)

    def uncounted(self, now: datetime) -> tuple[Member, ...]:
        """Whose requests are to be counted now: all together, not too often."""
        if self.counted_at is not None and now - self.counted_at < _COUNT_EVERY:
            return ()
        found = [self.leaving[name] for name in self._settled(now)]
        if found:
            self.counted_at = now
        return tuple(sorted({member for item in found for member in item.members}))

    def take(self, count: int | None) -> bool:
        """Take in what was counted of those that were asked about; True when they are drained."""
        if count != 0 or self.counted_at is None:
            return False
        for name in self._settled(self.counted_at):
            del self.leaving[name]
        return True

    def _settled(self, at: datetime) -> list[str]:
        return [
            name
            for name, item in self.leaving.items()
            if item.since is not None and at - item.since >= _SETTLE
        ]


def live_members(
    routes: Sequence[DesiredRoute], sets: Iterable[ObservedReplicaSet], served: Collection[str]
) -> dict[str, tuple[Member, ...]]:
    """Who lives and is not among ``served``, with all addresses routes may have led to."""
    ports = {route.port for route in routes}
    found = {}
    for name, place in places_of(sets).items():
        if name not in served:
            members = (place.member(name, port) for port in sorted(ports))
            found[name] = tuple(item for item in members if item is not None)
    return found


def members_in(
    entries: Sequence[RouteEntry], names: Collection[str] | None
) -> dict[str, tuple[Member, ...]]:
    """The members of that name in these entries; all of them where no names are given."""
    found: dict[str, set[Member]] = {}
    for entry in entries:
        for backend in entry.backends:
            for member in backend.members:
                if names is None or member.replica in names:
                    found.setdefault(member.replica, set()).add(member)
    return {name: tuple(sorted(members)) for name, members in found.items()}
