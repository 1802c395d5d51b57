"""Which measurement of which canary counts, and when the next one is due."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest

from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.execute.analysing import Analysing
from ctrlplane_gitops.execute.pool import Pool, wait_any
from ctrlplane_gitops.rollout.analysis import AnalysisStatus
from ctrlplane_gitops.state.analysis import (
    Analysis,
    AnalysisCheck,
    CommandMetric,
    HttpMetric,
    PrometheusMetric,
    Range,
    RouterMetric,
)
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.traffic import TrafficCount
from tests.http.json_server import json_server

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
WEB, API = instance_key("acme", "web"), instance_key("acme", "api")
ERRORS = AnalysisCheck("errors", RouterMetric(max_error_rate=0.05), 30 * SECOND)
SMOKE = AnalysisCheck("smoke", CommandMetric(("smoke", "$(RELEASE)")), 20 * SECOND)


class Canary:
    """What is measured, set by the test: the router's counters and a command's exit code."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.pool = Pool(4, "analysis")
        self.analysing = Analysing(self.pool, self.clock)
        self.count = TrafficCount()
        self.exit_code: Callable[[], int] = lambda: 0
        self.commands: list[list[str]] = []

    def run_command(self, command: Sequence[str], timeout: timedelta) -> int:
        assert timeout == 10 * SECOND
        self.commands.append(list(command))
        return self.exit_code()

    def follow(self, *checks: AnalysisCheck, release: int = 2) -> None:
        self.analysing.follow(
            WEB, release, 1, Analysis(checks), lambda: self.count, self.run_command
        )

    def serve(self, requests: int, errors: int = 0, seconds: float = 0) -> None:
        before = self.count
        self.count = TrafficCount(
            before.requests + requests, before.errors + errors, before.duration_s + seconds
        )

    def round(self, after: timedelta = timedelta()) -> bool:
        """Until every measurement that is due has been taken in."""
        self.clock.advance(after)
        self.analysing.start_due()
        while running := [item for item in self.analysing.running if not item.done()]:
            wait_any(running, 10 * SECOND)
        return self.analysing.collect()

    def status(self, release: int = 2) -> AnalysisStatus | None:
        verdict = self.analysing.verdict_of(WEB, release)
        return None if verdict is None else verdict.status

    def message(self) -> str:
        verdict = self.analysing.verdict_of(WEB, 2)
        return "" if verdict is None else verdict.message

    def due_in(self) -> float:
        due = self.analysing.next_due()
        assert due is not None
        return (due - self.clock.now()).total_seconds()


@pytest.fixture
def canary() -> Iterator[Canary]:
    canary = Canary()
    yield canary
    canary.pool.close()


def test_the_routers_first_count_is_what_the_next_is_compared_with(canary: Canary) -> None:
    canary.count = TrafficCount(1000, 900, 50)
    canary.follow(ERRORS)
    assert not canary.round() and canary.status() is AnalysisStatus.PENDING
    assert canary.due_in() == 30
    canary.serve(100, 5)
    assert canary.round(30 * SECOND) and canary.status() is AnalysisStatus.PASSING
    canary.serve(47, 10)
    assert canary.round(30 * SECOND) and canary.status() is AnalysisStatus.FAILED
    assert canary.message() == (
        "analysis 'errors' failed: error rate 21.3% > 5% (1 failure, limit 0)"
    )


def test_few_requests_are_no_data_until_they_are_enough(canary: Canary) -> None:
    canary.follow(ERRORS)
    canary.round()
    for _ in range(2):
        canary.serve(4, 1)
        canary.round(30 * SECOND)
        assert canary.status() is AnalysisStatus.INCONCLUSIVE
    canary.serve(4, 1)
    canary.round(30 * SECOND)
    assert canary.message() == "analysis 'errors' failed: error rate 25% > 5% (1 failure, limit 0)"


def test_a_router_that_restarts_begins_anew(canary: Canary) -> None:
    canary.count = TrafficCount(500, 0, 5)
    canary.follow(ERRORS)
    canary.round()
    canary.count = TrafficCount(20, 20, 1)
    canary.round(30 * SECOND)
    assert canary.status() is AnalysisStatus.INCONCLUSIVE
    assert "the router's counters began anew" in canary.message()
    canary.serve(20, 0)
    canary.round(30 * SECOND)
    assert canary.status() is AnalysisStatus.PASSING


def test_other_checks_are_measured_first_after_an_interval(canary: Canary) -> None:
    canary.follow(SMOKE)
    canary.round()
    assert canary.commands == [] and canary.due_in() == 20
    canary.round(20 * SECOND)
    assert canary.commands == [["smoke", "2"]]
    assert canary.status() is AnalysisStatus.PASSING and canary.due_in() == 20


def test_it_passes_when_every_check_has_a_value(canary: Canary) -> None:
    canary.follow(ERRORS, SMOKE)
    canary.round()
    canary.serve(50)
    canary.round(20 * SECOND)
    assert canary.status() is AnalysisStatus.PENDING
    assert not canary.round(5 * SECOND)
    assert canary.round(5 * SECOND) and canary.status() is AnalysisStatus.PASSING


