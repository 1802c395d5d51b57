"""A fleet of replicas that lives in memory and in simulated time, for trying strategies.

Everything is scripted, nothing is random: what a replica does follows from its release, its start
and the faults, so the same script gives the same course.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.rollout.strategy import Strategy
from ctrlplane_gitops.rollout.view import (
    AnalysisView,
    ReplicaSetView,
    ReplicaView,
    RolloutView,
    RouteStep,
    ScaleStep,
    StepDecision,
    TrafficView,
    Wishes,
)
from ctrlplane_gitops.state.desired import RolloutParams
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.recorded import RolloutStatus
from ctrlplane_gitops.value import struct

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO = EPOCH - timedelta(days=1)
TICK = timedelta(milliseconds=100)
INSTANCE = instance_key("acme", "web")


@struct
class Behaviour:
    """What every replica of a release does, counted from its start. ``ready_after`` None: never
    ready; ``dies_after`` None: stays alive. ``scale_error`` refuses to start any."""

    ready_after: timedelta | None = timedelta(seconds=2)
    dies_after: timedelta | None = None
    reason: str = ""
    scale_error: str = ""


@struct
class Fault:
    """Something that befalls the replica in a place, ``at`` after the epoch: it dies, or it is
    not ready for as long as ``lasts`` says."""

    at: timedelta
    release: int
    index: int
    lasts: timedelta | None = None


@struct
class Analyst:
    """What measuring the new release says. Nothing for ``pending`` after it first served; from
    step ``fails_in`` on that it has failed, in the steps ``doubts_in`` nothing clear."""

    pending: timedelta = timedelta()
    fails_in: int | None = None
    doubts_in: frozenset[int] = frozenset()
    failure: str = "analysis 'errors' failed: error rate 21% > 5% (1 failure, limit 0)"

    def judge(self, step: int, served: timedelta) -> AnalysisView:
        if served < self.pending:
            return AnalysisView(is_pending=True)
        if self.fails_in is not None and step >= self.fails_in:
            return AnalysisView(self.failure)
        return AnalysisView(is_inconclusive=step in self.doubts_in)


@struct
class Tick:
    """One tick as it was: what was seen, what was decided."""

    view: RolloutView
    decision: StepDecision


@dataclass(slots=True)
class Fleet:
    """The replicas of one instance. ``started`` maps (release, index) to a start; what else there
    is to know of a replica follows from it."""

    behaviours: Mapping[int, Behaviour] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    now: datetime = EPOCH
    started: dict[tuple[int, int], datetime] = field(default_factory=dict)
    scale_error: str = ""

    def add(self, release: int, replicas: int, started_at: datetime = LONG_AGO) -> None:
        """Replicas that are there before anything begins."""
        for index in range(replicas):
            self.started[release, index] = started_at

    def perform(self, step: ScaleStep) -> None:
        """What ``ScaleReplicaSet`` asks of a provider: surplus goes in the order retired, dead,
        highest index; dead ones that stay are started again; missing ones take the lowest free
        indices."""
        seen = {item.index: item for item in self._replicas(step.release)}
        order = sorted(
            seen.values(),
            key=lambda item: (item.name not in step.retire, item.is_alive, -item.index),
        )
        for gone in order[: max(0, len(seen) - step.replicas)]:
            del self.started[step.release, gone.index]
            del seen[gone.index]
        places = [index for index, item in seen.items() if not item.is_alive]
        free = (index for index in range(step.replicas + len(seen)) if index not in seen)
        places += [next(free) for _ in range(step.replicas - len(seen))]
        error = self._behaviour(step.release).scale_error
        if places and error:
            self.scale_error = error
            return
        self.started.update(((step.release, index), self.now) for index in places)

    def sets(self) -> tuple[ReplicaSetView, ...]:
        releases = sorted({release for release, _ in self.started})
        return tuple(
            ReplicaSetView(release, f"rev{release}", self._replicas(release))
            for release in releases
        )

    def count(self, release: int | None = None) -> int:
        """Live replicas, of all releases or of one."""
        return sum(item.is_alive for item in self._all(release))

    def count_available(self, min_ready: timedelta, release: int | None = None) -> int:
        return sum(item.is_available(min_ready, self.now) for item in self._all(release))

    def _all(self, release: int | None) -> Iterable[ReplicaView]:
        return (
            replica
            for item in self.sets()
            if release in (None, item.release)
            for replica in item.replicas
        )

    def _behaviour(self, release: int) -> Behaviour:
        return self.behaviours.get(release, Behaviour())

    def _replicas(self, release: int) -> tuple[ReplicaView, ...]:
        places = sorted(index for owner, index in self.started if owner == release)
        return tuple(self._replica(release, index) for index in places)

    def _replica(self, release: int, index: int) -> ReplicaView:
        began, behaviour = self.started[release, index], self._behaviour(release)
        name = f"prod.acme.web.v{release}.{index}"
        faults = [
            item
            for item in self.faults
            if (item.release, item.index) == (release, index)
            and began < EPOCH + item.at <= self.now
        ]
        is_over = behaviour.dies_after is not None and began + behaviour.dies_after <= self.now
        if is_over or any(item.lasts is None for item in faults):
            reason = behaviour.reason or "exited 1"
            return ReplicaView(name, index, is_alive=False, started_at=began, reason=reason)
        moments = [] if behaviour.ready_after is None else [began + behaviour.ready_after]
        moments += [EPOCH + item.at + (item.lasts or timedelta()) for item in faults]
        is_ready = behaviour.ready_after is not None and max(moments) <= self.now
        return ReplicaView(
            name,
            index,
            is_alive=True,
            ready_since=max(moments) if is_ready else None,
            started_at=began,
            reason="" if is_ready else behaviour.reason,
        )


@dataclass(slots=True)
class Road:
    """The router of a simulation. A change is served at once and seen to be live ``delay`` later;
    a replica that was a member is drained ``drain`` after that."""

    delay: timedelta = timedelta(milliseconds=200)
    drain: timedelta = timedelta(seconds=5)
    weights: Mapping[int, int] = field(default_factory=dict)
    members: frozenset[str] = frozenset()
    preview: frozenset[str] = frozenset()
    has_preview: bool = False
    live_at: datetime = EPOCH
    left_at: dict[str, datetime] = field(default_factory=dict)

    def route(self, step: RouteStep, now: datetime) -> None:
        self.live_at = now + self.delay
        served = {*step.members, *step.preview}
        for name in (self.members | self.preview) - served:
            self.left_at[name] = self.live_at
        for name in served:
            self.left_at.pop(name, None)
        self.weights, self.members = dict(step.weights), frozenset(step.members)
        self.preview = frozenset(step.preview)

    def view(self, now: datetime) -> TrafficView:
        draining = {name for name, at in self.left_at.items() if now < at + self.drain}
        return TrafficView(
            self.weights,
            self.members,
            frozenset(draining),
            self.live_at <= now,
            self.has_preview,
            self.preview,
        )


@dataclass(slots=True)
class Simulation:
    """A strategy at work on a fleet, tick by tick, the way it is executed for real. With
    ``is_attended`` a person promotes whatever waits for it."""

    strategy: Strategy
    fleet: Fleet
    target: int
    replicas: int
    active: int | None = None
    params: RolloutParams = field(default_factory=RolloutParams)
    status: RolloutStatus = field(default_factory=RolloutStatus)
    ticks: list[Tick] = field(default_factory=list)
    on_step: Callable[[RolloutView, ScaleStep], None] = lambda view, step: None
    road: Road | None = None
    wishes: Wishes = Wishes()
    is_restoring: bool = False
    analyst: Analyst | None = None
    is_attended: bool = False
    served_at: datetime | None = None

    def view(self) -> RolloutView:
        return RolloutView(
            INSTANCE,
            self.target,
            self.replicas,
            self.fleet.sets(),
            self.params,
            self.status,
            self.fleet.now,
            self.active,
            self.fleet.scale_error,
            None if self.road is None else self.road.view(self.fleet.now),
            self.wishes,
            self.is_restoring,
            self._judge(),
        )

    def _judge(self) -> AnalysisView | None:
        """None until the new release serves."""
        if self.analyst is None or self.served_at is None:
            return None
        return self.analyst.judge(self.status.step, self.fleet.now - self.served_at)

    def _is_serving(self) -> bool:
        if self.road is not None:
            return self.road.weights.get(self.target, 0) > 0
        return self.fleet.count_available(self.params.min_ready, self.target) > 0

    def take_tick(self, crash_after: int | None = None) -> StepDecision:
        """Look, decide, perform, record, let time pass. ``crash_after`` performs only so many
        steps and records nothing, as if the process had died there and was started again."""
        view = self.view()
        decision = self.strategy.next_step(view)
        self.ticks.append(Tick(view, decision))
        for step in decision.steps[:crash_after]:
            self.fleet.perform(step)
            self.on_step(view, step)
        is_reached = crash_after is None or crash_after > len(decision.steps)
        if is_reached and decision.route is not None and self.road is not None:
            self.road.route(decision.route, self.fleet.now)
        if crash_after is None:
            self.status = decision.status
            if decision.waits_for == "promote" and self.is_attended:
                self.wishes = replace(self.wishes, promoted=decision.status.step + 1)
        if self.served_at is None and self._is_serving():
            self.served_at = self.fleet.now
        if crash_after is not None or not decision.is_done:
            self.fleet.now += max(decision.wait, TICK)
        return decision

    def run(self, most_ticks: int = 20_000, crashes: Mapping[int, int] | None = None) -> str:
        """Until it is done; the phase it ended in. ``crashes`` maps the number of a tick to how
        many of its steps are performed before the crash. AssertionError when it never ends."""
        for number in range(most_ticks):
            crash = (crashes or {}).get(number)
            if self.take_tick(crash).is_done and crash is None:
                return str(self.status.phase)
        raise AssertionError(f"not done after {most_ticks} ticks: {self.status}")
