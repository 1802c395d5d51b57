"""When the source is looked at and when a pass is made."""

from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.workers.agenda import Agenda, after_pass

NOW = datetime(2026, 1, 1, tzinfo=UTC)
INTERVAL = timedelta(seconds=60)
NEW = Agenda(INTERVAL, whole_at=NOW)


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


def test_a_pass_over_everything_is_due_at_once() -> None:
    assert NEW.next_at() == NOW


def test_a_failed_pass_is_tried_again_less_and_less_often() -> None:
    assert waits(PassOutcome.FAILED, 8) == [5, 10, 20, 40, 80, 160, 180, 180]
    assert waits(PassOutcome.PARTIAL, 2) == [5, 10]


def test_a_lease_that_is_taken_is_asked_for_as_often_as_before() -> None:
    assert waits(PassOutcome.LOCKED, 4) == [5, 5, 5, 5]


def test_a_success_forgets_the_failures() -> None:
    failed = after_pass(NEW, report(PassOutcome.FAILED, must_retry=True), NOW, 0)
    agenda = after_pass(failed, report(PassOutcome.APPLIED), NOW, 0)
    assert (agenda.retry_at, agenda.failures) == (None, 0)


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
    assert agenda.next_at() == agenda.whole_at == NOW + INTERVAL


def test_passes_that_are_given_up_get_more_and_more_time() -> None:
    agenda, found = NEW, []
    for _ in range(6):
        found.append(agenda.patience().total_seconds())
        agenda = after_pass(agenda, report(PassOutcome.SUPERSEDED), NOW, 0)
        assert agenda.retry_at == NOW
    assert found == [30, 60, 120, 240, 480, 480]
    agenda = after_pass(agenda, report(PassOutcome.APPLIED), NOW, 0)
    assert agenda.patience() == timedelta(seconds=30)
