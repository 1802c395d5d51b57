"""Every delivery ends exactly once, whatever looks and passes there were."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.store.delivery import DeliveryFilter
from ctrlplane_gitops.workers.ending import LAG, PATIENCE
from ctrlplane_gitops.workers.ledger import POLL
from tests.workers.ledger_kit import MAIN, SECOND, Scene, commit


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize(
    ("ended", "outcome", "message"),
    [
        (PassOutcome.APPLIED, "applied", ""),
        (PassOutcome.UNCHANGED, "unchanged", ""),
        (PassOutcome.WAITING, "applied", "pass waiting: why"),
        (PassOutcome.FAILED, "failed", "pass failed: why"),
        (PassOutcome.PARTIAL, "failed", "pass partial: why"),
        (PassOutcome.ROLLED_BACK, "failed", "pass rolledBack: why"),
        (PassOutcome.REFUSED, "failed", "pass refused: why"),
        (PassOutcome.INVALID, "failed", "pass invalid: why"),
    ],
)
def test_a_delivery_ends_as_its_pass_does(
    scene: Scene, ended: PassOutcome, outcome: str, message: str
) -> None:
    scene.deliver("a")
    scene.look("a")
    assert scene.rows() == [("accepted", "")]
    scene.end_pass("a", ended, "why")
    assert scene.rows() == [(outcome, "a")]
    assert scene.message() == message
    # Once and for all.
    scene.end_pass("a", PassOutcome.APPLIED)
    scene.settle("a")
    assert scene.rows() == [(outcome, "a")]
    assert [item.outcome for item in scene.told] == [outcome]


@pytest.mark.parametrize(
    "ended", [PassOutcome.LOCKED, PassOutcome.CANCELLED, PassOutcome.SUPERSEDED]
)
def test_a_pass_that_has_to_be_made_again_ends_nothing(scene: Scene, ended: PassOutcome) -> None:
    scene.deliver("a")
    scene.look("a")
    scene.end_pass("a", ended)
    scene.settle("a")
    assert scene.rows() == [("accepted", "")]
    scene.end_pass("a", PassOutcome.APPLIED)
    assert scene.rows() == [("applied", "a")]


def test_of_several_for_one_pass_each_ends(scene: Scene) -> None:
    for name in ("a", "", "b", "c"):
        scene.deliver(name)
    scene.look("c")
    scene.end_pass("c", PassOutcome.APPLIED)
    assert scene.rows() == [
        ("superseded", "c"), ("applied", "c"), ("superseded", "c"), ("applied", "c"),
    ]  # fmt: skip


def test_what_comes_during_a_look_waits_for_the_next(scene: Scene) -> None:
    scene.ledger.begin_look()
    scene.deliver("")
    scene.ledger.end_look(scene.snapshot("a"))
    scene.end_pass("a", PassOutcome.APPLIED)
    scene.settle("a")
    assert scene.rows() == [("accepted", "")]
    scene.look("b")
    scene.end_pass("b", PassOutcome.APPLIED)
    assert scene.rows() == [("applied", "b")]


def test_a_pass_of_an_older_commit_does_not_end_it(scene: Scene) -> None:
    scene.look("a")
    scene.deliver("b")
    scene.look("b")
    # Begun before the look.
    scene.end_pass("a", PassOutcome.APPLIED)
    assert scene.rows() == [("accepted", "")]
    scene.end_pass("b", PassOutcome.FAILED, "why")
    assert scene.rows() == [("failed", "b")]


def test_an_older_pass_that_ends_later_does_not_hide_how_the_newest_ended(scene: Scene) -> None:
    scene.look("a")
    scene.look("b")
    scene.end_pass("b", PassOutcome.FAILED, "why")
    scene.end_pass("a", PassOutcome.APPLIED)
    scene.deliver("b")
    scene.look("b")
    scene.settle("b")
    assert scene.rows() == [("failed", "b")]


def test_who_knows_an_older_commit_ends_nothing_that_a_later_look_has_seen(scene: Scene) -> None:
    scene.look("a")
    scene.end_pass("a", PassOutcome.APPLIED)
    scene.deliver()
    scene.look("b")
    scene.settle("a")
    assert scene.rows() == [("accepted", "")]
    scene.end_pass("b", PassOutcome.FAILED, "why")
    assert scene.rows() == [("failed", "b")]


def test_a_commit_whose_own_pass_was_left_out_ends_with_the_next_one(scene: Scene) -> None:
    scene.deliver("a")
    scene.look("a")
    scene.deliver("b")
    scene.look("b")
    scene.end_pass("b", PassOutcome.APPLIED)
    assert scene.rows() == [("superseded", "b"), ("applied", "b")]


def test_where_no_pass_is_needed_it_is_unchanged(scene: Scene) -> None:
    scene.look("a")
    scene.end_pass("a", PassOutcome.APPLIED)
    scene.deliver("b")
    scene.look("b")
    scene.settle("b")
    assert scene.rows() == [("unchanged", "b")]
    assert scene.message() == "it concerns nothing that runs here"


def test_an_empty_commit_ends_with_its_own_name(scene: Scene) -> None:
    scene.look("a")
    scene.deliver("b")
    scene.look("b")
    scene.end_pass("a", PassOutcome.APPLIED)
    scene.settle("b", tried="a")
    assert scene.rows() == [("applied", "b")]
    scene.clock.advance(SECOND)
    scene.deliver("c")
    scene.look("c")
    scene.settle("c", tried="a")
    assert scene.rows()[-1] == ("unchanged", "c")


def test_what_was_applied_before_it_came_is_not_applied_by_it(scene: Scene) -> None:
    scene.look("a")
    scene.end_pass("a", PassOutcome.APPLIED)
    scene.clock.advance(SECOND)
    scene.deliver("a")
    scene.look("a")
    scene.settle("a")
    assert scene.rows() == [("unchanged", "a")]
    assert scene.message() == "what it says was applied before"
    # But for what did not go well then.
    scene.end_pass("a", PassOutcome.REFUSED, "why")
    scene.clock.advance(SECOND)
    scene.deliver("a")
    scene.look("a")
    scene.settle("a")
    assert scene.rows()[-1] == ("failed", "a")


def test_a_commit_that_is_never_seen_is_given_up_after_a_while(scene: Scene) -> None:
    scene.deliver("c")
    waits = []
    began = scene.clock.now()
    while (wait := scene.look("b")) is not None:
        waits.append(wait.total_seconds())
        scene.clock.advance(wait)
        scene.settle("b")
        assert scene.clock.now() - began <= LAG + 15 * SECOND
    assert scene.clock.now() - began >= LAG
    assert waits[:6] == [0.5, 0.5, 1, 2, 4, 8] and set(waits[6:]) == {15}
    assert scene.rows() == [("failed", "b")]
    assert scene.message() == f"its commit has not been seen; {MAIN} is at {'b' * 12}"


def test_a_commit_that_was_forced_away_is_superseded_by_what_came_after_it(scene: Scene) -> None:
    scene.deliver("h")
    scene.deliver("b")
    assert scene.look("b") is None
    scene.end_pass("b", PassOutcome.APPLIED)
    assert scene.rows() == [("superseded", "b"), ("applied", "b")]


def test_a_commit_that_was_seen_is_not_looked_for_when_it_is_gone(scene: Scene) -> None:
    scene.deliver("c")
    scene.look("c")
    assert scene.look("b") is None
    scene.end_pass("b", PassOutcome.APPLIED)
    assert scene.rows() == [("superseded", "b")]


def test_a_remote_that_does_not_answer_is_waited_for_and_not_for_ever(scene: Scene) -> None:
    scene.deliver("a")
    for _ in range(2):
        scene.ledger.begin_look()
        scene.ledger.fail_look("could not resolve host")
    assert scene.rows() == [("accepted", "")]
    scene.clock.advance(PATIENCE + SECOND)
    scene.ledger.begin_look()
    scene.ledger.fail_look("could not resolve host")
    assert scene.rows() == [("failed", "")]
    assert "could not resolve host" in scene.message()
    [row] = scene.store.read(DeliveryFilter(POLL))
    assert (row.outcome, row.count, row.message) == ("failed", 3, "could not resolve host")


def test_sixty_looks_that_find_nothing_are_one_row(scene: Scene) -> None:
    scene.look("a")
    scene.end_pass("a", PassOutcome.APPLIED)
    for number in range(60):
        scene.clock.advance(timedelta(minutes=1))
        if number % 7 == 0:
            scene.ledger.begin_look()
            scene.ledger.fail_look("down")
        scene.look("a")
    quiet, failed, found = sorted(
        scene.store.read(DeliveryFilter(POLL)), key=lambda item: -item.count
    )
    assert (quiet.outcome, quiet.count) == ("unchanged", 60)
    assert (failed.outcome, failed.count) == ("failed", 9)
    assert (found.outcome, found.count, found.announced) == ("applied", 1, commit("a"))
    assert quiet.ended_at == scene.clock.now()


def test_a_look_that_finds_something_ends_like_a_delivery(scene: Scene) -> None:
    scene.look("a")
    scene.look("b")
    scene.end_pass("b", PassOutcome.APPLIED)
    scene.look("c")
    scene.settle("c")
    assert scene.rows(POLL) == [("superseded", "b"), ("applied", "b"), ("unchanged", "c")]


def test_what_a_delivery_led_to_is_not_told_of_the_look_as_well(scene: Scene) -> None:
    scene.look("a")
    scene.end_pass("a", PassOutcome.APPLIED)
    scene.deliver("b")
    scene.look("b")
    scene.end_pass("b", PassOutcome.APPLIED)
    assert scene.rows(None) == [("applied", "a"), ("applied", "b")]


def test_before_the_store_is_known_looks_are_kept_and_nothing_is_accepted() -> None:
    scene = Scene(is_open=False)
    with pytest.raises(StoreError):
        scene.deliver("a")
    scene.look("a")
    scene.ledger.open(scene.store)
    scene.end_pass("a", PassOutcome.APPLIED)
    assert scene.rows(None) == [("applied", "a")]


def test_what_somebody_before_us_left_open_is_ended(scene: Scene) -> None:
    scene.deliver("a")
    scene.deliver("c")
    again = Scene(is_open=False)
    again.store = scene.store
    assert again.ledger.open(scene.store)
    assert again.look("b") is not None
    again.end_pass("b", PassOutcome.APPLIED)
    assert again.rows() == [("superseded", "b"), ("accepted", "")]
    again.look("c")
    again.end_pass("c", PassOutcome.APPLIED)
    assert again.rows() == [("superseded", "b"), ("applied", "c")]


def test_what_cannot_be_written_now_is_written_later(scene: Scene) -> None:
    scene.deliver("a")
    scene.look("a")
    scene.store.is_broken = True
    scene.end_pass("a", PassOutcome.APPLIED)
    scene.ledger.reject("gitlab", "signature", "no")
    scene.look("b")
    scene.store.is_broken = False
    assert scene.rows() == [("accepted", "")]
    scene.look("b")
    assert scene.rows() == [("applied", "a")]
    assert scene.rows("gitlab") == [("rejected", "")]


def test_rejections_are_written_together_and_said_once_an_hour(scene: Scene) -> None:
    first = [scene.ledger.reject("github", "signature", "no") for _ in range(1000)]
    assert first == [True, *[False] * 999]
    assert scene.ledger.reject("github", "malformed", "no")
    scene.clock.advance(timedelta(hours=1))
    assert scene.ledger.reject("github", "signature", "no")
    scene.ledger.flush(is_all=True)
    rows = scene.store.read(DeliveryFilter("github"))
    assert sorted((item.reason, item.count) for item in rows) == [
        ("malformed", 1), ("signature", 1), ("signature", 1000),
    ]  # fmt: skip


def test_a_directory_has_no_commits_to_wait_for(scene: Scene) -> None:
    def snapshot(text: str) -> Snapshot:
        return Snapshot({"a": text}, lambda blobs: {}, commit("a"))

    def look(text: str) -> timedelta | None:
        scene.ledger.begin_look()
        return scene.ledger.end_look(snapshot(text))

    scene.deliver("h")
    assert look("1") is None
    report = PassReport(
        scene.clock.now(), timedelta(), PassOutcome.APPLIED, commit("a"), "", True, True, False
    )
    scene.ledger.end_pass(report, snapshot("1"))
    look("2")
    scene.ledger.end_pass(report, snapshot("1"))
    assert scene.rows(POLL) == [("accepted", "")]
    scene.ledger.end_pass(report, snapshot("2"))
    assert scene.rows(POLL) == [("applied", "a")]
