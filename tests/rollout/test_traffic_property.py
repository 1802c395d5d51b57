"""No request is lost by a decision: what holds for traffic in every strategy and every world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from ctrlplane_gitops.rollout.budget import budget_of
from ctrlplane_gitops.rollout.simulator import Simulation
from ctrlplane_gitops.rollout.traffic import is_routed, stopped_by
from ctrlplane_gitops.rollout.view import ReplicaView, RolloutView, RouteStep, ScaleStep
from ctrlplane_gitops.state.desired import StrategyType
from ctrlplane_gitops.state.recorded import RolloutPhase
from tests.rollout.test_strategy_property import slow
from tests.rollout.worlds import World, make_plain_worlds, make_worlds

routed = make_worlds().map(lambda world: replace(world, is_routed=True))
plain = make_plain_worlds(is_first=False).map(lambda world: replace(world, is_routed=True))


def replicas_by_name(view: RolloutView) -> dict[str, ReplicaView]:
    return {item.name: item for found in view.sets for item in found.replicas}


def routes_of(course: Simulation) -> list[tuple[RolloutView, RouteStep]]:
    return [
        (tick.view, tick.decision.route) for tick in course.ticks if tick.decision.route is not None
    ]


@slow
@given(routed)
def test_nobody_is_stopped_who_may_still_be_sent_a_request(world: World) -> None:
    course = world.build()

    def check(view: RolloutView, step: ScaleStep) -> None:
        assert view.traffic is not None
        stopped = set(stopped_by(view, step))
        served = view.traffic.members | view.traffic.preview
        assert not stopped & (served | view.traffic.draining)
        assert not stopped or view.traffic.is_live

    course.on_step = check
    course.run()


@slow
@given(routed)
def test_traffic_goes_to_those_who_can_answer(world: World) -> None:
    """To replicas that are ready; to others only where none of the release is, and never to the
    dead. Shares are whole and sum to 100, and none goes where nobody is."""
    course = world.build()
    course.run()
    for view, route in routes_of(course):
        assert view.traffic is not None
        found = replicas_by_name(view)
        members = [found[name] for name in route.members]
        assert all(item.is_alive for item in members)
        if any(not item.is_ready for item in members):
            assert not any(item.is_ready for item in members)
            assert {item.name for item in members} <= view.traffic.members
        weights = dict(route.weights)
        assert sum(weights.values()) == (100 if members else 0)
        assert all(share > 0 for share in weights.values())
        owners = {
            item.release
            for item in view.sets
            if {replica.name for replica in item.replicas} & set(route.members)
        }
        assert owners == set(weights)


@slow
@given(routed)
def test_the_preview_is_of_the_target_and_only_until_it_has_everything(world: World) -> None:
    course = world.build()
    course.run()
    for view, route in routes_of(course):
        assert world.has_preview or not route.preview
        found = replicas_by_name(view)
        target = view.set_of(view.target)
        names = {item.name for item in target.replicas} if target else set()
        assert set(route.preview) <= names
        assert all(found[name].is_alive for name in route.preview)
        assert not route.preview or dict(route.weights) != {view.target: 100}


@slow
@given(routed.filter(lambda world: world.params.type is StrategyType.ROLLING))
def test_rolling_keeps_as_many_in_the_traffic_as_it_promises(world: World) -> None:
    course = world.build()
    fewest = budget_of(world.params, world.replicas).fewest
    course.run()
    for view, route in routes_of(course):
        assert view.traffic is not None
        found = replicas_by_name(view)

        def count(names: frozenset[str], found: Mapping[str, ReplicaView] = found) -> int:
            return sum(name in found and found[name].is_ready for name in names)

        before, after = count(view.traffic.members), count(frozenset(route.members))
        assert after >= min(before, fewest)


@slow
@given(plain.filter(lambda world: world.params.type is StrategyType.BLUE_GREEN))
def test_blue_green_sends_everything_to_one_whole_release(world: World) -> None:
    course = world.build()
    course.run()
    switches = [dict(route.weights) for _, route in routes_of(course)]
    assert all(len(weights) <= 1 for weights in switches)
    for view, route in routes_of(course):
        if dict(route.weights) == {2: 100} and view.status.phase is RolloutPhase.PROGRESSING:
            assert len(route.members) == world.replicas
    releases = [next(iter(weights)) for weights in switches if weights]
    turns = [item for item, before in zip(releases, [0, *releases], strict=False) if item != before]
    assert len(turns) <= 2


@slow
@given(plain.filter(lambda world: world.params.type is StrategyType.CANARY))
def test_a_canary_never_gets_more_than_its_step_says(world: World) -> None:
    course = world.build()
    course.run()
    steps = world.params.canary_steps
    for tick in course.ticks:
        view, status = tick.view, tick.decision.status
        if view.traffic is None or not tick.decision.route or status.target != 2:
            continue
        share = dict(tick.decision.route.weights).get(2, 0)
        if status.phase is RolloutPhase.PROGRESSING and status.step < len(steps):
            begun = steps[: status.step + 1]
            assert share <= max(step.weight for step in begun)
        if status.phase is RolloutPhase.ROLLING_BACK and 1 in dict(view.traffic.weights):
            assert share == 0


@slow
@given(plain.filter(lambda world: world.params.type is StrategyType.CANARY and world.replicas > 0))
def test_a_good_canary_stays_in_each_step_for_its_pause(world: World) -> None:
    world = replace(world, behaviours=world.behaviours[:1], analyst=None)
    course = world.build()
    assert course.run() == "idle"
    for number, step in enumerate(world.params.canary_steps):
        ticks = [tick for tick in course.ticks if tick.decision.status.step == number]
        begun = [tick for tick in ticks if tick.decision.status.step_at is not None]
        if begun and step.pause:
            after = next(t for t in course.ticks if t.decision.status.step > number)
            assert after.view.now - begun[0].view.now >= step.pause
            served = {dict(t.view.traffic.weights).get(2, 0) for t in begun if t.view.traffic}
            assert served == {step.weight}


@slow
@given(routed)
def test_what_it_says_at_the_end_is_what_is_routed(world: World) -> None:
    course = world.build()
    phase = RolloutPhase(course.run())
    if phase is RolloutPhase.IDLE:
        assert is_routed(course.view(), world.target)
    elif phase is RolloutPhase.ROLLED_BACK:
        assert world.active is not None
        assert is_routed(course.view(), world.active)


@slow
@given(plain, st.dictionaries(st.integers(0, 40), st.integers(0, 3), max_size=6))
def test_a_crash_at_any_tick_leads_to_the_same_traffic(
    world: World, crashes: Mapping[int, int]
) -> None:
    straight, crashed = world.build(), world.build()
    assert straight.run() == crashed.run(crashes=crashes)
    assert straight.road is not None and crashed.road is not None
    assert straight.road.weights == crashed.road.weights
    assert straight.road.members == crashed.road.members


@slow
@given(plain.filter(lambda world: world.params.type is not StrategyType.RECREATE))
def test_a_rollout_without_faults_never_leaves_the_traffic_without_anybody(world: World) -> None:
    budget = budget_of(world.params, world.replicas)
    if world.params.type is StrategyType.ROLLING and not budget.fewest:
        return
    course = world.build()
    course.run()
    if world.replicas:
        assert all(route.members for _, route in routes_of(course))


@slow
@given(plain)
def test_a_rollout_that_is_done_proposes_nothing(world: World) -> None:
    course = world.build()
    if course.run() == "idle":
        course.active = world.target
        course.fleet.now += timedelta(hours=1)
        again = course.take_tick()
        assert again.is_done and not again.steps and again.route is None
