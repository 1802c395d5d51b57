"""What the providers show while an apply runs: one list call per provider at a time, shared by
every instance that wants to look."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ctrlplane_gitops.clock import Clock, monotonic_s
from ctrlplane_gitops.execute.observe import observe
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import EMPTY, Gap, ObservedReplicaSet, ObservedState

_SHORTEST_GAP, _LONGEST_GAP = timedelta(milliseconds=50), timedelta(seconds=1)


@dataclass(slots=True)
class _Look:
    """``begun`` is the turn in which the look that gave ``sets`` began; -1 before the first."""

    begun: int = -1
    began_at: datetime | None = None
    state: ObservedState = EMPTY
    sets: Mapping[ResourceKey, tuple[ObservedReplicaSet, ...]] = field(default_factory=dict)
    running: Future[tuple[ObservedState, float]] | None = None
    running_begun: int = -1
    running_at: datetime | None = None
    not_before: datetime | None = None


class Watch:
    """The latest look at each provider. ``turn`` counts the turns of the caller's loop; a look is
    fresh for an instance when it began after the instance's last action had ended."""

    def __init__(self, providers: Mapping[str, Provider], pool: Pool, clock: Clock) -> None:
        self._providers = providers
        self._pool = pool
        self._clock = clock
        self._looks = {name: _Look() for name in providers}

    def is_fresh(self, providers: Collection[str], since_turn: int) -> bool:
        return all(self._looks[name].begun >= since_turn for name in providers)

    def begun_at(self, providers: Collection[str]) -> datetime | None:
        """When the oldest of the latest looks began; None before the first."""
        began = [self._looks[name].began_at for name in providers]
        return None if None in began else min((at for at in began if at is not None), default=None)

    def sets_of(self, instance: ResourceKey) -> tuple[ObservedReplicaSet, ...]:
        found = [item for look in self._looks.values() for item in look.sets.get(instance, ())]
        return tuple(sorted(found, key=lambda item: (item.release, item.provider)))

    def gap_of(self, instance: ResourceKey, providers: Collection[str]) -> Gap | None:
        for name in providers:
            if (gap := self._looks[name].state.gap_for(instance, name)) is not None:
                return gap
        return None

    def start(self, wanted: Mapping[str, Collection[ResourceKey]], turn: int) -> None:
        """Begin a look at each of these providers where none is under way and the last one has
        been a little while ago: looking must not become the load it looks at."""
        now = self._clock.now()
        for name, keys in wanted.items():
            look = self._looks[name]
            if look.running is None and (look.not_before is None or look.not_before <= now):
                provider, asked = self._providers[name], frozenset(keys)
                look.running_begun = turn
                look.running_at = now
                look.running = self._pool.submit(lambda p=provider, k=asked: _observe(p, k))  # type: ignore[misc]

    def collect(self) -> None:
        for look in self._looks.values():
            if look.running is None or not look.running.done():
                continue
            look.state, took_s = look.running.result()
            look.sets = look.state.by_instance()
            look.begun, look.began_at = look.running_begun, look.running_at
            look.running = None
            look.not_before = self._clock.now() + _pause_after(took_s)

    @property
    def running(self) -> list[Future[tuple[ObservedState, float]]]:
        return [look.running for look in self._looks.values() if look.running is not None]

    def next_possible(self, providers: Collection[str]) -> datetime | None:
        """When the next look at one of these may begin; None when none is held up."""
        idle = [self._looks[name] for name in providers if self._looks[name].running is None]
        return min((look.not_before for look in idle if look.not_before), default=None)


def _observe(provider: Provider, keys: Collection[ResourceKey]) -> tuple[ObservedState, float]:
    began = monotonic_s()
    return observe(provider, keys), monotonic_s() - began


def _pause_after(took_s: float) -> timedelta:
    """Who takes long to answer is asked more seldom; but what takes long may be what is done there
    meanwhile, and nobody is to wait for it with nothing to do.

    >>> [_pause_after(took_s).total_seconds() for took_s in (0.001, 0.2, 30)]
    [0.05, 0.4, 1.0]
    """
    return min(max(_SHORTEST_GAP, timedelta(seconds=2 * took_s)), _LONGEST_GAP)
