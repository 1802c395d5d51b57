"""Recreate, move by move."""

from ctrlplane_gitops.rollout.recreate import Recreate, move_after_stop
from ctrlplane_gitops.rollout.view import ScaleStep
from ctrlplane_gitops.state.desired import RolloutParams
from tests.rollout.scene import a_set, a_view, rolling_back


def test_everything_old_stops_first() -> None:
    view = a_view(a_set(1, "+++"), a_set(3, "x"))
    assert move_after_stop(view, 2) == (ScaleStep(3, 0), ScaleStep(1, 0))


def test_nothing_starts_before_the_old_is_gone() -> None:
    assert move_after_stop(a_view(a_set(1, "x")), 2) == (ScaleStep(1, 0),)
    assert move_after_stop(a_view(), 2) == (ScaleStep(2, 3),)


def test_a_dead_replica_is_replaced_without_stopping_the_others() -> None:
    assert move_after_stop(a_view(a_set(2, "+x+")), 2) == (ScaleStep(2, 3),)


def test_on_the_way_back_the_failed_release_stops_first() -> None:
    view = a_view(a_set(2, "---"), status=rolling_back())
    assert Recreate().next_step(view).steps == (ScaleStep(2, 0),)
    assert Recreate().next_step(a_view(status=rolling_back())).steps == (ScaleStep(1, 3),)


def test_it_has_no_budget_to_check() -> None:
    assert Recreate().check(RolloutParams()) == ()
