"""A switch of traffic that another process decided, and did not live to see done."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ctrlplane_gitops.rollout.registry import strategy_for
from ctrlplane_gitops.rollout.traffic import build_route
from ctrlplane_gitops.rollout.view import ReplicaSetView, RolloutView, RouteStep, TrafficView
from ctrlplane_gitops.state.desired import CanaryStep, RolloutParams, StrategyType
from ctrlplane_gitops.state.recorded import RolloutStatus
from tests.rollout.scene import a_set, a_view, progressing

OLD = frozenset({"v1.0", "v1.1"})
SERVED = TrafficView({1: 100}, OLD, frozenset(), True, False, frozenset())


def switching(new: str) -> RolloutView:
    """Green was whole, the switch was decided and written down; the router still sends everything
    to blue."""
    view = a_view(
        a_set(1, "++"),
        a_set(2, new),
        replicas=2,
        params=RolloutParams(type=StrategyType.BLUE_GREEN),
        status=replace(progressing(best=2), step=1),
    )
    return replace(view, traffic=SERVED)


@pytest.mark.parametrize("new", ["--", "+-", "+x", "xx"])
def test_traffic_stays_with_blue_while_green_is_not_known_to_be_whole(new: str) -> None:
    decision = strategy_for(StrategyType.BLUE_GREEN).next_step(switching(new))
    assert decision.route is None
    assert all(step.release == 2 for step in decision.steps)


def test_traffic_moves_once_green_is_seen_to_be_whole() -> None:
    decision = strategy_for(StrategyType.BLUE_GREEN).next_step(switching("++"))
    assert decision.route == RouteStep(((2, 100),), ("v2.0", "v2.1"))


def test_what_was_moved_to_a_green_that_is_not_whole_goes_back_to_blue() -> None:
    moved = TrafficView({2: 100}, frozenset({"v2.0", "v2.1"}), OLD, False, False, frozenset())
    view = replace(switching("+-"), traffic=moved)
    decision = strategy_for(StrategyType.BLUE_GREEN).next_step(view)
    assert decision.route == RouteStep(((1, 100),), tuple(sorted(OLD)))
    assert not decision.steps


def test_requests_go_to_a_living_member_without_a_share_rather_than_to_nobody() -> None:
    route = build_route(switching("--"), SERVED, {2: 100}, ())
    assert route == RouteStep(((1, 100),), tuple(sorted(OLD)))


LEFT = frozenset({"v3.0", "v3.1"})


def superseded(kind: StrategyType, *sets: ReplicaSetView) -> RolloutView:
    """A rollout to release 3 had moved everything there when release 2 was asked for."""
    params = RolloutParams(type=kind, canary_steps=(CanaryStep(50, timedelta()),))
    served = TrafficView({3: 100}, LEFT, frozenset(), True, False, frozenset())
    view = a_view(*sets, a_set(3, "++"), replicas=2, params=params, status=RolloutStatus())
    return replace(view, traffic=served)


@pytest.mark.parametrize("kind", [StrategyType.BLUE_GREEN, StrategyType.CANARY])
def test_a_release_that_alone_has_traffic_stays_until_somebody_can_take_it(
    kind: StrategyType,
) -> None:
    decision = strategy_for(kind).next_step(superseded(kind))
    assert decision.route is None
    assert decision.steps and all(step.replicas for step in decision.steps)
    for signs in ("--", "+-"):
        decision = strategy_for(kind).next_step(superseded(kind, a_set(1, signs)))
        assert decision.route is None
        assert all(step.replicas for step in decision.steps)


@pytest.mark.parametrize("kind", [StrategyType.BLUE_GREEN, StrategyType.CANARY])
def test_it_goes_as_soon_as_the_active_release_is_whole(kind: StrategyType) -> None:
    decision = strategy_for(kind).next_step(superseded(kind, a_set(1, "++")))
    assert decision.route == RouteStep(((1, 100),), tuple(sorted(OLD)))
    assert all(step.release != 3 for step in decision.steps)


@pytest.mark.parametrize("kind", [StrategyType.BLUE_GREEN, StrategyType.CANARY])
@pytest.mark.parametrize("signs", ["", "+"])
def test_the_active_release_is_made_whole_before_the_target_is_begun(
    kind: StrategyType, signs: str
) -> None:
    """Two whole sets are all there may be: with half of each of three, nobody would be whole."""
    decision = strategy_for(kind).next_step(superseded(kind, a_set(1, signs)))
    assert [(step.release, step.replicas) for step in decision.steps] == [(1, 2)]
