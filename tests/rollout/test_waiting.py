"""A rollout that waits for a person says so, and may wait as long as it takes."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ctrlplane_gitops.rollout.registry import strategy_for
from ctrlplane_gitops.rollout.simulator import INSTANCE
from ctrlplane_gitops.rollout.view import RolloutView, Wishes, find_wait
from ctrlplane_gitops.state.desired import CanaryStep, RolloutParams, StrategyType
from ctrlplane_gitops.state.recorded import Order, RolloutPhase, RolloutStatus
from tests.rollout.scene import NOW, a_set, a_view, ago, progressing, rolling_back

HOUR = 3600
GREEN = RolloutParams(StrategyType.BLUE_GREEN, is_auto_promote=False)
CANARY = RolloutParams(StrategyType.CANARY, canary_steps=(CanaryStep(50, None), CanaryStep(100)))
ROLLING = RolloutParams()
WAITING = replace(progressing(HOUR, HOUR, best=3), message="waits for promote")


def decide(view: RolloutView):
    return strategy_for(view.params.type).next_step(view)


@pytest.mark.parametrize("params", [GREEN, CANARY], ids=["blueGreen", "canary"])
def test_it_says_what_it_waits_for(params: RolloutParams) -> None:
    status = replace(progressing(60, 60, best=3), step_at=ago(30))
    decision = decide(a_view(a_set(1, "+++"), a_set(2, "+++"[: 3 if params is GREEN else 2]),
                             status=status, params=params))  # fmt: skip
    assert decision.waits_for == "promote"
    assert decision.status.message == "waits for promote"


@pytest.mark.parametrize("params", [ROLLING, GREEN, CANARY], ids=lambda item: str(item.type))
def test_a_paused_one_waits_for_resume(params: RolloutParams) -> None:
    view = a_view(a_set(1, "+++"), a_set(2, "+"), params=params)
    decision = decide(replace(view, wishes=Wishes(is_paused=True)))
    assert (decision.waits_for, decision.status.message) == ("resume", "waits for resume")
    assert not decision.steps


def test_waiting_longer_than_the_progress_deadline_is_no_failure() -> None:
    decision = decide(a_view(a_set(1, "+++"), a_set(2, "+++"), status=WAITING, params=GREEN))
    assert decision.status.phase is RolloutPhase.PROGRESSING
    assert decision.waits_for == "promote"


@pytest.mark.parametrize("verb", ["promote", "resume"])
def test_when_it_goes_on_its_deadline_begins_anew_and_it_says_nothing(verb: str) -> None:
    status = replace(WAITING, message=f"waits for {verb}")
    params = replace(ROLLING, progress_deadline=timedelta(minutes=1))
    decision = decide(a_view(a_set(1, "++"), a_set(2, "r"), status=status, params=params))
    assert decision.status.phase is RolloutPhase.PROGRESSING
    assert (decision.status.message, decision.status.progress_at) == ("", NOW)


def test_a_green_replica_that_dies_while_it_waits_has_its_deadline() -> None:
    """Waiting is for a person, not for replicas."""
    status = WAITING
    view = a_view(a_set(1, "+++"), a_set(2, "++-"), status=status, params=GREEN)
    decision = decide(view)
    assert decision.waits_for == "" and decision.status.message == ""
    late = replace(
        view, status=decision.status, now=NOW + GREEN.healthy_deadline + timedelta(seconds=1)
    )
    assert decide(late).status.phase is RolloutPhase.ROLLING_BACK


def test_an_abort_while_it_waits_says_that_it_was_aborted() -> None:
    view = a_view(a_set(1, "+++"), a_set(2, "+++"), status=WAITING, params=GREEN)
    decision = decide(replace(view, wishes=Wishes(is_aborted=True)))
    assert decision.status.message == "rolling back v2 -> v1: it was aborted"


ORDER = Order(INSTANCE, 2)


@pytest.mark.parametrize(
    ("status", "order", "said"),
    [
        (WAITING, None, "waits for promote"),
        (WAITING, ORDER, "waits for promote"),
        (WAITING, replace(ORDER, promoted=1), ""),
        (WAITING, replace(ORDER, promoted=1, target=1), "waits for promote"),
        (WAITING, replace(ORDER, is_full=True), ""),
        (WAITING, replace(ORDER, is_aborted=True), ""),
        (progressing(), replace(ORDER, is_paused=True), "waits for resume"),
        (replace(WAITING, message="waits for resume"), ORDER, ""),
        (progressing(), None, ""),
        (rolling_back(), None, ""),
        (RolloutStatus(), replace(ORDER, is_paused=True), ""),
    ],
)
def test_what_is_still_waited_for_is_what_nobody_has_ordered_yet(
    status: RolloutStatus, order: Order | None, said: str
) -> None:
    assert find_wait(status, order) == said
