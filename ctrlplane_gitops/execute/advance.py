"""The runs that are under way, each one step at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ctrlplane_gitops.execute.batch import Batch
from ctrlplane_gitops.execute.effect import Effects
from ctrlplane_gitops.execute.finish import write_down
from ctrlplane_gitops.execute.part import ApplyParts
from ctrlplane_gitops.execute.probing import Probing
from ctrlplane_gitops.execute.readiness import Readiness
from ctrlplane_gitops.execute.run import InstanceRun
from ctrlplane_gitops.execute.start import begin_run
from ctrlplane_gitops.execute.steer import Steering
from ctrlplane_gitops.execute.step import Act, End, Pause, WorkState
from ctrlplane_gitops.execute.watch import Watch
from ctrlplane_gitops.plan.change import Work
from ctrlplane_gitops.rollout.view import ReplicaSetView
from ctrlplane_gitops.state.action import Outcome
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedReplicaSet

TICK = timedelta(milliseconds=250)
GAP_PATIENCE = timedelta(seconds=60)
_TELL_EVERY = timedelta(seconds=10)


@dataclass(slots=True)
class Active:
    """A run under way for a batch. ``dirty_turn``: only looks begun in that turn or later count.
    ``is_new`` until it waits for the first time for more than a call to end. ``successor`` is what
    a later plan makes of the instance."""

    run: InstanceRun
    batch: Batch
    dirty_turn: int
    in_flight: int = 0
    is_new: bool = True
    next_at: datetime | None = None
    gap_since: datetime | None = None
    told_at: datetime | None = None
    successor: Work | None = None

    def wait_until(self, at: datetime) -> None:
        self.next_at, self.is_new = at, False


class Advance:
    """``begin`` a work; ``step_all`` once a turn; ``look`` and ``start_due`` after what was
    intended is in flight. ``on_end`` is told of every run that has ended."""

    def __init__(
        self,
        parts: ApplyParts,
        steering: Steering,
        effects: Effects,
        on_end: Callable[[ResourceKey, Batch, End], None],
    ) -> None:
        self._parts, self._clock = parts, parts.clock
        self._steering, self._effects = steering, effects
        self._on_end = on_end
        self._active: dict[ResourceKey, Active] = {}
        self._watch = Watch(parts.providers, parts.looks, parts.clock)
        self._probing = Probing(parts.probes, parts.clock)
        self._readiness = Readiness(self._probing, parts.providers)
        self._turn = 0
        self._look_at: datetime | None = None

    def get(self, key: ResourceKey) -> Active | None:
        return self._active.get(key)

    def __contains__(self, key: ResourceKey) -> bool:
        return key in self._active

    def __iter__(self) -> Iterator[Active]:
        return iter(list(self._active.values()))

    def count_acting(self) -> Counter[str]:
        """How many of each provider are about to act or acting."""
        return Counter(
            item.run.work.provider
            for item in self._active.values()
            if item.in_flight or item.is_new
        )

    def begin(self, work: Work, batch: Batch) -> InstanceRun:
        """A run for the work, written down as begun."""
        parts = self._parts
        run = begin_run(work, batch.recorded, parts.journal, parts.materials,
                        is_detached=parts.is_detached)  # fmt: skip
        self._active[work.instance] = Active(run, batch, self._turn)
        self._steering.expect(run, self._clock.now())
        return run

    def collect(self, turn: int) -> bool:
        """A new turn: take in what has been seen; True when a verdict has turned."""
        self._turn = turn
        self._watch.collect()
        return self._probing.collect()

    def take(self, key: ResourceKey, outcome: Outcome, now: datetime) -> None:
        """What came of an action about an instance."""
        active = self._active.get(key)
        if active is None:
            return
        active.in_flight -= 1
        active.batch.effects += outcome.effects
        active.dirty_turn, active.next_at = self._turn, None
        release = active.run.take(outcome, now)
        if release is not None:
            self._parts.journal.put(releases=(release,))

    def step_all(self, has_turned: bool) -> None:
        """Let everybody decide who may."""
        for active in self:
            if active.in_flight:
                continue
            if active.successor is not None:
                active = self._succeed(active, active.successor)
            self._step(active, has_turned)

    def _step(self, active: Active, has_turned: bool) -> None:
        run, now = active.run, self._clock.now()
        if not self._is_steerable(active, now):
            return
        sets: tuple[ObservedReplicaSet, ...] = ()
        views: tuple[ReplicaSetView, ...] = ()
        if run.needs_look:
            if active.next_at is not None:
                if now < active.next_at and not has_turned:
                    return
                if now >= active.next_at:
                    active.next_at, active.dirty_turn = None, self._turn
            if not self._watch.is_fresh(run.providers, active.dirty_turn):
                return
            if not self._is_answered(active, now):
                return
            sets = self._watch.sets_of(run.work.instance)
            readiness = self._readiness.view(run, sets, now, self._steering.served_of(run))
            if readiness is None:
                active.wait_until(now + TICK)
                return
            views = readiness
        elif active.next_at is not None and now < active.next_at:
            return
        if run.needs_look:
            step = run.next_step(sets, views, now, self._steering.surround(run, sets, now))
            self._steering.follow(run, step, sets)
        else:
            step = run.next_step(sets, views, now)
        if isinstance(step, Pause):
            self._tell_wait(active, views, now)
        self._follow(active, step, now)

    def _succeed(self, active: Active, work: Work) -> Active:
        """Go on with what a later plan makes of the instance, from where it stands."""
        self._forget(active)
        run = self.begin(work, active.batch)
        run.stand_at(active.run)
        if work.release is not None:
            self._parts.journal.put(instances=(run.record(),))
        return self._active[work.instance]

    def _is_steerable(self, active: Active, now: datetime) -> bool:
        """Whether the router lets the work go on. One that is out of reach ends it, and an
        instance that is removed must first be out of its table."""
        error = self._steering.error_of(active.run)
        if error is not None:
            settled = active.run.settle_error()
            end = End(WorkState.FAILED, error.message, settled, error)
            self._finish(active, end)
            return False
        if not self._steering.lets_go(active.run, now):
            active.wait_until(now + TICK)
            return False
        return True

    def _tell_wait(self, active: Active, views: tuple[ReplicaSetView, ...], now: datetime) -> None:
        active.told_at = active.told_at or now
        if now - active.told_at >= _TELL_EVERY:
            active.told_at = now
            text = active.run.describe_wait(views) + self._steering.describe_wait()
            text = self._parts.journal.scrub(text)
            self._parts.on_wait(active.run.work.instance, text)

    def _is_answered(self, active: Active, now: datetime) -> bool:
        """Whether the providers showed the instance; a silent one is waited for a while."""
        gap = self._watch.gap_of(active.run.work.instance, active.run.providers)
        if gap is None:
            active.gap_since = None
            return True
        active.gap_since = active.gap_since or now
        if now - active.gap_since >= GAP_PATIENCE:
            self._finish(active, active.run.end_of_gap(gap))
        active.wait_until(now + 4 * TICK)
        return False

    def _follow(self, active: Active, step: Act | Pause | End, now: datetime) -> None:
        if isinstance(step, End):
            self._finish(active, step)
            return
        if step.status is not None:
            self._parts.journal.put(instances=(active.run.record(),))
        if isinstance(step, Pause):
            active.wait_until(now + step.wait)
            return
        for action in step.actions:
            self._effects.intend(action)
            active.in_flight += 1

    def _finish(self, active: Active, end: End) -> None:
        self._forget(active)
        write_down(active.run, end, self._parts.journal)
        self._on_end(active.run.work.instance, active.batch, end)

    def _forget(self, active: Active) -> None:
        self._readiness.forget(active.run)
        self._steering.forget(active.run)
        del self._active[active.run.work.instance]

    def look(self) -> None:
        """Look where somebody waits for it, at everybody who is under way there: a look that left
        one out would show that one without replicas."""
        wanted: dict[str, set[ResourceKey]] = {}
        waiting: set[str] = set()
        for key, active in self._active.items():
            run = active.run
            for name in run.providers:
                wanted.setdefault(name, set()).add(key)
            is_idle = active.in_flight or not run.needs_look or active.next_at is not None
            if not is_idle and not self._watch.is_fresh(run.providers, active.dirty_turn):
                waiting.update(run.providers)
        self._watch.start({name: wanted[name] for name in waiting}, self._turn)
        self._look_at = self._watch.next_possible(waiting)

    def start_due(self) -> None:
        """Begin the probes that are due."""
        self._probing.start_due()

    @property
    def running(self) -> list[Future[Any]]:
        return [*self._watch.running, *self._probing.running]

    def times(self) -> list[datetime]:
        """When something is due."""
        due = [item.next_at for item in self._active.values()]
        return [at for at in (*due, self._probing.next_due(), self._look_at) if at is not None]
