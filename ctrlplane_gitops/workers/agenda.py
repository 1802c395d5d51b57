"""When a pass is made although nothing is new. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.value import replace, struct
from ctrlplane_gitops.workers.backoff import backoff
from ctrlplane_gitops.workers.worker import jittered

# Whoever has the lease may be done at any moment, and is not helped by being left alone.
_LOCKED = timedelta(seconds=5)
_PATIENCE = timedelta(seconds=30)
_MAX_DOUBLINGS = 4


@struct
class Agenda:
    """``interval``: how often everything is held against what runs, which is due at ``whole_at``.
    ``retry_at``: when what failed is tried again, None where nothing did. ``failures`` and
    ``superseded`` count passes in a row."""

    interval: timedelta
    whole_at: datetime
    retry_at: datetime | None = None
    failures: int = 0
    superseded: int = 0

    def next_at(self) -> datetime:
        """The next pass, if nothing new comes before."""
        return self.whole_at if self.retry_at is None else min(self.whole_at, self.retry_at)

    def is_retry_due(self, now: datetime) -> bool:
        return self.retry_at is not None and now >= self.retry_at

    def patience(self) -> timedelta:
        """How long a pass may go on when something new has come. Twice as long each time: a
        rollout must get somewhere, however fast the commits come."""
        return _PATIENCE * (1 << min(self.superseded, _MAX_DOUBLINGS))


def after_pass(agenda: Agenda, report: PassReport, now: datetime, chance: float) -> Agenda:
    """A pass was made. One about everything is not due again before ``interval``, whatever came of
    it; a retry is only ever sooner than that."""
    if report.is_whole:
        agenda = replace(agenda, whole_at=now + jittered(agenda.interval, chance))
    if report.outcome is PassOutcome.SUPERSEDED:
        return replace(agenda, retry_at=now, superseded=agenda.superseded + 1)
    agenda = replace(agenda, superseded=0)
    if not report.must_retry:
        return replace(agenda, retry_at=None, failures=0)
    if report.outcome is PassOutcome.LOCKED:
        return replace(agenda, retry_at=now + _LOCKED)
    failures = agenda.failures + 1
    return replace(agenda, retry_at=now + backoff(failures, chance), failures=failures)
