"""From measurements to one verdict on a canary. Pure.

Source of the rules: Argo Rollouts ``analysis/analysis.go``
(``assessMetricFailureInconclusiveOrError``): a check has failed when it failed more often in total
than ``failureLimit`` says, or could not be measured more often in a row than
``consecutiveErrorLimit`` says (4); it is inconclusive when it was so more often in total than
``inconclusiveLimit`` says; the limits default to 0. What has failed stays so.

Ours beyond that: a missing value is no failure of the canary and no error of the source. It is
counted in a row, so that the next value clears it; and a check that is inconclusive is measured on,
so that a failure is still seen while a person is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from ctrlplane_gitops.rollout.reading import Reading, Sign, read_value
from ctrlplane_gitops.rollout.view import AnalysisView
from ctrlplane_gitops.state.analysis import Analysis, AnalysisCheck, Measurement, NoData, Value
from ctrlplane_gitops.value import field, replace, struct


@struct
class CheckRun:
    """What became of one check so far: how many measurements passed, failed, were inconclusive or
    errors; how many of the last ones in a row were errors, or had no data. ``value`` is the last
    one there was, ``message`` what the last measurement said, ``failure`` and ``doubt`` what the
    last failed and the last inconclusive one said."""

    passed: int = 0
    failed: int = 0
    inconclusive: int = 0
    errors: int = 0
    errors_in_a_row: int = 0
    missing_in_a_row: int = 0
    value: Value | None = None
    message: str = ""
    failure: str = ""
    doubt: str = ""


@struct
class AnalysisRun:
    """The runs of the checks that were measured, by name."""

    checks: Mapping[str, CheckRun] = field(default_factory=dict)

    def of(self, check: AnalysisCheck) -> CheckRun:
        return self.checks.get(check.name, CheckRun())


class AnalysisStatus(StrEnum):
    """From good to bad. ``pending``: some check has no value yet, or its last measurement was an
    error. ``passing`` is never the end: it is measured until the canary is through."""

    PASSING = "passing"
    PENDING = "pending"
    INCONCLUSIVE = "inconclusive"
    FAILED = "failed"


@struct
class AnalysisVerdict:
    """``message`` says why, "" while it passes."""

    status: AnalysisStatus
    message: str = ""

    @property
    def view(self) -> AnalysisView:
        """As a strategy sees it."""
        return AnalysisView(
            self.message if self.status is AnalysisStatus.FAILED else "",
            is_inconclusive=self.status is AnalysisStatus.INCONCLUSIVE,
            is_pending=self.status is AnalysisStatus.PENDING,
        )


_ORDER = tuple(AnalysisStatus)


def next_run(run: AnalysisRun, check: AnalysisCheck, measurement: Measurement) -> AnalysisRun:
    """The run with one more measurement; a check that has failed takes none in any more."""
    before = run.of(check)
    if judge_check(check, before).status is AnalysisStatus.FAILED:
        return run
    return AnalysisRun({**run.checks, check.name: _count(before, check, measurement)})


def judge(analysis: Analysis, run: AnalysisRun) -> AnalysisVerdict:
    """The worst of the checks' verdicts, with the reasons of all that are as bad."""
    verdicts = [judge_check(check, run.of(check)) for check in analysis.checks]
    worst = max((item.status for item in verdicts), key=_ORDER.index, default=_ORDER[0])
    reasons = [item.message for item in verdicts if item.status is worst and item.message]
    return AnalysisVerdict(worst, "; ".join(reasons))


def judge_check(check: AnalysisCheck, run: CheckRun) -> AnalysisVerdict:
    """One check's verdict."""
    title = f"analysis '{check.name}'"
    if run.failed > check.failure_limit:
        counts = f"{_times(run.failed, 'failure')}, limit {check.failure_limit}"
        return AnalysisVerdict(AnalysisStatus.FAILED, f"{title} failed: {run.failure} ({counts})")
    if run.errors_in_a_row > check.error_limit:
        counts = f"{_times(run.errors_in_a_row, 'error')} in a row, limit {check.error_limit}"
        return AnalysisVerdict(AnalysisStatus.FAILED, f"{title} failed: {run.message} ({counts})")
    if run.inconclusive > check.inconclusive_limit:
        counts = f"{run.inconclusive} inconclusive, limit {check.inconclusive_limit}"
        text = f"{title} is inconclusive: {run.doubt} ({counts})"
        return AnalysisVerdict(AnalysisStatus.INCONCLUSIVE, text)
    if run.missing_in_a_row > check.inconclusive_limit:
        counts = f"{run.missing_in_a_row} in a row, limit {check.inconclusive_limit}"
        text = f"{title} is inconclusive: {run.doubt} ({counts})"
        return AnalysisVerdict(AnalysisStatus.INCONCLUSIVE, text)
    if run.errors_in_a_row:
        text = f"{title} cannot be measured: {run.message}"
        return AnalysisVerdict(AnalysisStatus.PENDING, text)
    if not run.passed + run.failed + run.inconclusive:
        return AnalysisVerdict(AnalysisStatus.PENDING, f"{title} has no value yet")
    return AnalysisVerdict(AnalysisStatus.PASSING)


def read_measurement(check: AnalysisCheck, measurement: Measurement) -> Reading:
    """What one measurement says by the rules of its check."""
    if measurement.error:
        return Reading(Sign.ERROR, measurement.error)
    if measurement.value is None:
        note = f"no data: {measurement.note}" if measurement.note else "no data"
        return Reading(_MISSING[check.no_data], note)
    return read_value(check.metric, measurement.value)


_MISSING = {NoData.INCONCLUSIVE: Sign.MISSING, NoData.PASS: Sign.PASS, NoData.FAIL: Sign.FAIL}


def _count(run: CheckRun, check: AnalysisCheck, measurement: Measurement) -> CheckRun:
    reading = read_measurement(check, measurement)
    said = replace(run, message=reading.message)
    if measurement.value is not None:
        said = replace(said, value=measurement.value, missing_in_a_row=0)
    if reading.sign is not Sign.ERROR:
        said = replace(said, errors_in_a_row=0)
    match reading.sign:
        case Sign.PASS:
            return replace(said, passed=run.passed + 1)
        case Sign.FAIL:
            return replace(said, failed=run.failed + 1, failure=reading.message)
        case Sign.INCONCLUSIVE:
            return replace(said, inconclusive=run.inconclusive + 1, doubt=reading.message)
        case Sign.MISSING:
            missing = run.missing_in_a_row + 1
            return replace(said, missing_in_a_row=missing, doubt=reading.message)
        case Sign.ERROR:
            in_a_row = run.errors_in_a_row + 1
            return replace(said, errors=run.errors + 1, errors_in_a_row=in_a_row)


def _times(count: int, noun: str) -> str:
    """
    >>> _times(1, "failure"), _times(2, "failure")
    ('1 failure', '2 failures')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
