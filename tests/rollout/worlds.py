"""Random worlds for strategies: parameters, fleets, behaviours and faults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from hypothesis import strategies as st

from ctrlplane_gitops.rollout.registry import strategy_for
from ctrlplane_gitops.rollout.simulator import (
    EPOCH,
    Analyst,
    Behaviour,
    Fault,
    Fleet,
    Road,
    Simulation,
)
from ctrlplane_gitops.rollout.strategy import Strategy
from ctrlplane_gitops.state.analysis import Analysis, AnalysisCheck, RouterMetric
from ctrlplane_gitops.state.desired import CanaryStep, RolloutParams, StrategyType
from ctrlplane_gitops.state.recorded import RolloutPhase, RolloutStatus
from ctrlplane_gitops.units import CountOrPercent

SECOND = timedelta(seconds=1)
ANALYSIS = Analysis((AnalysisCheck("errors", RouterMetric(max_error_rate=0.05)),))
HEALTHY = 20 * SECOND
RELEASES = (1, 2, 3, 4)


@dataclass(frozen=True)
class World:
    """Everything a course starts from; building it twice gives two equal courses."""

    params: RolloutParams
    replicas: int
    target: int
    active: int | None
    sets: tuple[tuple[int, int, int], ...]
    behaviours: tuple[tuple[int, Behaviour], ...]
    faults: tuple[Fault, ...]
    status: RolloutStatus
    is_routed: bool = False
    has_preview: bool = False
    analyst: Analyst | None = None

    def build(self) -> Simulation:
        fleet = Fleet(dict(self.behaviours), self.faults)
        for release, count, age_s in self.sets:
            fleet.add(release, count, EPOCH - age_s * SECOND)
        strategy: Strategy = strategy_for(self.params.type)
        course = Simulation(
            strategy, fleet, self.target, self.replicas, self.active, self.params, self.status
        )
        course.analyst, course.is_attended = self.analyst, True
        if self.analyst is not None:
            course.params = replace(self.params, analysis=ANALYSIS)
        if self.is_routed:
            course.road = self._build_road(course)
        return course

    def _build_road(self, course: Simulation) -> Road:
        """A router that already sends everything to the active release."""
        found = course.view().set_of(self.active or 0)
        names = frozenset(item.name for item in found.replicas) if found else frozenset()
        return Road(
            weights={self.active: 100} if self.active and names else {},
            members=names,
            has_preview=self.has_preview,
        )


def shares() -> st.SearchStrategy[CountOrPercent]:
    percents = st.sampled_from((0, 10, 25, 34, 50, 100))
    return st.one_of(
        st.integers(0, 6).map(CountOrPercent),
        percents.map(lambda value: CountOrPercent(value, is_percent=True)),
    )


@st.composite
def make_params(draw: st.DrawFn, kinds: tuple[StrategyType, ...] = ()) -> RolloutParams:
    """Parameters that pass the check, with deadlines that keep a course short."""
    kind = draw(st.sampled_from(kinds or tuple(StrategyType)))
    surge, unavailable = draw(shares()), draw(shares())
    if not surge.value and not unavailable.value:
        surge = CountOrPercent(1)
    return RolloutParams(
        type=kind,
        min_ready=draw(st.sampled_from((0, 1, 5))) * SECOND,
        healthy_deadline=HEALTHY,
        progress_deadline=40 * SECOND,
        is_auto_rollback=draw(st.booleans()),
        max_surge=surge,
        max_unavailable=unavailable,
        scale_down_delay=draw(st.sampled_from((0, 3, 50))) * SECOND,
        bake_time=draw(st.sampled_from((0, 4, 60))) * SECOND,
        canary_steps=draw(make_canary_steps()),
    )


def make_canary_steps() -> st.SearchStrategy[tuple[CanaryStep, ...]]:
    step = st.builds(
        CanaryStep,
        st.sampled_from((0, 1, 10, 34, 50, 100)),
        st.sampled_from((0, 2, 70)).map(lambda value: value * SECOND),
    )
    return st.lists(step, min_size=1, max_size=4).map(tuple)


def good() -> st.SearchStrategy[Behaviour]:
    return st.sampled_from((0.0, 0.5, 2.0, 6.0)).map(
        lambda seconds: Behaviour(ready_after=seconds * SECOND)
    )


def bad() -> st.SearchStrategy[Behaviour]:
    return st.sampled_from(
        (
            Behaviour(ready_after=None, reason="connection refused"),
            Behaviour(ready_after=300 * SECOND, reason="still starting"),
            Behaviour(ready_after=None, dies_after=SECOND / 2, reason="exited 1"),
            Behaviour(scale_error="no such image"),
        )
    )


def unsteady() -> st.SearchStrategy[Behaviour]:
    """Ready for a while, then dead, again and again."""
    return st.builds(
        lambda ready_s, lived_s: Behaviour(ready_s * SECOND, (ready_s + lived_s) * SECOND),
        st.sampled_from((0.0, 1.0, 3.0)),
        st.sampled_from((0.5, 4.0, 15.0, 60.0)),
    )


def make_faults() -> st.SearchStrategy[tuple[Fault, ...]]:
    lasts = st.one_of(st.none(), st.integers(1, 30).map(lambda value: value * SECOND))
    fault = st.builds(
        Fault,
        st.integers(-5, 90).map(lambda value: value * SECOND),
        st.sampled_from(RELEASES),
        st.integers(0, 4),
        lasts,
    )
    return st.lists(fault, max_size=8).map(tuple)


def make_analysts() -> st.SearchStrategy[Analyst | None]:
    """None where nothing is measured; other strategies than a canary look at none of it."""
    return st.one_of(st.none(), make_analyst())


def make_analyst() -> st.SearchStrategy[Analyst]:
    return st.builds(
        Analyst,
        st.sampled_from((0, 1, 9, 50)).map(lambda value: value * SECOND),
        st.one_of(st.none(), st.integers(0, 4)),
        st.frozensets(st.integers(0, 3), max_size=2),
    )


@st.composite
def make_statuses(draw: st.DrawFn) -> RolloutStatus:
    """Any status, also ones no strategy would write."""
    moments = st.one_of(st.none(), st.integers(0, 60).map(lambda age_s: EPOCH - age_s * SECOND))
    return RolloutStatus(
        draw(st.sampled_from(RolloutPhase)),
        draw(st.sampled_from((None, *RELEASES))),
        draw(st.sampled_from((None, *RELEASES))),
        draw(moments),
        draw(moments),
        draw(st.integers(0, 5)),
        draw(st.sampled_from(("", "rolling back v2 -> v1: exited 1"))),
        draw(st.integers(0, 5)),
        draw(moments),
    )


@st.composite
def make_worlds(draw: st.DrawFn) -> World:
    """Anything goes: strays, deaths, flickering, odd statuses."""
    sets = draw(
        st.lists(
            st.tuples(st.sampled_from(RELEASES), st.integers(1, 5), st.sampled_from((0, 3, 900))),
            max_size=3,
            unique_by=lambda item: item[0],
        )
    )
    behaviours = draw(
        st.lists(
            st.tuples(st.sampled_from(RELEASES), st.one_of(good(), bad(), unsteady())),
            max_size=4,
            unique_by=lambda item: item[0],
        )
    )
    return World(
        draw(make_params()),
        draw(st.integers(0, 5)),
        draw(st.sampled_from(RELEASES)),
        draw(st.sampled_from((None, *RELEASES))),
        tuple(sets),
        tuple(behaviours),
        draw(make_faults()),
        draw(make_statuses()),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(make_analysts()),
    )


@st.composite
def make_plain_worlds(draw: st.DrawFn, *, is_first: bool | None = None) -> World:
    """A healthy release 1 (or none), and a release 2 that is good or bad for good reasons."""
    replicas = draw(st.integers(0, 5))
    has_active = draw(st.booleans()) if is_first is None else not is_first
    behaviours = ((1, draw(good())), (2, draw(st.one_of(good(), bad()))))
    return World(
        draw(make_params()),
        replicas,
        2,
        1 if has_active else None,
        ((1, replicas, 86_400),) if has_active and replicas else (),
        behaviours,
        (),
        RolloutStatus(target=1 if has_active else None),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(make_analysts()),
    )
