"""A canary that is measured: what fails aborts it, what is not known yet or not clear holds it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ctrlplane_gitops.rollout.canary import Canary
from ctrlplane_gitops.rollout.preview import preview_rollout
from ctrlplane_gitops.rollout.simulator import Analyst, Fleet, Road, Simulation
from ctrlplane_gitops.rollout.view import Wishes
from ctrlplane_gitops.state.desired import CanaryStep, RolloutParams, StrategyType
from ctrlplane_gitops.state.recorded import RolloutPhase
from tests.rollout.test_strategy_property import slow
from tests.rollout.worlds import ANALYSIS, SECOND, World, make_analyst, make_plain_worlds

PARAMS = RolloutParams(
    StrategyType.CANARY,
    min_ready=timedelta(),
    canary_steps=(CanaryStep(10, 20 * SECOND), CanaryStep(50, 20 * SECOND), CanaryStep(100)),
    analysis=ANALYSIS,
)
plain = make_plain_worlds(is_first=False).filter(lambda world: world.replicas > 0)


def as_measured(world: World, analyst: Analyst) -> World:
    params = replace(world.params, type=StrategyType.CANARY)
    return replace(world, params=params, analyst=analyst)


measured = st.builds(as_measured, plain, make_analyst())
bad = st.builds(
    lambda world, analyst, step: replace(
        as_measured(world, replace(analyst, fails_in=step)),
        behaviours=world.behaviours[:1],
        is_routed=True,
    ),
    plain,
    make_analyst(),
    st.integers(0, 1),
)


def a_course(analyst: Analyst | None, *, replicas: int = 3, is_routed: bool = True) -> Simulation:
    """Release 1 runs, release 2 comes up within two seconds."""
    fleet = Fleet()
    fleet.add(1, replicas)
    course = Simulation(Canary(), fleet, 2, replicas, 1, PARAMS, analyst=analyst)
    if is_routed:
        names = frozenset(item.name for item in fleet.sets()[0].replicas)
        course.road = Road(weights={1: 100}, members=names)
    return course


def run_for(course: Simulation, seconds: int) -> None:
    end = course.fleet.now + seconds * SECOND
    while course.fleet.now < end:
        course.take_tick()


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("is_routed", [True, False])
def test_one_that_fails_in_a_step_is_turned_back(replicas: int, step: int, is_routed: bool) -> None:
    """Also where all of it is up: with one replica it is so from the first step on."""
    analyst = Analyst(fails_in=step)
    course = a_course(analyst, replicas=replicas, is_routed=is_routed)
    course.params = replace(
        PARAMS, canary_steps=(*PARAMS.canary_steps[:2], CanaryStep(100, SECOND))
    )
    assert course.run() == "rolledBack"
    assert course.status.message == f"rolled back v2 -> v1: {analyst.failure}"
    assert course.fleet.count(1) == replicas and not course.fleet.count(2)
    fewest = min(
        sum(x.is_ready for item in tick.view.sets if item.release == 1 for x in item.replicas)
        for tick in course.ticks
    )
    assert fewest == replicas
    if course.road is not None:
        assert course.road.weights == {1: 100}


def test_its_share_is_gone_with_the_decision_after_the_verdict() -> None:
    course = a_course(Analyst(fails_in=0))
    course.run()
    failed = next(
        number for number, tick in enumerate(course.ticks)
        if tick.view.analysis is not None and tick.view.analysis.failure
    )  # fmt: skip
    turn, back = course.ticks[failed : failed + 2]
    assert turn.decision.status.phase is RolloutPhase.ROLLING_BACK
    assert back.decision.route is not None and back.decision.route.weights == ((1, 100),)
    assert back.view.now - turn.view.now <= SECOND


def test_it_is_not_judged_before_it_gets_requests() -> None:
    course = a_course(Analyst(fails_in=0))
    course.served_at = course.fleet.now
    course.run()
    assert course.road is not None and course.status.phase is RolloutPhase.ROLLED_BACK
    early = [
        tick for tick in course.ticks if tick.view.traffic and 2 not in tick.view.traffic.weights
    ]
    first = next(tick for tick in early if tick.decision.status.phase is RolloutPhase.PROGRESSING)
    turn = next(
        tick for tick in course.ticks if tick.decision.status.phase is RolloutPhase.ROLLING_BACK
    )
    assert first.view.analysis is not None and first.view.analysis.failure
    assert turn.view.traffic is not None and turn.view.traffic.weights == {1: 90, 2: 10}


def test_without_automatic_rollback_everything_stays() -> None:
    course = a_course(Analyst(fails_in=0))
    course.params = replace(PARAMS, is_auto_rollback=False)
    assert course.run() == "failed"
    assert "automatic rollback is off" in course.status.message
    assert course.road is not None and course.road.weights == {1: 90, 2: 10}


def test_a_step_lasts_until_there_is_a_value() -> None:
    course = a_course(Analyst(pending=60 * SECOND))
    run_for(course, 55)
    assert course.status.step == 0
    run_for(course, 10)
    assert course.status.step == 1


def test_what_is_asked_for_and_not_measured_holds_it() -> None:
    course = a_course(None)
    run_for(course, 600)
    assert (course.status.step, course.status.phase) == (0, RolloutPhase.PROGRESSING)
    course.params = replace(PARAMS, analysis=None)
    assert course.run() == "idle"


def test_what_is_not_clear_waits_for_a_person_when_the_pause_is_over() -> None:
    course = a_course(Analyst(doubts_in=frozenset({0})))
    run_for(course, 15)
    assert course.ticks[-1].decision.waits_for == ""
    run_for(course, 60)
    assert course.status.step == 0
    assert course.ticks[-1].decision.waits_for == "promote"
    course.wishes = Wishes(promoted=1)
    run_for(course, 2)
    assert course.status.step == 1 and course.ticks[-1].decision.waits_for == ""
    assert course.run() == "idle"


def test_who_wants_all_of_it_is_not_asked_to_wait_for_the_measurements() -> None:
    course = a_course(Analyst(fails_in=0))
    course.wishes = Wishes(is_full=True)
    assert course.run() == "idle"


def test_a_release_that_was_live_before_is_not_measured() -> None:
    course = a_course(Analyst(fails_in=0))
    course.is_restoring = True
    assert course.run() == "idle"


def test_the_preview_names_what_is_measured() -> None:
    assert preview_rollout(PARAMS, 3, True).text == (
        "1 canary -> 10% 20s -> 50% 20s -> 100%, measured by 'errors'; "
        "at most 6 replicas, never fewer than 3 ready; rolls back by itself"
    )


# What holds in every world


@slow
@given(measured)
def test_no_step_is_passed_while_it_is_not_clear_that_it_may_be(world: World) -> None:
    course = world.build()
    course.run()
    steps = world.params.canary_steps
    for tick in course.ticks:
        before, after = tick.view.status, tick.decision.status
        if before.target != 2 or after.phase is not RolloutPhase.PROGRESSING:
            continue
        passed = range(before.step, after.step)
        found = tick.view.analysis
        for number in passed:
            if steps[number].weight and tick.view.wishes.promoted <= number:
                assert found is not None
                assert not (found.is_pending or found.is_inconclusive or found.failure)


@slow
@given(bad)
def test_a_release_found_bad_never_goes_on(world: World) -> None:
    """It is turned back, or where that is not wanted, left as it is; it never gets more."""
    course = world.build()
    phase = course.run()
    steps = len(world.params.canary_steps)
    found = [
        tick for tick in course.ticks
        if tick.view.analysis is not None and tick.view.analysis.failure
        and tick.view.status.phase is RolloutPhase.PROGRESSING and tick.view.status.step < steps
        and tick.view.traffic is not None and tick.view.traffic.weights.get(2)
    ]  # fmt: skip
    assume(found)
    assert phase == ("rolledBack" if world.params.is_auto_rollback else "failed")
    assert world.analyst is not None and world.analyst.failure in course.status.message
    assert len(found) == 1
    later = course.ticks[course.ticks.index(found[0]) :]
    routes = [dict(tick.decision.route.weights) for tick in later if tick.decision.route]
    assert all(weights.get(2, 0) == 0 for weights in routes)


@slow
@given(measured)
def test_whom_it_waits_for_can_end_the_waiting(world: World) -> None:
    course = world.build()
    course.run()
    for tick in course.ticks:
        if tick.decision.waits_for:
            found = tick.view.analysis
            assert tick.decision.waits_for == "promote"
            assert found is not None and found.is_inconclusive and not found.failure
