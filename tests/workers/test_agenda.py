"""When a pass is made although nothing is new."""

from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.value import replace
from ctrlplane_gitops.workers.agenda import Agenda, after_end, after_look, after_refusal

NOW = datetime(2026, 1, 1, tzinfo=UTC)
INTERVAL = timedelta(seconds=60)
NEW = Agenda(INTERVAL, whole_at=NOW)
LATER = NOW + INTERVAL


def report(outcome: PassOutcome, *, is_whole: bool = True, must_retry: bool = False) -> PassReport:
    return PassReport(
        NOW, timedelta(), outcome, "c0ffee", "main", is_whole, not must_retry, must_retry
    )


def waits(outcome: PassOutcome, count: int) -> list[float]:
    """Seconds until it is tried again, refusal after refusal."""
    agenda, found = NEW, []
    for _ in range(count):
        agenda = after_refusal(agenda, report(outcome, must_retry=True), NOW, 0)
        assert agenda.retry_at is not None
        found.append((agenda.retry_at - NOW).total_seconds())
    return found


def test_a_pass_over_everything_is_due_at_once() -> None:
    assert NEW.next_at() == NOW


def test_a_pass_that_could_not_begin_is_tried_again_less_and_less_often() -> None:
    assert waits(PassOutcome.FAILED, 8) == [5, 10, 20, 40, 80, 160, 180, 180]


def test_a_lease_that_is_taken_is_asked_for_as_often_as_before() -> None:
    assert waits(PassOutcome.LOCKED, 4) == [5, 5, 5, 5]


def test_a_success_forgets_the_failures() -> None:
    failed = after_refusal(NEW, report(PassOutcome.FAILED, must_retry=True), NOW, 0)
    agenda = after_end(after_look(failed, False, True, NOW, 0), report(PassOutcome.APPLIED), NOW, 0)
    assert (agenda.retry_at, agenda.failures) == (None, 0)


def test_what_a_guard_refuses_is_not_tried_before_the_next_pass_over_everything() -> None:
    agenda = after_refusal(NEW, report(PassOutcome.REFUSED), NOW, 0)
    assert (agenda.retry_at, agenda.whole_at) == (None, LATER)


def test_a_pass_about_a_part_does_not_put_off_the_one_about_everything() -> None:
    assert after_look(NEW, False, False, NOW, 0).whole_at == NOW


def test_who_could_not_see_everything_looks_again_soon() -> None:
    agenda = after_look(NEW, True, True, NOW, 0)
    assert (agenda.retry_at, agenda.whole_at) == (NOW + timedelta(seconds=5), LATER)


def test_failures_of_one_do_not_put_off_everybody_s_repair() -> None:
    agenda = after_look(NEW, False, True, NOW, 0)
    for _ in range(10):
        agenda = after_look(agenda, True, False, NOW, 0)
    assert agenda.retry_at == NOW + timedelta(minutes=3)
    assert agenda.next_at() == agenda.whole_at == LATER


def test_what_was_given_up_on_the_way_is_found_by_a_pass_over_everything() -> None:
    begun = after_look(NEW, False, True, NOW, 0)
    lost = after_end(begun, report(PassOutcome.LOCKED, must_retry=True), NOW, 0)
    assert lost.whole_at == NOW + timedelta(seconds=5)
    failed = after_end(begun, report(PassOutcome.FAILED, must_retry=True), NOW, 0)
    assert failed.whole_at == NOW + timedelta(seconds=5)


def test_what_moved_while_it_was_looked_at_is_looked_at_again_at_once() -> None:
    begun = after_look(NEW, False, True, NOW, 0)
    overtaken = replace(report(PassOutcome.APPLIED), is_overtaken=True)
    assert after_end(begun, overtaken, NOW, 0).next_at() == NOW
