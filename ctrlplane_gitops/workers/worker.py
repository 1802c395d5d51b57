"""A worker: something done again and again, and what is known of its runs. No thread, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from ctrlplane_gitops.status.row import WorkerRow
from ctrlplane_gitops.value import field, replace, struct

# How much of an interval is left to chance: many control planes must not ask one remote at the
# same instant. Only ever sooner, so that an interval is a promise.
_JITTER = 0.1


@struct
class Ran:
    """What came of a run. ``after`` is how long until the next one, to the point (None: the
    worker's interval, less jitter); ``error`` is "" where there was none. ``counts`` are what it
    did, by name."""

    after: timedelta | None = None
    error: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


@struct
class Worker:
    """``run`` does it once; what it raises counts as its error. ``limit``: a run that takes longer
    is reported (it is not ended: a thread cannot be). ``spacing``: runs that are asked for begin no
    closer together than this."""

    name: str
    interval: timedelta
    run: Callable[[], Ran]
    limit: timedelta
    spacing: timedelta = timedelta()


@struct
class WorkerState:
    """``next_at``: when it is due. ``started_at``: of the run under way, None when there is none.
    ``is_asked``: it is to run as soon as it can. ``is_overdue``: the run under way was reported.
    ``last_error`` is of the last run, "" when that went well, and so are ``last_counts``."""

    next_at: datetime
    started_at: datetime | None = None
    is_asked: bool = False
    is_overdue: bool = False
    runs: int = 0
    errors: int = 0
    last_run_at: datetime | None = None
    last_duration: timedelta | None = None
    last_error: str = ""
    last_counts: Mapping[str, int] = field(default_factory=dict)


def due_at(worker: Worker, state: WorkerState) -> datetime | None:
    """When its next run begins; None while it runs: it does not overlap itself."""
    if state.started_at is not None:
        return None
    if not state.is_asked or state.last_run_at is None:
        return state.next_at
    return min(state.next_at, state.last_run_at + worker.spacing)


def begin_run(state: WorkerState, now: datetime) -> WorkerState:
    """Asked for from now on means once more after this run."""
    return replace(state, started_at=now, is_asked=False, is_overdue=False)


def end_run(
    worker: Worker, state: WorkerState, ran: Ran, now: datetime, chance: float
) -> WorkerState:
    """``chance`` is from 0 to 1: how much of the jitter is used."""
    began = state.started_at or now
    wait = jittered(worker.interval, chance) if ran.after is None else ran.after
    return replace(
        state,
        next_at=now + wait,
        started_at=None,
        is_overdue=False,
        runs=state.runs + 1,
        errors=state.errors + bool(ran.error),
        last_run_at=began,
        last_duration=now - began,
        last_error=ran.error,
        last_counts=ran.counts,
    )


def jittered(interval: timedelta, chance: float) -> timedelta:
    """An interval with its share of chance, from 0 to 1, taken away.

    >>> jittered(timedelta(seconds=60), 1).seconds
    54
    """
    return interval * (1 - _JITTER * chance)


def overdue_at(worker: Worker, state: WorkerState) -> datetime | None:
    """When the run under way is to be reported; None where there is nothing to report."""
    if state.started_at is None or state.is_overdue:
        return None
    return state.started_at + worker.limit


def worker_row(worker: Worker, state: WorkerState) -> WorkerRow:
    """What is shown of it."""
    duration = state.last_duration
    return WorkerRow(
        name=worker.name,
        interval_s=worker.interval.total_seconds(),
        limit_s=worker.limit.total_seconds(),
        is_running=state.started_at is not None,
        is_overdue=state.is_overdue,
        started_at=state.started_at,
        next_at=state.next_at if state.started_at is None else None,
        runs=state.runs,
        errors=state.errors,
        last_run_at=state.last_run_at,
        last_duration_s=None if duration is None else duration.total_seconds(),
        last_error=state.last_error or None,
        last_counts=dict(sorted(state.last_counts.items())),
    )
