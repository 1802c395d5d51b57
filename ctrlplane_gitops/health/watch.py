"""All instances that are watched: what is due, and what turned. No clock, no thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime

from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.schedule import Schedule
from ctrlplane_gitops.health.tally import Probed, Tally
from ctrlplane_gitops.state.desired import DesiredInstance
from ctrlplane_gitops.state.health import Health, HealthSpan, Subject
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedState
from ctrlplane_gitops.value import struct

# Instances; ten milliseconds.
AT_ONCE = 100


@struct
class Turned:
    """``begun`` spans end those of the same subject; ``ended`` are those after which nothing is
    known. ``told`` are the verdicts on instances that are news, each with the one before.
    ``has_more``: others have changed as well, and their verdicts come next."""

    begun: tuple[HealthSpan, ...] = ()
    ended: tuple[Subject, ...] = ()
    told: tuple[tuple[Health | None, HealthSpan], ...] = ()
    has_more: bool = False


class Watch:
    """``told`` is what was told last of each instance, by whoever watched before."""

    def __init__(self, told: Mapping[ResourceKey, Health]) -> None:
        self._told = dict(told)
        self._tallies: dict[ResourceKey, Tally] = {}
        self._schedule = Schedule()
        self._dirty: set[ResourceKey] = set()
        self._ended: list[Subject] = []

    @property
    def tallies(self) -> Mapping[ResourceKey, Tally]:
        return self._tallies

    @property
    def is_dirty(self) -> bool:
        """Whether there may be something to settle."""
        return bool(self._dirty or self._ended)

    def take_desired(self, desired: Mapping[ResourceKey, DesiredInstance]) -> None:
        """What is to be watched from now on."""
        for key, instance in desired.items():
            tally = self._tallies.get(key)
            if tally is None:
                tally = self._tallies[key] = Tally(key, self._told.pop(key, None))
            if tally.take_desired(instance):
                self._dirty.add(key)
        for key in self._tallies.keys() - desired.keys():
            tally = self._tallies.pop(key)
            self._ended += tally.close()
            if tally.told is not None:
                self._told[key] = tally.told
            self._dirty.discard(key)

    def take_look(
        self, observed: ObservedState, now: datetime, keys: Collection[ResourceKey] | None = None
    ) -> bool:
        """What is there, of all or of ``keys``. True when something is missing that may be on its
        way: another look would tell."""
        by_instance = observed.by_instance()
        new: list[Probed] = []
        is_missing = False
        for key in self._tallies if keys is None else keys:
            tally = self._tallies.get(key)
            if tally is None:
                continue
            if observed.gap_for(key, tally.provider) is not None:
                has_changed = tally.take_gap()
            else:
                has_changed, found = tally.take_look(by_instance.get(key, ()))
                new += found
            if has_changed:
                self._dirty.add(key)
            is_missing |= tally.is_missing
        if new:
            self._schedule.begin(new, now)
        return is_missing

    def take_due(self, now: datetime) -> list[Probed]:
        """To be probed now; each of them comes back by ``take``."""
        return self._schedule.take(now)

    def next_due(self) -> datetime | None:
        return self._schedule.next_due()

    def take(self, item: Probed, result: ProbeResult, now: datetime) -> None:
        """What a probe said, if its replica is still there."""
        if item.is_live:
            self._schedule.go_on(item, now)
            if item.take(result, now):
                self._dirty.add(item.instance)

    def find_worse(self) -> list[ResourceKey]:
        """Those of whom bad news would be told now."""
        return [key for key in self._dirty if self._tallies[key].is_worse()]

    def settle(self, now: datetime, besides: Collection[ResourceKey] = ()) -> Turned:
        """Come to verdicts where something has changed, but for those that are left for later, and
        for no more than are written in a moment: others want to write as well."""
        begun: list[HealthSpan] = []
        told: list[tuple[Health | None, HealthSpan]] = []
        ended, self._ended = self._ended, []
        later = self._dirty.intersection(besides)
        due = sorted(self._dirty - later)
        for key in due[:AT_ONCE]:
            turns = self._tallies[key].settle(now)
            begun += turns.begun
            ended += turns.ended
            if turns.told is not None:
                told.append(turns.told)
        self._dirty = later.union(due[AT_ONCE:])
        return Turned(tuple(begun), tuple(ended), tuple(told), len(due) > AT_ONCE)

    def close(self) -> None:
        """What is under way concerns nobody any more."""
        for tally in self._tallies.values():
            tally.close()

    def count(self) -> Counter[Health]:
        """Of the instances that should run."""
        return Counter(tally.health for tally in self._tallies.values() if tally.wanted)
