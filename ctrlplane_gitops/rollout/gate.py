"""Deadlines: when a rollout has made progress, when it has failed, when to look again.

Deadlines are wall clock. Only a new maximum of available replicas is progress, so a replica that
flickers cannot keep a rollout going for ever.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from ctrlplane_gitops.rollout.census import all_replicas, available_in, other_sets, replicas_of
from ctrlplane_gitops.rollout.view import ReplicaView, RolloutView
from ctrlplane_gitops.state.recorded import RolloutPhase, RolloutStatus
from ctrlplane_gitops.units import format_duration
from ctrlplane_gitops.value import replace

POLL = timedelta(seconds=1)


def mark_progress(view: RolloutView, release: int, status: RolloutStatus) -> RolloutStatus:
    """The status with a new best where more replicas are available than ever before. Times that
    are missing start now, so that every deadline can hit."""
    available = min(view.replicas, len(available_in(view, replicas_of(view, release))))
    if available > status.best_available:
        status = replace(status, best_available=available, progress_at=view.now)
    return replace(
        status,
        started_at=status.started_at or view.now,
        progress_at=status.progress_at or view.now,
    )


def find_failure(
    view: RolloutView, release: int, status: RolloutStatus, *, is_lasting: bool = False
) -> str:
    """Why the rollout to ``release`` has failed, "" while it has not. ``status`` is up to date.
    ``is_lasting``: it is in a step that is meant to take its time, so nothing is meant to move."""
    for replica in sorted(replicas_of(view, release), key=lambda item: item.index):
        since = _unhealthy_since(view, release, status, replica)
        if since is not None and _left(view, view.params.healthy_deadline, since) <= timedelta():
            limit = format_duration(view.params.healthy_deadline)
            cause = f": {replica.reason}" if replica.reason else ""
            return f"v{release}.{replica.index} was not healthy within {limit}{cause}"
    since = status.progress_at or view.now
    if is_lasting or _left(view, view.params.progress_deadline, since) > timedelta():
        return ""
    return "" if _is_about_to_progress(view, release, status) else _no_progress(view, release)


def next_look(view: RolloutView, release: int, status: RolloutStatus) -> timedelta:
    """How long nothing can change by itself, at most ``POLL`` because replicas die unannounced."""
    params, since = view.params, status.progress_at or view.now
    moments = [POLL, _left(view, params.progress_deadline, since)]
    for replica in all_replicas(view.sets):
        if replica.is_alive and replica.ready_since is not None:
            moments.append(_left(view, params.min_ready, replica.ready_since))
    for replica in replicas_of(view, release):
        unhealthy = _unhealthy_since(view, release, status, replica)
        if unhealthy is not None:
            moments.append(_left(view, params.healthy_deadline, unhealthy))
    return min(moment for moment in moments if moment > timedelta())


def _unhealthy_since(
    view: RolloutView, release: int, status: RolloutStatus, replica: ReplicaView
) -> datetime | None:
    """From when the healthy deadline of a replica counts, None for a ready one.

    A new replica has it from its own start. A dead one has it from the last progress: what is
    started again and again has no start of its own that counts. So has every one while fewer are
    available than once were, because then one that was healthy has stopped being so, and during
    a rollback, where the replicas may have been there for long."""
    if replica.is_ready:
        return None
    began, progress = status.started_at or view.now, status.progress_at or view.now
    if not replica.is_alive:
        return progress
    available = len(available_in(view, replicas_of(view, release)))
    is_back = status.phase is RolloutPhase.ROLLING_BACK
    floor = progress if is_back or available < status.best_available else began
    return max(replica.started_at or floor, floor)


def _is_about_to_progress(view: RolloutView, release: int, status: RolloutStatus) -> bool:
    """Enough replicas are ready for a new best and only have to stay so for ``min_ready``: after
    a long absence of the controller every replica is ready anew."""
    ready = sum(item.is_ready for item in replicas_of(view, release))
    return min(ready, view.replicas) > status.best_available


def _no_progress(view: RolloutView, release: int) -> str:
    limit = format_duration(view.params.progress_deadline)
    replicas = replicas_of(view, release)
    if len(available_in(view, replicas)) >= view.replicas:
        left = ", ".join(f"v{item.release}" for item in other_sets(view, release))
        return f"{left or f'v{release}'} was not removed within {limit}"
    causes = (item.reason for item in replicas if not item.is_ready and item.reason)
    cause = next(causes, "")
    text = f"no further replica of v{release} became available within {limit}"
    return f"{text}: {cause}" if cause else text


def _left(view: RolloutView, limit: timedelta, since: datetime) -> timedelta:
    """What is left of ``limit``; a clock that was set back does not lengthen it."""
    return limit - max(view.now - since, timedelta())
