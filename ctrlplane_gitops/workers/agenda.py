"""When a source is looked at and when a pass is made. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.value import replace, struct
from ctrlplane_gitops.workers.backoff import backoff

# Whoever has the lease may be done at any moment, and is not helped by being left alone.
_LOCKED = timedelta(seconds=5)


@struct
class Agenda:
    """``poll`` and ``interval``: how often the source is looked at, and everything is held against
    what runs. ``retry_at``: when what failed is tried again, None where nothing did. The counts are
    of failures in a row."""

    poll: timedelta
    interval: timedelta
    poll_at: datetime
    whole_at: datetime
    retry_at: datetime | None = None
    source_failures: int = 0
    pass_failures: int = 0

    def next_at(self) -> datetime:
        """The next thing to do."""
        times = [self.poll_at, self.whole_at, self.retry_at]
        return min(at for at in times if at is not None)


def after_look(agenda: Agenda, is_had: bool, now: datetime, chance: float) -> Agenda:
    """The source was looked at. One that cannot be had is asked less and less often."""
    if is_had:
        return replace(agenda, poll_at=now + agenda.poll, source_failures=0)
    failures = agenda.source_failures + 1
    return replace(agenda, poll_at=now + backoff(failures, chance), source_failures=failures)


def after_pass(agenda: Agenda, report: PassReport, now: datetime, chance: float) -> Agenda:
    """A pass was made. One about everything is not due again before ``interval``, whatever came of
    it; a retry is only ever sooner than that."""
    if report.is_whole:
        agenda = replace(agenda, whole_at=now + agenda.interval)
    if not report.must_retry:
        return replace(agenda, retry_at=None, pass_failures=0)
    if report.outcome is PassOutcome.LOCKED:
        return replace(agenda, retry_at=now + _LOCKED)
    failures = agenda.pass_failures + 1
    return replace(agenda, retry_at=now + backoff(failures, chance), pass_failures=failures)
