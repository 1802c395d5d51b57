"""A switch of traffic that another process decided, and did not live to see done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ctrlplane_gitops.rollout.registry import strategy_for
from ctrlplane_gitops.rollout.traffic import build_route
from ctrlplane_gitops.rollout.view import RolloutView, RouteStep, TrafficView
from ctrlplane_gitops.state.desired import RolloutParams, StrategyType
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
