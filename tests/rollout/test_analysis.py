"""The rules by which measurements become a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrlplane_gitops.rollout.analysis import (
    AnalysisRun,
    AnalysisStatus,
    AnalysisVerdict,
    judge,
    judge_check,
    next_run,
    read_measurement,
)
from ctrlplane_gitops.rollout.reading import Reading, Sign, read_value
from ctrlplane_gitops.rollout.view import AnalysisView
from ctrlplane_gitops.state.analysis import (
    Analysis,
    AnalysisCheck,
    CommandMetric,
    HttpMetric,
    Measurement,
    Metric,
    NoData,
    PrometheusMetric,
    Range,
    RouterMetric,
    TrafficRate,
    Value,
)

GOOD, DOUBTFUL, BAD = Measurement(1.0), Measurement(4.0), Measurement(9.0)
NOTHING, BROKEN = Measurement(note="empty"), Measurement(error="connection refused")
QUERY = PrometheusMetric("http://prometheus:9090", "up", Range(high=3), Range(high=5))
PASSING, PENDING = AnalysisStatus.PASSING, AnalysisStatus.PENDING
INCONCLUSIVE, FAILED = AnalysisStatus.INCONCLUSIVE, AnalysisStatus.FAILED


def a_check(
    failures: int = 0, inconclusive: int = 0, no_data: NoData = NoData.INCONCLUSIVE
) -> AnalysisCheck:
    return AnalysisCheck("rate", QUERY, timedelta(seconds=30), failures, inconclusive, no_data)


def measured(check: AnalysisCheck, measurements: Sequence[Measurement]) -> AnalysisRun:
    run = AnalysisRun()
    for item in measurements:
        run = next_run(run, check, item)
    return run


def verdict(check: AnalysisCheck, *measurements: Measurement) -> AnalysisVerdict:
    return judge(Analysis((check,)), measured(check, measurements))


def test_it_is_pending_until_there_is_a_value() -> None:
    assert verdict(a_check()) == AnalysisVerdict(PENDING, "analysis 'rate' has no value yet")
    assert verdict(a_check(), BROKEN).message == (
        "analysis 'rate' cannot be measured: connection refused"
    )
    assert verdict(a_check(), BROKEN, GOOD) == AnalysisVerdict(PASSING)
    assert verdict(a_check(), GOOD, BROKEN).status is PENDING
    assert verdict(a_check(inconclusive=1), NOTHING).status is PENDING


def test_one_failure_more_than_the_limit_fails() -> None:
    assert verdict(a_check(1), GOOD, BAD).status is PASSING
    assert verdict(a_check(1), BAD, GOOD, BAD) == AnalysisVerdict(
        FAILED, "analysis 'rate' failed: 9 > 5 (2 failures, limit 1)"
    )
    assert verdict(a_check(), BAD).message == "analysis 'rate' failed: 9 > 5 (1 failure, limit 0)"


def test_the_fifth_error_in_a_row_fails() -> None:
    assert verdict(a_check(), *[BROKEN] * 4).status is PENDING
    assert verdict(a_check(), *[BROKEN] * 4, GOOD, *[BROKEN] * 4).status is PENDING
    assert verdict(a_check(), *[BROKEN] * 4, NOTHING, *[BROKEN] * 4).status is INCONCLUSIVE
    assert verdict(a_check(), GOOD, *[BROKEN] * 5) == AnalysisVerdict(
        FAILED, "analysis 'rate' failed: connection refused (5 errors in a row, limit 4)"
    )


def test_one_inconclusive_more_than_the_limit_waits_for_a_person_for_good() -> None:
    assert verdict(a_check(inconclusive=1), DOUBTFUL).status is PASSING
    assert verdict(a_check(inconclusive=1), DOUBTFUL, GOOD, DOUBTFUL, GOOD) == AnalysisVerdict(
        INCONCLUSIVE, "analysis 'rate' is inconclusive: 4 > 3 (2 inconclusive, limit 1)"
    )


def test_what_is_missing_is_inconclusive_until_it_comes() -> None:
    assert verdict(a_check(), NOTHING) == AnalysisVerdict(
        INCONCLUSIVE, "analysis 'rate' is inconclusive: no data: empty (1 in a row, limit 0)"
    )
    assert verdict(a_check(), NOTHING, NOTHING, GOOD).status is PASSING
    assert verdict(a_check(inconclusive=2), *[NOTHING] * 3).status is INCONCLUSIVE


@pytest.mark.parametrize(
    ("no_data", "status"), [(NoData.PASS, PASSING), (NoData.FAIL, FAILED)]
)  # fmt: skip
def test_what_is_missing_may_count_as_good_or_bad(no_data: NoData, status: AnalysisStatus) -> None:
    found = verdict(a_check(no_data=no_data), NOTHING)
    assert found.status is status
    if status is FAILED:
        assert found.message == "analysis 'rate' failed: no data: empty (1 failure, limit 0)"


def test_what_has_failed_stays_so_and_what_is_inconclusive_may_still_fail() -> None:
    assert verdict(a_check(), BAD, GOOD, GOOD).status is FAILED
    assert verdict(a_check(), *[BROKEN] * 5, GOOD).status is FAILED
    assert verdict(a_check(), DOUBTFUL, BAD).status is FAILED


def test_the_worst_check_decides_and_all_as_bad_are_named() -> None:
    good, bad, worse = (AnalysisCheck(name, QUERY) for name in ("good", "bad", "worse"))
    run = AnalysisRun()
    for check, item in ((good, GOOD), (bad, DOUBTFUL), (worse, BAD)):
        run = next_run(run, check, item)
    assert judge(Analysis((good,)), run).status is PASSING
    assert judge(Analysis((good, bad)), run).status is INCONCLUSIVE
    assert judge(Analysis((good, bad, worse)), run).status is FAILED
    run = next_run(run, bad, BAD)
    assert judge(Analysis((good, bad, worse)), run).message == (
        "analysis 'bad' failed: 9 > 5 (1 failure, limit 0); "
        "analysis 'worse' failed: 9 > 5 (1 failure, limit 0)"
    )


def test_a_strategy_sees_no_more_than_it_needs() -> None:
    assert AnalysisVerdict(PASSING).view == AnalysisView()
    assert AnalysisVerdict(PENDING, "x").view == AnalysisView(is_pending=True)
    assert AnalysisVerdict(INCONCLUSIVE, "x").view == AnalysisView(is_inconclusive=True)
    assert AnalysisVerdict(FAILED, "x").view == AnalysisView("x")


SLOW = RouterMetric(0.05, timedelta(milliseconds=500))
WHOLE = HttpMetric("http://a", "x", equals=1)


@pytest.mark.parametrize(
    ("metric", "value", "sign", "message"),
    [
        (SLOW, TrafficRate(100, 0.05, 0.5), Sign.PASS, "error rate 5%, latency 500ms"),
        (SLOW, TrafficRate(100, 0.21, 0.4), Sign.FAIL, "error rate 21% > 5%"),
        (SLOW, TrafficRate(9, 0.5, 0.6123), Sign.FAIL,
         "error rate 50% > 5%, latency 612.3ms > 500ms"),
        (RouterMetric(max_latency=timedelta(seconds=1)), TrafficRate(9, 1, 0.1), Sign.PASS,
         "latency 100ms"),
        (SLOW, 3, Sign.ERROR, "3 is not a count of requests"),
        (QUERY, 3, Sign.PASS, "3"),
        (QUERY, 3.5, Sign.INCONCLUSIVE, "3.5 > 3"),
        (QUERY, 5.25, Sign.FAIL, "5.25 > 5"),
        (QUERY, float("inf"), Sign.FAIL, "inf > 5"),
        (QUERY, float("nan"), Sign.FAIL, "nan > 5"),
        (QUERY, "3", Sign.ERROR, "'3' is not a number"),
        (QUERY, True, Sign.ERROR, "true is not a number"),
        (HttpMetric("http://a", "x", Range(2), Range(1)), 1.5, Sign.INCONCLUSIVE, "1.5 < 2"),
        (HttpMetric("http://a", "x", Range(2), Range(1)), 0, Sign.FAIL, "0 < 1"),
        (HttpMetric("http://a", "x", equals="ok"), "ok", Sign.PASS, "'ok'"),
        (HttpMetric("http://a", "x", equals="ok"), "bad", Sign.FAIL, "'bad', not 'ok'"),
        (HttpMetric("http://a", "x", equals=False), False, Sign.PASS, "false"),
        (HttpMetric("http://a", "x", equals=""), "", Sign.PASS, "''"),
        (WHOLE, 1.0, Sign.PASS, "1"),
        (WHOLE, True, Sign.FAIL, "true, not 1"),
        (WHOLE, "a\x1b" * 50, Sign.FAIL, f"'{'a?' * 30}..', not 1"),
        (CommandMetric(("x",)), 0, Sign.PASS, "exit code 0"),
        (CommandMetric(("x",)), 1, Sign.FAIL, "exit code 1"),
        (CommandMetric(("x",)), 2, Sign.INCONCLUSIVE, "exit code 2"),
        (CommandMetric(("x",)), 127, Sign.ERROR, "exit code 127"),
        (CommandMetric(("x",)), "0", Sign.ERROR, "exit code '0'"),
    ],
)  # fmt: skip
def test_what_a_value_says(metric: Metric, value: Value, sign: Sign, message: str) -> None:
    assert read_value(metric, value) == Reading(sign, message)


# What holds for any measurements


numbers = st.floats(0, 10, allow_nan=False).map(Measurement)
anything = st.one_of(numbers, st.just(NOTHING), st.just(BROKEN), st.just(Measurement("text")))
checks = st.builds(a_check, st.integers(0, 3), st.integers(0, 3), st.sampled_from(NoData))


@given(checks, st.lists(anything, max_size=20))
def test_no_more_failures_than_the_limit_without_having_failed(
    check: AnalysisCheck, measurements: list[Measurement]
) -> None:
    run = AnalysisRun()
    for item in measurements:
        run = next_run(run, check, item)
        counts, status = run.of(check), judge_check(check, run.of(check)).status
        is_over = counts.failed > check.failure_limit or counts.errors_in_a_row > check.error_limit
        assert is_over == (status is FAILED)
        assert counts.failed <= check.failure_limit + 1
        assert counts.errors_in_a_row <= check.error_limit + 1


@given(checks, st.lists(anything, max_size=20), st.lists(anything, max_size=5))
def test_more_measurements_never_undo_a_failure(
    check: AnalysisCheck, measurements: list[Measurement], more: list[Measurement]
) -> None:
    early = verdict(check, *measurements)
    if early.status is FAILED:
        assert verdict(check, *measurements, *more) == early


@given(checks, st.data())
def test_where_all_is_measured_the_order_does_not_matter(
    check: AnalysisCheck, data: st.DataObject
) -> None:
    measurements = data.draw(st.lists(numbers, max_size=12))
    shuffled = data.draw(st.permutations(measurements))
    assert verdict(check, *measurements).status is verdict(check, *shuffled).status


@given(checks, st.lists(anything, max_size=20))
def test_it_never_passes_without_a_value_and_says_why_it_does_not(
    check: AnalysisCheck, measurements: list[Measurement]
) -> None:
    found = verdict(check, *measurements)
    assert bool(found.message) is (found.status is not PASSING)
    if found.status is PASSING:
        last = read_measurement(check, measurements[-1]).sign
        assert last is not Sign.ERROR
        has_value = any(item.value is not None for item in measurements)
        assert has_value or check.no_data is not NoData.INCONCLUSIVE


@given(st.lists(checks, min_size=1, max_size=4), st.lists(anything, max_size=20))
def test_no_check_is_better_than_the_whole(
    limits: list[AnalysisCheck], measurements: list[Measurement]
) -> None:
    named = [
        AnalysisCheck(f"c{n}", item.metric, item.interval, item.failure_limit,
                      item.inconclusive_limit, item.no_data)
        for n, item in enumerate(limits)
    ]  # fmt: skip
    run = AnalysisRun()
    for number, item in enumerate(measurements):
        run = next_run(run, named[number % len(named)], item)
    order = list(AnalysisStatus)
    each = [judge_check(check, run.of(check)).status for check in named]
    assert judge(Analysis(tuple(named)), run).status is max(each, key=order.index)
