"""How a delivery ends, by what came of its pass. Pure."""

from __future__ import annotations

from datetime import timedelta

from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.state.delivery import DeliveryOutcome, DeliveryRecord

# How long an announced commit is looked for (a mirror lags), and how long a remote that does not
# answer is waited for.
LAG = timedelta(minutes=2)
PATIENCE = timedelta(minutes=10)
_SOONEST, _LATEST = timedelta(seconds=0.5), timedelta(seconds=15)

# A pass that ended like this is not the last one of its commit.
_UNDECIDED = frozenset({PassOutcome.LOCKED, PassOutcome.CANCELLED, PassOutcome.SUPERSEDED})
_GOOD = {
    PassOutcome.APPLIED: DeliveryOutcome.APPLIED,
    PassOutcome.WAITING: DeliveryOutcome.APPLIED,
    PassOutcome.UNCHANGED: DeliveryOutcome.UNCHANGED,
}

Ending = tuple[DeliveryOutcome, str]


def ending_of(record: DeliveryRecord, commit: str, report: PassReport | None) -> Ending | None:
    """Outcome and message of a delivery whose commit is ``commit`` or in its history, after the
    last pass of that; None while there has to be another one. ``report`` is None where no pass was
    needed."""
    if report is not None and report.outcome in _UNDECIDED:
        return None
    if record.announced and commit and record.announced != commit:
        return DeliveryOutcome.SUPERSEDED, f"{commit[:12]} came after it"
    if report is None:
        return DeliveryOutcome.UNCHANGED, "it concerns nothing that runs here"
    if report.at + report.duration < record.at and report.outcome in _GOOD:
        return DeliveryOutcome.UNCHANGED, "what it says was applied before"
    outcome = _GOOD.get(report.outcome, DeliveryOutcome.FAILED)
    is_plain = outcome is not DeliveryOutcome.FAILED and outcome.value == report.outcome.value
    return outcome, "" if is_plain else ": ".join([f"pass {report.outcome}", *report.notes[:1]])


def lag_wait(age: timedelta) -> timedelta:
    """How soon to look again for a commit that was announced ``age`` ago: as long again as it has
    been looked for.

    >>> [lag_wait(timedelta(seconds=age)).total_seconds() for age in (0, 1, 4, 60)]
    [0.5, 1.0, 4.0, 15.0]
    """
    return min(max(age, _SOONEST), _LATEST)


def sign_of(snapshot: Snapshot) -> str:
    """What tells a snapshot from those of other commits, or of other contents of a directory."""
    return snapshot.commit if snapshot.ref else str(hash(frozenset(snapshot.entries.items())))
