"""Analysis of canaries while an apply runs: which checks are due, what they said, what follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.execute.due import find_next_due, find_running
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.health.measure import RunCommand, measure, names_of
from ctrlplane_gitops.health.traffic import has_restarted, measure_traffic
from ctrlplane_gitops.rollout.analysis import (
    AnalysisRun,
    AnalysisVerdict,
    judge,
    next_run,
    read_measurement,
)
from ctrlplane_gitops.rollout.reading import Sign
from ctrlplane_gitops.state.analysis import Analysis, AnalysisCheck, Measurement, RouterMetric
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import TrafficCount
from ctrlplane_gitops.value import struct

# What takes longer is an error of the source; Argo Rollouts asks again after as long
# (DefaultErrorRetryInterval).
_PATIENCE = timedelta(seconds=10)
_RETRY = timedelta(seconds=10)

CountRelease = Callable[[], TrafficCount]


@struct
class _Answer:
    """A measurement, or what a router has counted so far."""

    measurement: Measurement | None = None
    count: TrafficCount | None = None


@dataclass(slots=True)
class _Check:
    """``baseline`` is what a router had counted when the present measurement began."""

    check: AnalysisCheck
    due: datetime
    baseline: TrafficCount | None = None
    running: Future[_Answer] | None = None


@dataclass(slots=True)
class _Subject:
    release: int
    previous: int | None
    analysis: Analysis
    count_release: CountRelease
    run_command: RunCommand
    checks: tuple[_Check, ...]
    run: AnalysisRun = field(default_factory=AnalysisRun)


class Analysing:
    """Runs the analyses of the canaries it was told to follow, side by side in a pool, so that
    sources that hang hold up nobody. What was measured is not written down: after a restart it is
    measured anew, and the canary waits for it."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._subjects: dict[ResourceKey, _Subject] = {}

    def follow(
        self,
        key: ResourceKey,
        release: int,
        previous: int | None,
        analysis: Analysis,
        count_release: CountRelease,
        run_command: RunCommand,
    ) -> None:
        """Measure this release of an instance, from when it gets requests. Told again it keeps
        what was measured, with the newer callables; another release, or another analysis, begins
        anew.

        ``count_release`` asks the router what it has counted of the release so far, and
        ``run_command`` runs a command in one of its replicas; both are called in the pool, and may
        raise ``CtrlplaneError`` or ``TimeoutError``."""
        known = self._subjects.get(key)
        if known is not None and (known.release, known.analysis) == (release, analysis):
            known.previous, known.count_release = previous, count_release
            known.run_command = run_command
            return
        now = self._clock.now()
        checks = tuple(
            # A router is asked at once, for what the first measurement is compared with.
            _Check(item, now if isinstance(item.metric, RouterMetric) else now + item.interval)
            for item in analysis.checks
        )
        self._subjects[key] = _Subject(
            release, previous, analysis, count_release, run_command, checks
        )

    def verdict_of(self, key: ResourceKey, release: int) -> AnalysisVerdict | None:
        """What the measurements say so far; None when this release is not followed."""
        subject = self._subjects.get(key)
        if subject is None or subject.release != release:
            return None
        return judge(subject.analysis, subject.run)

    def forget(self, key: ResourceKey) -> None:
        """The rollout has ended, or turned back."""
        self._subjects.pop(key, None)

    def start_due(self) -> None:
        """Submit the measurements that are due."""
        now = self._clock.now()
        for key, subject in self._subjects.items():
            for item in subject.checks:
                if item.running is None and item.due <= now:
                    item.running = self._pool.submit(_call(key, subject, item))

    def collect(self) -> bool:
        """Take in what was measured; True when a verdict turned."""
        now = self._clock.now()
        has_turned = False
        for subject in self._subjects.values():
            before = judge(subject.analysis, subject.run)
            for item in subject.checks:
                if item.running is not None and item.running.done():
                    answer, item.running = item.running.result(), None
                    _take(subject, item, answer, now)
            has_turned |= judge(subject.analysis, subject.run) != before
        return has_turned

    @property
    def running(self) -> list[Future[_Answer]]:
        return find_running(self._checks())

    def next_due(self) -> datetime | None:
        return find_next_due(self._checks())

    def _checks(self) -> Iterator[_Check]:
        return (item for subject in self._subjects.values() for item in subject.checks)


def _call(key: ResourceKey, subject: _Subject, item: _Check) -> Callable[[], _Answer]:
    """One look, in the pool. Never raises: an adapter that does has a bug, and a source that
    fails. What it needs is taken now, for ``follow`` may bring newer callables meanwhile."""
    metric = item.check.metric
    count_release, run_command = subject.count_release, subject.run_command
    names = names_of(key.tenant, key.name, subject.release, subject.previous)

    def look() -> _Answer:
        if isinstance(metric, RouterMetric):
            return _Answer(count=count_release())
        return _Answer(measure(metric, names, run_command, _PATIENCE))

    def call() -> _Answer:
        try:
            return look()
        except CtrlplaneError as failure:
            return _failed(failure.message)
        except TimeoutError:
            return _failed("no answer in time")
        except Exception as bug:
            return _failed(f"unexpected {type(bug).__name__}: {bug}")

    return call


def _failed(error: str) -> _Answer:
    return _Answer(Measurement(error=error))


def _take(subject: _Subject, item: _Check, answer: _Answer, now: datetime) -> None:
    """Count one answer. A router's first one is only what later ones are compared with."""
    measurement = answer.measurement
    if answer.count is not None:
        measurement = _compare(item, answer.count)
    item.due = now + item.check.interval
    if measurement is None:
        return
    if read_measurement(item.check, measurement).sign is Sign.ERROR:
        item.due = now + min(item.check.interval, _RETRY)
    subject.run = next_run(subject.run, item.check, measurement)


def _compare(item: _Check, count: TrafficCount) -> Measurement | None:
    """Few requests are no data, but not lost: they count for the next look."""
    metric, before = item.check.metric, item.baseline
    assert isinstance(metric, RouterMetric), "only a router counts"
    if before is None:
        item.baseline = count
        return None
    measurement = measure_traffic(metric, before, count)
    if measurement.value is not None or has_restarted(before, count):
        item.baseline = count
    return measurement
