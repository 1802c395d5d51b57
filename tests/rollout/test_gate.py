"""Deadlines, and what comes of missing one."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ctrlplane_gitops.rollout.rolling import Rolling
from ctrlplane_gitops.rollout.view import RolloutView
from ctrlplane_gitops.state.desired import RolloutParams
from ctrlplane_gitops.state.recorded import RolloutPhase, RolloutStatus
from tests.rollout.scene import NOW, a_set, a_view, ago, progressing, rolling_back


def phase_of(view: RolloutView) -> RolloutPhase:
    return Rolling().next_step(view).status.phase


def message_of(view: RolloutView) -> str:
    return Rolling().next_step(view).status.message


def test_a_new_replica_has_its_deadline_from_its_own_start() -> None:
    status = progressing(900, 200, best=1)
    late = a_view(a_set(1, "++"), a_set(2, "+"), status=status)
    fresh = replace(late, sets=(a_set(1, "++"), a_set(2, "+-", ago(299))))
    stale = replace(late, sets=(a_set(1, "++"), a_set(2, "+-", ago(300))))
    assert phase_of(fresh) is RolloutPhase.PROGRESSING
    assert phase_of(stale) is RolloutPhase.ROLLING_BACK


def test_a_replica_from_before_the_rollout_has_its_deadline_from_the_beginning() -> None:
    view = a_view(a_set(2, "++-"), status=progressing(299, 299, best=2))
    assert phase_of(view) is RolloutPhase.PROGRESSING
    view = a_view(a_set(2, "++-"), status=progressing(300, 300, best=2))
    assert phase_of(view) is RolloutPhase.ROLLING_BACK


def test_one_that_was_available_and_flickers_does_not_fail_a_long_rollout_at_once() -> None:
    sets = (a_set(1, "+"), a_set(2, "-+r", ago(800)))
    view = a_view(*sets, status=progressing(900, 100, best=2))
    assert phase_of(view) is RolloutPhase.PROGRESSING
    view = a_view(*sets, status=progressing(900, 300, best=2))
    assert phase_of(view) is RolloutPhase.ROLLING_BACK


def test_one_that_dies_again_and_again_has_its_deadline_from_the_last_progress() -> None:
    sets = (a_set(1, "+++"), a_set(2, "x", ago(1)))
    assert phase_of(a_view(*sets, status=progressing(299, 299))) is RolloutPhase.PROGRESSING
    view = a_view(*sets, status=progressing(300, 300))
    assert message_of(view) == "rolling back v2 -> v1: v2.0 was not healthy within 5m: exited 1"


def test_only_a_new_best_is_progress() -> None:
    view = a_view(a_set(1, "++"), a_set(2, "++"), status=progressing(60, 60, best=1))
    status = Rolling().next_step(view).status
    assert (status.best_available, status.progress_at) == (2, NOW)
    view = a_view(a_set(1, "++"), a_set(2, "+-", ago(5)), status=progressing(60, 60, best=2))
    status = Rolling().next_step(view).status
    assert (status.best_available, status.progress_at) == (2, ago(60))


def test_no_progress_in_time_fails_a_rollout_whose_replicas_are_young() -> None:
    sets = (a_set(1, "++"), a_set(2, "+-", ago(5)))
    assert phase_of(a_view(*sets, status=progressing(900, 599, 1))) is RolloutPhase.PROGRESSING
    view = a_view(*sets, status=progressing(900, 600, best=1))
    assert message_of(view) == (
        "rolling back v2 -> v1: no further replica of v2 became available within 10m: "
        "connection refused"
    )


def test_after_a_long_absence_of_the_controller_what_is_ready_gets_its_min_ready() -> None:
    status = progressing(7200, 7000, best=1)
    assert phase_of(a_view(a_set(1, "r"), a_set(2, "rr"), status=status)) is (
        RolloutPhase.PROGRESSING
    )
    assert phase_of(a_view(a_set(1, "r"), a_set(2, "r"), status=status)) is (
        RolloutPhase.ROLLING_BACK
    )


def test_a_rollout_that_only_waits_for_the_old_to_go_is_not_rolled_back() -> None:
    decision = Rolling().next_step(
        a_view(a_set(1, "+"), a_set(2, "+++"), status=progressing(900, 600, best=3))
    )
    assert decision.is_done and decision.status.phase is RolloutPhase.FAILED
    assert decision.status.message == "v2 failed: v1 was not removed within 10m"


def test_a_stop_that_fails_is_not_rolled_back() -> None:
    view = a_view(a_set(2, "+"), replicas=0, scale_error="permission denied")
    decision = Rolling().next_step(view)
    assert decision.is_done and decision.status.phase is RolloutPhase.FAILED


def test_a_rollback_has_deadlines_of_its_own() -> None:
    sets = (a_set(1, "+-"), a_set(2, "-"))
    assert phase_of(a_view(*sets, status=rolling_back(299))) is RolloutPhase.ROLLING_BACK
    turned = Rolling().next_step(a_view(*sets, status=progressing(600, 600, best=1))).status
    assert (turned.progress_at, turned.best_available) == (NOW, 0)
    assert turned.started_at == ago(600)
    failed = Rolling().next_step(a_view(*sets, status=replace(rolling_back(300), best_available=1)))
    assert failed.is_done and failed.status.message == (
        "rollback v2 -> v1 failed: v1.1 was not healthy within 5m: connection refused "
        "(it was rolled back because exited 1)"
    )


def test_a_rollback_goes_on_after_the_error_that_began_it() -> None:
    view = a_view(a_set(1, "++"), status=rolling_back(), scale_error="no such image")
    decision = Rolling().next_step(view)
    assert decision.steps and decision.status.phase is RolloutPhase.ROLLING_BACK


def test_a_rollback_that_is_complete_says_what_happened() -> None:
    decision = Rolling().next_step(a_view(a_set(1, "+++"), status=rolling_back()))
    assert decision.is_done and decision.status.phase is RolloutPhase.ROLLED_BACK
    assert decision.status.message == "rolled back v2 -> v1: exited 1"


def test_a_rollback_without_a_release_to_return_to_ends() -> None:
    decision = Rolling().next_step(a_view(a_set(2, "-"), status=rolling_back(), active=None))
    assert decision.is_done and decision.status.phase is RolloutPhase.FAILED


def test_another_target_begins_anew() -> None:
    old = RolloutStatus(RolloutPhase.PROGRESSING, 3, 1, ago(900), ago(900), 2, "x")
    status = Rolling().next_step(a_view(a_set(1, "+++"), a_set(3, "-"), status=old)).status
    assert status == RolloutStatus(RolloutPhase.PROGRESSING, 2, 1, NOW, NOW)


@pytest.mark.parametrize("phase", [RolloutPhase.FAILED, RolloutPhase.ROLLED_BACK])
def test_a_release_that_failed_begins_anew_when_it_is_tried_again(phase: RolloutPhase) -> None:
    failed = RolloutStatus(phase, 2, 1, ago(9999), ago(9999), 2, "it was bad")
    status = Rolling().next_step(a_view(a_set(1, "+++"), status=failed)).status
    assert status == RolloutStatus(RolloutPhase.PROGRESSING, 2, 1, NOW, NOW)


def test_a_steady_release_in_need_of_repair_begins_anew() -> None:
    idle = RolloutStatus(target=2, started_at=ago(9999), progress_at=ago(9999), best_available=3)
    view = a_view(a_set(2, "++x"), status=idle, active=2)
    assert Rolling().next_step(view).status == RolloutStatus(
        RolloutPhase.PROGRESSING, 2, 2, NOW, NOW, best_available=2
    )


def test_a_clock_that_was_set_back_fails_nothing_and_ends_nothing() -> None:
    status = progressing(-3600, -3600)
    decision = Rolling().next_step(a_view(a_set(1, "+++"), a_set(2, "-"), status=status))
    assert not decision.is_done and decision.wait == timedelta(seconds=1)


def test_a_status_without_times_gets_them_so_that_it_can_end() -> None:
    status = RolloutStatus(RolloutPhase.PROGRESSING, 2)
    after = Rolling().next_step(a_view(a_set(2, "-"), status=status)).status
    assert after.started_at == after.progress_at == NOW


def test_deadlines_may_be_as_long_as_a_duration_can_be() -> None:
    params = RolloutParams(
        min_ready=timedelta.max, healthy_deadline=timedelta.max, progress_deadline=timedelta.max
    )
    assert not Rolling().next_step(a_view(a_set(2, "-r+"), params=params)).is_done
