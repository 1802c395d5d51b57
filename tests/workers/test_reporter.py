"""What a forge is told of commits, and when it is tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.errors import ForgeError
from ctrlplane_gitops.forge.base import CommitStatus
from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.workers.reporter import Reporter

A, B = "a" * 40, "b" * 40


class Scene:
    """``told`` are state and description by commit; ``failures`` are raised first, each once."""

    def __init__(self) -> None:
        self.clock = FakeClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
        self.told: list[tuple[str, str, str]] = []
        self.failures: list[ForgeError] = []
        self.woken = 0
        self.reporter = Reporter(
            self._tell, lambda: "ctrlplane-gitops/prod", "https://page/", self.clock, self._wake,
            chance=lambda: 0,
        )  # fmt: skip

    def _tell(self, status: CommitStatus) -> None:
        assert (status.context, status.url) == ("ctrlplane-gitops/prod", "https://page/")
        if self.failures:
            raise self.failures.pop(0)
        self.told.append((status.commit[:1], status.state.value, status.description))

    def _wake(self) -> None:
        self.woken += 1

    def end(self, commit: str, outcome: PassOutcome, *notes: str) -> None:
        self.reporter.end(
            PassReport(
                self.clock.now(), timedelta(seconds=2.34), outcome, commit, "refs/heads/main",
                True, True, False, notes=notes,
            )
        )  # fmt: skip

    def run(self) -> list[tuple[str, str, str]]:
        """What was told of it."""
        before = len(self.told)
        self.reporter.run()
        return self.told[before:]


@pytest.fixture
def scene() -> Scene:
    return Scene()


BEGUN = "a pass is being made"


@pytest.mark.parametrize(
    ("outcome", "notes", "state", "text"),
    [
        (PassOutcome.APPLIED, (), "success", "applied in 2.3s"),
        (PassOutcome.UNCHANGED, ("a note",), "success", "nothing to change"),
        (PassOutcome.WAITING, ("web waits\nfor promote",), "pending", "web waits for promote"),
        (PassOutcome.FAILED, ("why", "and"), "failure", "failed: why"),
        (PassOutcome.PARTIAL, (), "failure", "partial"),
        (PassOutcome.ROLLED_BACK, ("why",), "failure", "rolledBack: why"),
        (PassOutcome.REFUSED, ("why",), "failure", "refused: why"),
        (PassOutcome.INVALID, ("why",), "failure", "invalid: why"),
    ],
)
def test_a_commit_is_pending_and_then_what_became_of_it(
    scene: Scene, outcome: PassOutcome, notes: tuple[str, ...], state: str, text: str
) -> None:
    scene.reporter.begin(A)
    assert scene.run() == [("a", "pending", BEGUN)]
    scene.end(A, outcome, *notes)
    assert scene.run() == [("a", state, text)]
    assert scene.woken == 2


@pytest.mark.parametrize(
    "outcome", [PassOutcome.LOCKED, PassOutcome.CANCELLED, PassOutcome.SUPERSEDED]
)
def test_a_pass_that_has_to_be_made_again_says_nothing(scene: Scene, outcome: PassOutcome) -> None:
    scene.reporter.begin(A)
    scene.run()
    scene.end(A, outcome)
    scene.reporter.settle(A)
    assert scene.run() == []
    scene.end(A, PassOutcome.APPLIED)
    assert scene.run() == [("a", "success", "applied in 2.3s")]


def test_later_passes_of_a_commit_speak_up_when_it_is_another_state(scene: Scene) -> None:
    scene.reporter.begin(A)
    scene.end(A, PassOutcome.APPLIED)
    scene.run()
    for _ in range(10):
        scene.reporter.begin(A)
        scene.end(A, PassOutcome.UNCHANGED)
    assert scene.run() == []
    scene.end(A, PassOutcome.FAILED, "a provider is down")
    scene.end(A, PassOutcome.FAILED, "a provider is still down")
    scene.run()
    scene.end(A, PassOutcome.UNCHANGED)
    assert [row[1] for row in [*scene.told[1:], *scene.run()]] == ["failure", "success"]


def test_a_commit_whose_pass_was_given_up_does_not_stay_pending(scene: Scene) -> None:
    scene.reporter.begin(A)
    scene.run()
    scene.end(A, PassOutcome.SUPERSEDED)
    scene.reporter.begin(B)
    assert scene.run() == [("a", "cancelled", f"{B[:12]} came after it"), ("b", "pending", BEGUN)]


def test_a_commit_without_a_pass_is_what_the_last_one_was(scene: Scene) -> None:
    scene.reporter.begin(A)
    scene.end(A, PassOutcome.FAILED, "why")
    scene.run()
    scene.reporter.settle(A)
    assert scene.run() == []
    scene.reporter.settle(B)
    assert scene.run() == [("b", "failure", "failed: why")]


def test_what_waits_for_somebody_is_not_settled(scene: Scene) -> None:
    scene.reporter.begin(A)
    scene.end(A, PassOutcome.WAITING, "web waits for promote")
    scene.run()
    scene.reporter.settle(A)
    scene.end(A, PassOutcome.WAITING, "web waits for promote")
    assert scene.run() == []
    scene.end(A, PassOutcome.WAITING, "db waits for promote")
    assert scene.run() == [("a", "pending", "db waits for promote")]


def test_what_has_not_been_told_yet_is_overtaken_by_what_is_newer(scene: Scene) -> None:
    scene.reporter.begin(A)
    scene.end(A, PassOutcome.APPLIED)
    assert scene.run() == [("a", "success", "applied in 2.3s")]


def test_a_failure_is_tried_again_later_and_later_and_not_for_ever(scene: Scene) -> None:
    down = "it was answered 502 Bad Gateway"
    scene.failures = [ForgeError(down, is_retryable=True) for _ in range(50)]
    scene.reporter.begin(A)
    waits, said = [], []
    while True:
        ran = scene.reporter.run()
        assert ran.after is not None
        said.append(ran.error)
        if ran.after >= timedelta(hours=1):
            break
        waits.append(ran.after.total_seconds())
        scene.clock.advance(ran.after)
    assert waits == [5, 10, 20, 40, 80, 160, 180, 180, 180]
    assert set(said[:-1]) == {f"{down}; it is tried again"}
    assert said[-1] == f"{down}; it is left at that"
    scene.failures.clear()
    assert scene.run() == []
    # The next commit is told of as ever.
    scene.reporter.begin(B)
    assert scene.run()[-1] == ("b", "pending", BEGUN)


def test_what_will_never_succeed_is_tried_once(scene: Scene) -> None:
    scene.failures = [ForgeError("it was answered 401", hint="check the token")]
    scene.reporter.begin(A)
    assert scene.reporter.run().error == "it was answered 401 (check the token); it is left at that"
    scene.clock.advance(timedelta(days=1))
    assert scene.run() == []


def test_while_one_is_tried_again_what_is_newer_takes_its_place(scene: Scene) -> None:
    scene.failures = [ForgeError("down", is_retryable=True)]
    scene.reporter.begin(A)
    scene.run()
    scene.end(A, PassOutcome.APPLIED)
    assert scene.run() == [("a", "success", "applied in 2.3s")]
    scene.clock.advance(timedelta(minutes=5))
    assert scene.run() == []