def test_the_exit_code_decides_and_an_error_is_asked_again_soon(canary: Canary) -> None:
    canary.follow(SMOKE)
    canary.exit_code = lambda: 127
    canary.round(20 * SECOND)
    assert canary.message() == "analysis 'smoke' cannot be measured: exit code 127"
    assert canary.due_in() == 10
    canary.exit_code = lambda: 2
    canary.round(10 * SECOND)
    assert canary.status() is AnalysisStatus.INCONCLUSIVE
    canary.exit_code = lambda: 1
    canary.round(20 * SECOND)
    assert canary.status() is AnalysisStatus.FAILED


def failing(error: Exception) -> Callable[[], int]:
    def fail() -> int:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ProviderError("the replica has gone"), "the replica has gone"),
        (TimeoutError(), "no answer within 10s"),
        (ZeroDivisionError("by zero"), "unexpected ZeroDivisionError: by zero"),
    ],
)
def test_what_cannot_be_measured_five_times_fails_and_raises_nothing(
    canary: Canary, error: Exception, message: str
) -> None:
    canary.exit_code = failing(error)
    canary.follow(SMOKE)
    canary.round(20 * SECOND)
    for _ in range(3):
        canary.round(10 * SECOND)
    assert canary.status() is AnalysisStatus.PENDING
    canary.round(10 * SECOND)
    assert canary.message() == f"analysis 'smoke' failed: {message} (5 errors in a row, limit 4)"


def test_a_router_that_does_not_answer_is_an_error(canary: Canary) -> None:
    def count() -> TrafficCount:
        raise UnreachableError("the router does not run")

    canary.analysing.follow(WEB, 2, 1, Analysis((ERRORS,)), count, canary.run_command)
    canary.round()
    assert canary.message() == "analysis 'errors' cannot be measured: the router does not run"
    canary.follow(ERRORS)
    canary.round(10 * SECOND)
    canary.serve(30)
    canary.round(30 * SECOND)
    assert canary.status() is AnalysisStatus.PASSING


def test_told_again_it_keeps_what_was_measured_and_another_release_begins_anew(
    canary: Canary,
) -> None:
    canary.follow(SMOKE)
    canary.round(20 * SECOND)
    canary.follow(SMOKE)
    assert canary.status() is AnalysisStatus.PASSING
    canary.follow(SMOKE, release=3)
    assert canary.status() is None
    assert canary.status(release=3) is AnalysisStatus.PENDING
    canary.round(20 * SECOND)
    assert canary.status(release=3) is AnalysisStatus.PASSING
    canary.follow(ERRORS, release=3)
    assert canary.status(release=3) is AnalysisStatus.PENDING


def test_what_is_forgotten_is_not_measured_any_more(canary: Canary) -> None:
    canary.follow(SMOKE)
    canary.analysing.forget(WEB)
    canary.analysing.forget(API)
    assert canary.analysing.next_due() is None and canary.status() is None
    assert not canary.round(60 * SECOND) and canary.commands == []


def test_an_answer_that_comes_after_a_new_release_is_not_its(canary: Canary) -> None:
    gate = Event()
    canary.exit_code = lambda: int(gate.wait(10))
    canary.follow(SMOKE)
    canary.clock.advance(20 * SECOND)
    canary.analysing.start_due()
    canary.follow(SMOKE, release=3)
    gate.set()
    canary.round()
    assert canary.status(release=3) is AnalysisStatus.PENDING


def test_one_that_hangs_holds_up_nobody(canary: Canary) -> None:
    gate = Event()
    canary.exit_code = lambda: int(not gate.wait(10))
    canary.follow(SMOKE, ERRORS)
    canary.serve(0)
    canary.clock.advance(20 * SECOND)
    canary.analysing.start_due()
    while not any(item.done() for item in canary.analysing.running):
        wait_any(canary.analysing.running, SECOND)
    canary.analysing.collect()
    assert len(canary.analysing.running) == 1 and canary.due_in() == 30
    gate.set()
    canary.round()
    assert canary.analysing.running == [] and canary.due_in() == 20


def test_servers_are_really_asked(canary: Canary) -> None:
    with json_server() as server:
        query = PrometheusMetric(server.url(), "up", Range(low=1), Range(low=1))
        state = HttpMetric(server.url("/$(INSTANCE)"), "state", equals="ok")
        checks = (AnalysisCheck("query", query), AnalysisCheck("state", state))
        server.pages["/web"] = (200, {"state": "ok"})
        server.pages["/api/v1/query?query=up"] = (
            200,
            {"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}},
        )
        canary.follow(*checks)
        canary.round(30 * SECOND)
        assert canary.status() is AnalysisStatus.PASSING
        server.pages["/web"] = (200, {"state": "degraded"})
        canary.round(30 * SECOND)
        assert canary.message() == (
            "analysis 'state' failed: 'degraded', not 'ok' (1 failure, limit 0)"
        )
