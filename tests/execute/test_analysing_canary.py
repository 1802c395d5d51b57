"""A simulated canary that is really measured: the strategy and the measuring put together."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.execute.analysing import Analysing
from ctrlplane_gitops.execute.pool import Pool, wait_any
from ctrlplane_gitops.rollout.canary import Canary
from ctrlplane_gitops.rollout.simulator import EPOCH, INSTANCE, Fleet, Road, Simulation
from ctrlplane_gitops.rollout.view import AnalysisView
from ctrlplane_gitops.state.analysis import (
    Analysis,
    AnalysisCheck,
    CommandMetric,
    RouterMetric,
)
from ctrlplane_gitops.state.desired import CanaryStep, RolloutParams, StrategyType
from ctrlplane_gitops.state.traffic import TrafficCount

SECOND = timedelta(seconds=1)
INTERVAL = 10 * SECOND
ANALYSIS = Analysis(
    (
        AnalysisCheck("errors", RouterMetric(max_error_rate=0.05), INTERVAL),
        AnalysisCheck("smoke", CommandMetric(("smoke",)), INTERVAL),
    )
)
PARAMS = RolloutParams(
    StrategyType.CANARY,
    min_ready=timedelta(),
    canary_steps=(CanaryStep(10, 25 * SECOND), CanaryStep(50, 25 * SECOND), CanaryStep(100)),
    analysis=ANALYSIS,
)


class Measurer:
    """Stands where a simulation asks its analyst: a hundred requests each second, of which the
    canary gets its share and answers ``errors`` of them 500."""

    def __init__(self, errors: float, per_second: int = 100) -> None:
        self.errors, self.per_second = errors, per_second
        self.clock = FakeClock(EPOCH)
        self.pool = Pool(2, "analysis")
        self.analysing = Analysing(self.pool, self.clock)
        self.requests = 0.0
        fleet = Fleet()
        fleet.add(1, 3)
        names = frozenset(item.name for item in fleet.sets()[0].replicas)
        road = Road(weights={1: 100}, members=names)
        self.course = Simulation(Canary(), fleet, 2, 3, 1, PARAMS, road=road, analyst=self)

    def count(self) -> TrafficCount:
        return TrafficCount(int(self.requests), int(self.requests * self.errors), 0.1)

    def judge(self, step: int, served: timedelta) -> AnalysisView | None:
        passed = self.course.fleet.now - self.clock.now()
        share = self.course.road.weights.get(2, 0) / 100
        self.requests += passed.total_seconds() * self.per_second * share
        self.clock.advance(passed)
        self.analysing.follow(INSTANCE, 2, 1, ANALYSIS, self.count, lambda command, timeout: 0)
        self.analysing.start_due()
        while running := [item for item in self.analysing.running if not item.done()]:
            wait_any(running, 10 * SECOND)
        self.analysing.collect()
        verdict = self.analysing.verdict_of(INSTANCE, 2)
        return None if verdict is None else verdict.view


@pytest.fixture
def make() -> Iterator[type[Measurer]]:
    made: list[Measurer] = []

    class Made(Measurer):
        def __init__(self, *arguments: float) -> None:
            super().__init__(*arguments)
            made.append(self)

    yield Made
    for item in made:
        item.pool.close()


def test_a_canary_of_errors_has_no_share_within_two_intervals(make: type[Measurer]) -> None:
    measurer = make(0.2)
    course = measurer.course
    assert course.run() == "rolledBack"
    assert course.status.message.startswith(
        "rolled back v2 -> v1: analysis 'errors' failed: error rate "
    )
    shares = [(t.view.now, t.view.traffic.weights.get(2, 0)) for t in course.ticks]
    served = [now for now, share in shares if share]
    assert served[-1] - served[0] < 2 * INTERVAL
    assert max(share for _, share in shares) == 10


def test_a_good_one_goes_through_its_steps(make: type[Measurer]) -> None:
    course = make(0.01).course
    assert course.run() == "idle"
    assert course.fleet.count(2) == 3
    assert course.fleet.now - EPOCH < timedelta(seconds=90)


def test_one_that_nobody_asks_waits_for_a_person(make: type[Measurer]) -> None:
    course = make(0.0, 0).course
    for _ in range(200):
        course.take_tick()
    assert course.status.step == 0 and course.ticks[-1].decision.waits_for == "promote"


def test_few_requests_are_added_up_so_that_it_goes_on_by_itself(make: type[Measurer]) -> None:
    """Three requests a second, of which the canary gets three in ten seconds."""
    course = make(0.0, 3).course
    assert course.run() == "idle"
    assert course.fleet.now - EPOCH > timedelta(seconds=60)
