"""Apply a plan: many instances side by side, each one step at a time.

One loop, no thread of its own: it takes in what has ended, lets every run that may decide, writes
down what is intended in one transaction, and only then has it performed.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ctrlplane_gitops.errors import CancelledError, CtrlplaneError
from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.analysing import Analysing
from ctrlplane_gitops.execute.cleanup import audit_plan, remove_tenants, tell_begin, tell_end
from ctrlplane_gitops.execute.effect import Effects
from ctrlplane_gitops.execute.finish import write_down
from ctrlplane_gitops.execute.part import ApplyParts, ApplyResult, Ending, WorkResult
from ctrlplane_gitops.execute.pool import wait_any
from ctrlplane_gitops.execute.probing import Probing
from ctrlplane_gitops.execute.readiness import Readiness
from ctrlplane_gitops.execute.run import Act, End, InstanceRun, Pause, WorkState
from ctrlplane_gitops.execute.start import begin_run, record_plan
from ctrlplane_gitops.execute.steer import Steering
from ctrlplane_gitops.execute.watch import Watch
from ctrlplane_gitops.ids import IdPrefix, new_id
from ctrlplane_gitops.plan.change import Plan
from ctrlplane_gitops.plan.order import interleave
from ctrlplane_gitops.rollout.view import ReplicaSetView
from ctrlplane_gitops.state.action import Outcome
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedReplicaSet
from ctrlplane_gitops.state.recorded import RecordedState
from ctrlplane_gitops.state.template import Release

_TICK = timedelta(milliseconds=250)
_GAP_PATIENCE = timedelta(seconds=60)
_TELL_EVERY = timedelta(seconds=10)
# Works of one provider that are about to act or acting. More would only wait in the pool, with
# their deadlines running, and have to be gone through at every turn.
_MAX_ACTING = 64


@dataclass(slots=True)
class _Active:
    """A run under way. ``dirty_turn``: only looks begun in that turn or later count. ``is_new``
    until it waits for the first time for more than a call to end."""

    run: InstanceRun
    dirty_turn: int
    in_flight: int = 0
    is_new: bool = True
    next_at: datetime | None = None
    gap_since: datetime | None = None
    told_at: datetime | None = None

    def wait_until(self, at: datetime) -> None:
        self.next_at, self.is_new = at, False


def apply_plan(plan: Plan, recorded: RecordedState, parts: ApplyParts) -> ApplyResult:
    """Do what the plan says and return how each work ended.

    Raises ``LockError`` or ``StoreError`` when nothing can be written down any more; what was in
    flight has ended by then. A plan with refusals must not be handed in."""
    loop = _Loop(plan, recorded, parts)
    plane_id = None
    if recorded.plane_id is None:
        plane_id = new_id(IdPrefix.PLANE, parts.clock.now())
    releases = [work.release for work in plan.works if work.release is not None]
    parts.materials.load([*releases, *plan.records.releases, *loop.active_releases()])
    parts.journal.close_left_over()
    record_plan(plan, plane_id, parts.journal, parts.materials)
    tell_begin(plan, parts.journal)
    parts.journal.flush()
    errors: tuple[CtrlplaneError, ...] = ()
    ending = None
    try:
        loop.steering.begin(plan)
        ending = loop.run()
        if ending is Ending.COMPLETE:
            errors = remove_tenants(plan, loop.effects, loop.failed_tenants())
            if any(isinstance(item, CancelledError) for item in errors):
                ending = loop.find_stop() or ending
    finally:
        loop.effects.stop()
        loop.effects.wait()
        # Without the lease it may be somebody else whom the router serves by now.
        is_over = bool(plan.unrouted) or plan.stops_router or plan.header.is_destroy
        may_stop = ending is Ending.COMPLETE and is_over and not errors
        unserved = loop.steering.finish(may_stop=may_stop)
    if ending is Ending.COMPLETE:
        errors = (*errors, *loop.untold(unserved))
    if plan.certificates and ending is not Ending.LOST and loop.steering.is_settled:
        parts.journal.put(resources=() if unserved else plan.certificates)
    if ending is not Ending.LOST:
        texts = {key: f"{item.state} {item.message}".strip() for key, item in loop.results.items()}
        audit_plan(plan, texts, parts.journal)
        tell_end(plan, str(ending), parts.journal)
        parts.journal.flush()
    results = tuple(sorted(loop.results.values(), key=lambda item: item.instance))
    count = loop.effects.count + loop.steering.count
    warnings = (*sorted(loop.effects.warnings), *loop.steering.warnings)
    return ApplyResult(ending, results, count, errors, warnings)


class _Loop:
    def __init__(self, plan: Plan, recorded: RecordedState, parts: ApplyParts) -> None:
        self._plan = plan
        self._recorded = recorded
        self._parts = parts
        self._clock = parts.clock
        self._waiting = {work.instance: work for work in interleave(plan.works)}
        self._active: dict[ResourceKey, _Active] = {}
        self._watch = Watch(parts.providers, parts.looks, parts.clock)
        self._probing = Probing(parts.probes, parts.clock)
        self._readiness = Readiness(self._probing, parts.providers)
        analysing = Analysing(parts.analyses or parts.probes, parts.clock)
        self.steering = Steering(parts.traffic, analysing, parts.providers, parts.read_orders)
        self._turn = 0
        self._settles_by: datetime | None = None
        self._look_at: datetime | None = None
        self._has_ended = False
        self.effects = Effects(
            parts.providers,
            parts.journal,
            parts.materials,
            parts.actions,
            lambda: self.find_stop() is not None,
        )
        self.results: dict[ResourceKey, WorkResult] = {}

    def run(self) -> Ending:
        while self._waiting or self._active or not self._is_served():
            self._turn += 1
            has_turned = self._collect()
            stop = self.find_stop()
            if stop is not None:
                self._abandon(stop)
                return stop
            self._start_free()
            for active in list(self._active.values()):
                self._step(active, has_turned)
            self.steering.intend(self._clock.now())
            self._parts.journal.flush()
            self.effects.submit()
            self.steering.submit()
            self._look()
            self._probing.start_due()
            self.steering.start_due()
            self._rest()
        return Ending.COMPLETE

    def untold(self, errors: tuple[CtrlplaneError, ...]) -> tuple[CtrlplaneError, ...]:
        """Those that no work ended with."""
        told = {str(item.error) for item in self.results.values() if item.error is not None}
        return tuple(item for item in errors if str(item) not in told)

    def _is_served(self) -> bool:
        """Whether the router serves what is wanted, or has had long enough for it."""
        if self.steering.is_settled:
            return True
        now = self._clock.now()
        self._settles_by = self._settles_by or now + _GAP_PATIENCE
        return now >= self._settles_by

    def active_releases(self) -> list[Release]:
        """What a rollout may have to return to."""
        return [
            release
            for work in self._plan.works
            for release in self._recorded.releases.get(work.instance, ())
            if release.number == work.active
        ]

    def failed_tenants(self) -> frozenset[str]:
        """Tenants one of whose removals did not succeed: theirs are kept for the next pass."""
        return frozenset(
            result.instance.tenant
            for result in self.results.values()
            if result.state is not WorkState.DONE
        )

    def _collect(self) -> bool:
        now = self._clock.now()
        for outcome in self.effects.collect():
            self._take(outcome, now)
        self._watch.collect()
        has_steered = self.steering.collect()
        return self._probing.collect() or has_steered

    def _take(self, outcome: Outcome, now: datetime) -> None:
        action = outcome.action
        key = getattr(action, "instance", None)
        active = self._active.get(key) if key is not None else None
        if active is None:
            return
        active.in_flight -= 1
        active.dirty_turn, active.next_at = self._turn, None
        release = active.run.take(outcome, now)
        if release is not None:
            self._parts.journal.put(releases=(release,))

    def find_stop(self) -> Ending | None:
        if self._parts.lost.is_set():
            return Ending.LOST
        if self._parts.cancel.is_set():
            return Ending.CANCELLED
        deadline = self._parts.deadline
        if deadline is not None and self._clock.now() >= deadline:
            return Ending.TIMED_OUT
        return None

    def _abandon(self, ending: Ending) -> None:
        """Let what is in flight end, and write down what came of it."""
        self.effects.wait()
        now = self._clock.now()
        for outcome in self.effects.collect():
            self._take(outcome, now)
        for key, active in self._active.items():
            if active.run.work.release is not None:
                self._parts.journal.put(instances=(active.run.record(),))
            self.results[key] = WorkResult(key, WorkState.CANCELLED, "stopped on the way")
        for key in self._waiting:
            self.results[key] = WorkResult(key, WorkState.CANCELLED, "not begun")
        if ending is not Ending.LOST:
            self._parts.journal.flush()

    def _start_free(self) -> None:
        """Begin works whose dependencies are done, as many as may act; skip those whose have
        failed."""
        acting = Counter(
            item.run.work.provider
            for item in self._active.values()
            if item.in_flight or item.is_new
        )
        for key, work in list(self._waiting.items()):
            if acting[work.provider] >= _MAX_ACTING:
                continue
            needed = self._plan.dependencies.get(key, ())
            awaited = (*needed, *self._plan.turns.get(key, ()))
            if any(item in self._waiting or item in self._active for item in awaited):
                continue
            del self._waiting[key]
            failed = [item for item in needed if self.results[item].state not in _GOOD]
            if failed:
                text = f"it depends on {', '.join(item.address for item in failed)}"
                self._finish(key, End(WorkState.SKIPPED, text))
                continue
            run = begin_run(work, self._recorded, self._parts.journal, self._parts.materials,
                            is_detached=self._parts.is_detached)  # fmt: skip
            self._active[key] = _Active(run, self._turn)
            self.steering.expect(run, self._clock.now())
            acting[work.provider] += 1

    def _step(self, active: _Active, has_turned: bool) -> None:
        run, now = active.run, self._clock.now()
        if active.in_flight or not self._is_steerable(active, now):
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
            readiness = self._readiness.view(run, sets, now, self.steering.served_of(run))
            if readiness is None:
                active.wait_until(now + _TICK)
                return
            views = readiness
        elif active.next_at is not None and now < active.next_at:
            return
        if run.needs_look:
            step = run.next_step(sets, views, now, self.steering.surround(run, sets, now))
            self.steering.follow(run, step, sets)
        else:
            step = run.next_step(sets, views, now)
        if isinstance(step, Pause):
            self._tell_wait(active, views, now)
        self._follow(active, step, now)

    def _is_steerable(self, active: _Active, now: datetime) -> bool:
        """Whether the router lets the work go on. One that is out of reach ends it, and an
        instance that is removed must first be out of its table."""
        error = self.steering.error_of(active.run)
        if error is not None:
            settled = active.run.settle_error()
            end = End(WorkState.FAILED, error.message, settled, error)
            self._finish(active.run.work.instance, end)
            return False
        if not self.steering.lets_go(active.run, now):
            active.wait_until(now + _TICK)
            return False
        return True

    def _tell_wait(self, active: _Active, views: tuple[ReplicaSetView, ...], now: datetime) -> None:
        active.told_at = active.told_at or now
        if now - active.told_at >= _TELL_EVERY:
            active.told_at = now
            text = active.run.describe_wait(views) + self.steering.describe_wait()
            text = self._parts.journal.scrub(text)
            self._parts.on_wait(active.run.work.instance, text)

    def _is_answered(self, active: _Active, now: datetime) -> bool:
        """Whether the providers showed the instance; a silent one is waited for a while."""
        gap = self._watch.gap_of(active.run.work.instance, active.run.providers)
        if gap is None:
            active.gap_since = None
            return True
        active.gap_since = active.gap_since or now
        if now - active.gap_since >= _GAP_PATIENCE:
            self._finish(active.run.work.instance, active.run.end_of_gap(gap))
        active.wait_until(now + 4 * _TICK)
        return False

    def _follow(self, active: _Active, step: Act | Pause | End, now: datetime) -> None:
        key = active.run.work.instance
        if isinstance(step, End):
            self._finish(key, step)
            return
        if step.status is not None:
            self._parts.journal.put(instances=(active.run.record(),))
        if isinstance(step, Pause):
            active.wait_until(now + step.wait)
            return
        for action in step.actions:
            self.effects.intend(action)
            active.in_flight += 1

    def _finish(self, key: ResourceKey, end: End) -> None:
        self._has_ended = True
        active = self._active.pop(key, None)
        journal = self._parts.journal
        if active is not None:
            self._readiness.forget(active.run)
            self.steering.forget(active.run)
            write_down(active.run, end, journal)
        else:
            journal.tell(EventType.WORK_SKIPPED, key.address, f"skipped: {end.message}")
        error = None if end.error is None else journal.scrub_error(end.error)
        self.results[key] = WorkResult(key, end.state, journal.scrub(end.message), error)

    def _look(self) -> None:
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

    def _rest(self) -> None:
        """Sleep until something ends or is due, at most a tick; not at all when a work has just
        ended, for others may have waited for it."""
        if self._has_ended:
            self._has_ended = False
            return
        now = self._clock.now()
        due = [item.next_at for item in self._active.values() if item.next_at is not None]
        asked = (self._probing.next_due(), self._look_at, self.steering.next_due())
        times = [*due, *(at for at in asked if at is not None)]
        running: list[Future[Any]] = [
            *self.effects.running,
            *self._watch.running,
            *self._probing.running,
            *self.steering.running,
        ]
        pause = min([_TICK, *(at - now for at in times)])
        if running:
            wait_any(running, max(pause, timedelta(milliseconds=1)))
        else:
            self._clock.wait(self._parts.cancel, max(pause, timedelta(milliseconds=5)))


_GOOD = frozenset({WorkState.DONE, WorkState.STARTED, WorkState.WAITING})
