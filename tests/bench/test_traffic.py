"""How row 5 judges what a load met."""

from __future__ import annotations

from tests.bench.measure import Run
from tests.bench.traffic_row import Met, judge
from tests.load.report import KEPT, Report, Sample


def report(since_s: float, *latencies_ms: float, reason: str = "") -> Report:
    return Report(
        tuple(
            Sample(due, due, due + ms / 1000, KEPT, "GET", 500 if reason else 200, "1", "r", reason)
            for due, ms in enumerate(latencies_ms, start=int(since_s))
        )
    )


def words(met: Met) -> list[str]:
    return [verdict.word for verdict in judge("x", met)]


RUNS = (Run(1, 1, 1), Run(2, 1, 1))
QUIET = report(0, 2, 2, 2)


def test_both_bars_hold_where_nothing_is_lost_and_nobody_waits() -> None:
    met = Met(QUIET, report(10, 2, 2, 4.9), QUIET, RUNS)
    assert words(met) == ["pass", "pass"]
    lost, added = judge("x", met)
    assert (lost.value, added.bar) == (0, 3.0)
    assert added.value is not None and abs(added.value - 2.9) < 1e-6


def test_one_failure_is_too_many_and_is_named() -> None:
    met = Met(QUIET, report(10, 2), report(20, 2, reason="status 502"), RUNS)
    verdict, _ = judge("x", met)
    assert (verdict.value, verdict.word) == (1, "FAIL") and "1 x status 502" in verdict.note


def test_the_bar_of_a_slow_service_is_a_tenth_of_its_own_time() -> None:
    slow = report(0, 100, 100)
    assert [it.bar for it in judge("x", Met(slow, slow, slow, RUNS))] == [0, 10.0]


def test_a_tail_beside_a_machine_that_moved_is_no_answer() -> None:
    met = Met(QUIET, report(10, 2, 2, 12), report(20, 6, 6, 6), RUNS)
    assert words(met) == ["pass", "noisy"]
