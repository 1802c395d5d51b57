"""A release that was overtaken while it had all of the traffic keeps it until somebody can take it
over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ctrlplane_gitops.rollout.registry import strategy_for
from ctrlplane_gitops.rollout.view import RolloutView, ScaleStep, StepDecision, TrafficView
from ctrlplane_gitops.state.desired import RolloutParams, StrategyType
from ctrlplane_gitops.state.recorded import RolloutPhase, RolloutStatus
from tests.rollout.scene import NOW, a_set, a_view, ago

PARAMS = [RolloutParams(StrategyType.CANARY), RolloutParams(StrategyType.BLUE_GREEN)]
FOUR = frozenset(f"v4.{index}" for index in range(3))
CARRIED = TrafficView({4: 100}, FOUR)


def overtaken(view: RolloutView, params: RolloutParams) -> RolloutView:
    """v4 was on its way from v1 and has all of the traffic; v2 is wanted now."""
    status = RolloutStatus(RolloutPhase.PROGRESSING, 2, 1, ago(1), ago(1))
    return replace(view, params=params, traffic=CARRIED, status=status)


def decide(view: RolloutView) -> StepDecision:
    return strategy_for(view.params.type).next_step(view)


@pytest.mark.parametrize("params", PARAMS, ids=lambda item: str(item.type))
def test_a_whole_active_release_takes_over_before_the_overtaken_goes(params: RolloutParams) -> None:
    view = overtaken(a_view(a_set(1, "+++"), a_set(4, "+++")), params)
    decision = decide(view)
    assert decision.route is not None
    assert decision.route.weights == ((1, 100),)
    assert ScaleStep(4, 0) not in decision.steps


@pytest.mark.parametrize("params", PARAMS, ids=lambda item: str(item.type))
@pytest.mark.parametrize("signs", ["", "+", "-", "++-"])
def test_what_is_left_of_the_active_release_is_made_whole_first(
    params: RolloutParams, signs: str
) -> None:
    view = overtaken(a_view(a_set(1, signs), a_set(4, "+++")), params)
    decision = decide(view)
    assert decision.route is None
    assert decision.steps == (() if len(signs) == 3 else (ScaleStep(1, 3),))


@pytest.mark.parametrize("params", PARAMS, ids=lambda item: str(item.type))
def test_the_way_back_leaves_it_the_traffic_as_long(params: RolloutParams) -> None:
    view = overtaken(a_view(a_set(1, "-"), a_set(4, "+++")), params)
    status = replace(
        view.status, phase=RolloutPhase.ROLLING_BACK, message="rolling back v2 -> v1: x"
    )
    decision = decide(replace(view, status=status))
    assert decision.route is None and decision.steps == (ScaleStep(1, 3),)


@pytest.mark.parametrize("params", PARAMS, ids=lambda item: str(item.type))
@pytest.mark.parametrize("active", [None, 2])
def test_where_nothing_was_live_before_the_wanted_one_takes_over(
    params: RolloutParams, active: int | None
) -> None:
    view = replace(overtaken(a_view(a_set(4, "+++")), params), active=active)
    assert decide(view).steps == (ScaleStep(2, 3),) and decide(view).route is None
    whole = replace(view, sets=(a_set(2, "+++"), a_set(4, "+++")))
    route = decide(whole).route
    assert route is not None and route.weights == ((2, 100),)
    assert whole.now == NOW
