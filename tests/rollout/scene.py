"""Views written by hand: one line per replica set."""

from __future__ import annotations

from datetime import datetime, timedelta

from ctrlplane_gitops.rollout.simulator import EPOCH, INSTANCE, LONG_AGO
from ctrlplane_gitops.rollout.view import ReplicaSetView, ReplicaView, RolloutView
from ctrlplane_gitops.state.desired import RolloutParams
from ctrlplane_gitops.state.recorded import RolloutPhase, RolloutStatus

NOW = EPOCH


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def replica(release: int, index: int, sign: str, started_at: datetime = LONG_AGO) -> ReplicaView:
    """``+`` available for long, ``r`` ready since two seconds, ``-`` not ready, ``x`` dead."""
    since = {"+": LONG_AGO, "r": ago(2)}.get(sign)
    reason = {"-": "connection refused", "x": "exited 1"}.get(sign, "")
    return ReplicaView(f"v{release}.{index}", index, sign != "x", since, started_at, reason)


def a_set(release: int, signs: str, started_at: datetime = LONG_AGO) -> ReplicaSetView:
    replicas = (replica(release, index, sign, started_at) for index, sign in enumerate(signs))
    return ReplicaSetView(release, f"rev{release}", tuple(replicas))


def progressing(started_s: float = 0, progress_s: float = 0, best: int = 0) -> RolloutStatus:
    """A rollout to release 2 that began and made progress so many seconds ago."""
    return RolloutStatus(
        RolloutPhase.PROGRESSING, 2, 1, ago(started_s), ago(progress_s), best_available=best
    )


def rolling_back(progress_s: float = 0) -> RolloutStatus:
    return RolloutStatus(
        RolloutPhase.ROLLING_BACK,
        2,
        1,
        ago(3600),
        ago(progress_s),
        message="rolling back v2 -> v1: exited 1",
    )


def a_view(
    *sets: ReplicaSetView,
    status: RolloutStatus | None = None,
    replicas: int = 3,
    active: int | None = 1,
    params: RolloutParams | None = None,
    scale_error: str = "",
) -> RolloutView:
    """Release 2 is to run."""
    return RolloutView(
        INSTANCE,
        2,
        replicas,
        tuple(item for item in sets if item.replicas),
        params or RolloutParams(),
        status or progressing(),
        NOW,
        active,
        scale_error,
    )
