from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.verdict import next_verdict
from ctrlplane_gitops.state.observed import Verdict

START = datetime(2026, 1, 1, tzinfo=UTC)
OK = ProbeResult(True, "200")
BAD = ProbeResult(False, "status 500")


def rounds(*results: bool, retries: int = 3) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for number, is_ok in enumerate(results):
        previous = verdicts[-1] if verdicts else None
        at = START + timedelta(seconds=number)
        verdicts.append(next_verdict(previous, {"http": OK if is_ok else BAD}, retries, at))
    return verdicts


def test_a_replica_without_checks_is_ready_as_soon_as_it_runs() -> None:
    assert next_verdict(None, {}, 3, START) == Verdict(True, START)


def test_ready_only_when_every_check_passed() -> None:
    verdict = next_verdict(None, {"http": OK, "db": BAD}, 3, START)
    assert not verdict.is_ready
    assert verdict.checks == {"db": "status 500", "http": "ok"}
    assert verdict.message == "db: status 500"
    assert next_verdict(verdict, {"http": OK, "db": OK}, 3, START).is_ready


def test_one_success_makes_a_replica_ready() -> None:
    assert [item.is_ready for item in rounds(False, False, True)] == [False, False, True]


def test_only_retries_failures_in_a_row_make_a_ready_replica_unready() -> None:
    found = rounds(True, False, False, True, False, False, False)
    assert [item.is_ready for item in found] == [True, True, True, True, True, True, False]
    assert [item.failures for item in found] == [0, 1, 2, 0, 1, 2, 3]


def test_a_replica_that_never_was_ready_gets_no_benefit_of_the_doubt() -> None:
    assert [item.is_ready for item in rounds(False)] == [False]


def test_since_is_when_readiness_last_changed() -> None:
    found = rounds(False, False, True, False, True, False, False, False, False)
    seconds = [(item.since - START).seconds for item in found]
    assert seconds == [0, 0, 2, 2, 2, 2, 2, 7, 7]


def test_the_old_failure_of_a_slow_check_is_not_counted_again() -> None:
    results = {"quick": OK, "slow": BAD}
    verdict = next_verdict(Verdict(True, START), results, 2, START)
    for _ in range(5):
        verdict = next_verdict(verdict, results, 2, START, fresh=["quick"])
    assert (verdict.is_ready, verdict.failures) == (True, 1)
    assert not next_verdict(verdict, results, 2, START, fresh=["slow"]).is_ready
