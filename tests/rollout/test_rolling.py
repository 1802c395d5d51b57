"""Rolling, move by move."""

from datetime import timedelta

from ctrlplane_gitops.rollout.rolling import Rolling, move_by_budget
from ctrlplane_gitops.rollout.view import ScaleStep
from ctrlplane_gitops.state.desired import RolloutParams
from ctrlplane_gitops.units import CountOrPercent
from tests.rollout.scene import a_set, a_view, progressing

ONE_LESS = RolloutParams(max_surge=CountOrPercent(0), max_unavailable=CountOrPercent(1))


def test_a_new_replica_comes_before_an_old_one_goes() -> None:
    assert move_by_budget(a_view(a_set(1, "+++")), 2) == (ScaleStep(2, 1),)


def test_an_old_replica_goes_when_the_new_one_is_available() -> None:
    view = a_view(a_set(1, "+++"), a_set(2, "+"))
    assert move_by_budget(view, 2) == (ScaleStep(1, 2, ("v1.2",)),)


def test_ready_is_not_enough_for_an_old_replica_to_go() -> None:
    assert move_by_budget(a_view(a_set(1, "+++"), a_set(2, "r")), 2) == ()


def test_without_surge_an_old_replica_goes_first() -> None:
    view = a_view(a_set(1, "+++"), params=ONE_LESS)
    assert move_by_budget(view, 2) == (ScaleStep(1, 2, ("v1.2",)),)


def test_the_last_old_replica_takes_its_set_along() -> None:
    view = a_view(a_set(1, "+"), a_set(2, "+++"))
    assert move_by_budget(view, 2) == (ScaleStep(1, 0),)


def test_an_unready_old_replica_goes_first_by_name() -> None:
    view = a_view(a_set(1, "-++"), a_set(2, "+"))
    assert move_by_budget(view, 2) == (ScaleStep(1, 2, ("v1.0",)),)


def test_unready_replicas_of_every_old_set_go_before_available_ones() -> None:
    view = a_view(a_set(1, "++-"), a_set(3, "+"), a_set(2, "+"))
    assert move_by_budget(view, 2) == (ScaleStep(3, 0), ScaleStep(1, 2, ("v1.2",)))


def test_of_two_old_sets_the_active_one_is_kept_longer() -> None:
    view = a_view(a_set(1, "++"), a_set(3, "++"), replicas=4, params=ONE_LESS)
    assert move_by_budget(view, 2) == (ScaleStep(3, 1, ("v3.1",)),)


def test_old_replicas_that_all_stopped_being_ready_are_not_given_up() -> None:
    """The probes may be wrong about all of them at once; the new ones have proved nothing yet."""
    assert move_by_budget(a_view(a_set(1, "---"), a_set(2, "-")), 2) == ()
    assert move_by_budget(a_view(a_set(1, "rrr"), a_set(2, "r")), 2) == ()


def test_a_broken_old_release_is_replaced_as_fast_as_the_new_one_comes() -> None:
    view = a_view(a_set(1, "---"), a_set(2, "+"))
    assert move_by_budget(view, 2) == (ScaleStep(1, 2, ("v1.2",)),)


def test_the_place_of_a_dead_old_replica_is_used() -> None:
    view = a_view(a_set(1, "+xx"))
    assert move_by_budget(view, 2) == (ScaleStep(2, 3),)


def test_a_dead_old_set_stays_until_the_new_one_is_complete() -> None:
    assert move_by_budget(a_view(a_set(1, "xx"), a_set(2, "++-")), 2) == ()
    assert move_by_budget(a_view(a_set(1, "xx"), a_set(2, "+++")), 2) == (ScaleStep(1, 0),)


def test_a_dead_new_replica_is_replaced_within_the_budget() -> None:
    assert move_by_budget(a_view(a_set(2, "+x+")), 2) == (ScaleStep(2, 3),)
    assert move_by_budget(a_view(a_set(1, "+++"), a_set(2, "+x")), 2) == (
        ScaleStep(1, 2, ("v1.2",)),
    )


def test_surplus_is_removed_even_if_it_is_dead() -> None:
    assert move_by_budget(a_view(a_set(2, "+++x")), 2) == (ScaleStep(2, 3),)
    assert move_by_budget(a_view(a_set(2, "-++++")), 2) == (ScaleStep(2, 3, ("v2.0", "v2.4")),)


def test_nothing_starts_while_too_many_run() -> None:
    view = a_view(a_set(1, "+" * 8))
    assert move_by_budget(view, 2) == (ScaleStep(1, 3, ("v1.7", "v1.6", "v1.5", "v1.4", "v1.3")),)


def test_a_budget_of_nothing_does_not_pass_the_check() -> None:
    none = CountOrPercent(0)
    found = Rolling().check(RolloutParams(max_surge=none, max_unavailable=none))
    assert [item.code for item in found] == ["empty-budget"] and found[0].is_error


def test_it_looks_again_when_a_replica_may_become_available() -> None:
    params = RolloutParams(min_ready=timedelta(seconds=2.3))
    view = a_view(a_set(1, "+++"), a_set(2, "r"), params=params)
    assert Rolling().next_step(view).wait == timedelta(seconds=0.3)


def test_it_looks_every_second_because_replicas_die_unannounced() -> None:
    view = a_view(a_set(1, "+++"), a_set(2, "r"))
    assert Rolling().next_step(view).wait == timedelta(seconds=1)


def test_it_looks_at_once_after_a_step_unless_something_died() -> None:
    assert Rolling().next_step(a_view(a_set(1, "+++"))).wait == timedelta()
    dying = Rolling().next_step(a_view(a_set(2, "++x")))
    assert dying.steps and dying.wait == timedelta(seconds=1)


def test_it_looks_again_when_the_deadline_hits() -> None:
    view = a_view(a_set(1, "+++"), a_set(2, "-"), status=progressing(299.6, 299.6))
    assert Rolling().next_step(view).wait == timedelta(seconds=0.4)
