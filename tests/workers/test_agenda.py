"""When the source is looked at and when a pass is made."""

from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.workers.agenda import Agenda, after_look, after_pass

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLL, INTERVAL = timedelta(seconds=30), timedelta(seconds=60)
NEW = Agenda(POLL, INTERVAL, poll_at=NOW, whole_at=NOW)


def report(outcome: PassOutcome, *, is_whole: bool = True, must_retry: bool = False) -> PassReport:
    return PassReport(
        NOW, timedelta(), outcome, "c0ffee", "main", is_whole, not must_retry, must_retry
    )


def waits(outcome: PassOutcome, count: int) -> list[float]:
    """Seconds until it is tried again, failure after failure."""
    agenda, found = NEW, []
    for _ in range(count):
        agenda = after_pass(agenda, report(outcome, must_retry=True), NOW, 0)
        assert agenda.retry_at is not None
        found.append((agenda.retry_at - NOW).total_seconds())
    return found


def test_both_are_due_at_once() -> None:
    assert NEW.next_at() == NOW


def test_a_source_that_answers_is_polled_on_its_interval() -> None:
    assert after_look(NEW, True, NOW, 1).poll_at == NOW + POLL


def test_a_source_that_does_not_answer_is_asked_less_and_less_often() -> None:
    agenda, found = NEW, []
    for _ in range(8):
        agenda = after_look(agenda, False, NOW, 0)
        found.append((agenda.poll_at - NOW).total_seconds())
    assert found == [5, 10, 20, 40, 80, 160, 180, 180]
    assert after_look(agenda, True, NOW, 0).poll_at == NOW + POLL
    # What runs is held against what is known, meanwhile as before.
    assert agenda.whole_at == NOW


def test_a_failed_pass_is_tried_again_less_and_less_often() -> None:
    assert waits(PassOutcome.FAILED, 8) == [5, 10, 20, 40, 80, 160, 180, 180]
    assert waits(PassOutcome.PARTIAL, 2) == [5, 10]


def test_a_lease_that_is_taken_is_asked_for_as_often_as_before() -> None:
    assert waits(PassOutcome.LOCKED, 4) == [5, 5, 5, 5]


def test_a_success_forgets_the_failures() -> None:
    failed = after_pass(NEW, report(PassOutcome.FAILED, must_retry=True), NOW, 0)
    agenda = after_pass(failed, report(PassOutcome.APPLIED), NOW, 0)
    assert (agenda.retry_at, agenda.pass_failures) == (None, 0)


def test_what_a_guard_refuses_is_not_tried_before_the_next_pass_over_everything() -> None:
    agenda = after_pass(NEW, report(PassOutcome.REFUSED), NOW, 0)
    assert (agenda.retry_at, agenda.whole_at) == (None, NOW + INTERVAL)


def test_a_pass_about_a_part_does_not_put_off_the_one_about_everything() -> None:
    agenda = after_pass(NEW, report(PassOutcome.APPLIED, is_whole=False), NOW, 0)
    assert agenda.whole_at == NOW


def test_failures_of_one_do_not_put_off_everybody_s_repair() -> None:
    agenda = NEW
    for _ in range(10):
        agenda = after_pass(agenda, report(PassOutcome.FAILED, must_retry=True), NOW, 0)
    assert agenda.retry_at == NOW + timedelta(minutes=3)
    assert after_look(agenda, True, NOW, 0).next_at() == NOW + POLL
    assert agenda.whole_at == NOW + INTERVAL
