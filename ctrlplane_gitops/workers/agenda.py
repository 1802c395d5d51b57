"""When a pass is made although nothing is new. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.value import replace, struct
from ctrlplane_gitops.workers.backoff import backoff
from ctrlplane_gitops.workers.worker import jittered

# Whoever has the lease may be done at any moment, and is not helped by being left alone.
_LOCKED = timedelta(seconds=5)


@struct
class Agenda:
    """``interval``: how often everything is held against what runs, which is due at ``whole_at``.
    ``retry_at``: when what failed as a whole is tried again, None where nothing did. ``failures``
    counts passes in a row."""

    interval: timedelta
    whole_at: datetime
    retry_at: datetime | None = None
    failures: int = 0

    def next_at(self) -> datetime:
        """The next pass, if nothing new comes before."""
        return self.whole_at if self.retry_at is None else min(self.whole_at, self.retry_at)

    def is_retry_due(self, now: datetime) -> bool:
        return self.retry_at is not None and now >= self.retry_at


def after_look(
    agenda: Agenda, must_retry: bool, is_whole: bool, now: datetime, chance: float
) -> Agenda:
    """A pass has begun. One about everything is not due again before ``interval``, whatever comes
    of it. ``must_retry``: it did not see everything it should have."""
    if is_whole:
        agenda = replace(agenda, whole_at=now + jittered(agenda.interval, chance))
    return _retry(agenda, now, chance) if must_retry else replace(agenda, retry_at=None)


def after_refusal(agenda: Agenda, report: PassReport, now: datetime, chance: float) -> Agenda:
    """A pass could not begin."""
    if report.is_whole:
        agenda = replace(agenda, whole_at=now + jittered(agenda.interval, chance))
    if report.outcome is PassOutcome.LOCKED:
        return replace(agenda, retry_at=now + _LOCKED)
    return _retry(agenda, now, chance) if report.must_retry else replace(agenda, retry_at=None)


def after_end(agenda: Agenda, report: PassReport, now: datetime, chance: float) -> Agenda:
    """A pass has ended. Whatever it left, besides single instances that failed, is found by one
    about everything, which is then made sooner."""
    if report.outcome is PassOutcome.LOCKED:
        return _hasten(agenda, now + _LOCKED)
    if report.is_overtaken:
        return _hasten(agenda, now)
    if report.must_retry:
        if agenda.retry_at is None:
            agenda = _retry(agenda, now, chance)
        return _hasten(agenda, agenda.next_at())
    return replace(agenda, failures=0) if agenda.retry_at is None else agenda


def _hasten(agenda: Agenda, at: datetime) -> Agenda:
    return replace(agenda, whole_at=min(agenda.whole_at, at))


def _retry(agenda: Agenda, now: datetime, chance: float) -> Agenda:
    failures = agenda.failures + 1
    return replace(agenda, retry_at=now + backoff(failures, chance), failures=failures)
