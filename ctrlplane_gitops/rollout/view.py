"""What a strategy sees of one instance, and what it decides. Values only."""

from __future__ import annotations

from datetime import datetime, timedelta

from ctrlplane_gitops.state.desired import RolloutParams
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import RolloutStatus
from ctrlplane_gitops.value import struct


@struct
class ReplicaView:
    """``ready_since`` is set while every check passes; one that is not alive must be replaced."""

    name: str
    index: int
    is_alive: bool
    ready_since: datetime | None = None
    started_at: datetime | None = None
    reason: str = ""

    @property
    def is_ready(self) -> bool:
        return self.is_alive and self.ready_since is not None

    def is_available(self, min_ready: timedelta, now: datetime) -> bool:
        """Ready for at least ``min_ready``."""
        return (
            self.is_alive and self.ready_since is not None and now - self.ready_since >= min_ready
        )


@struct
class ReplicaSetView:
    release: int
    revision: str
    replicas: tuple[ReplicaView, ...]


@struct
class RolloutView:
    """One instance at one tick. ``target`` is the release to run, ``replicas`` how many of it.
    ``sets`` are all observed sets, the target's included when it exists, sorted by release.
    ``active`` is the recorded active release (the one to return to), None at the first.
    ``scale_error`` is why the last scaling of the target failed terminally, "" if it did not."""

    instance: ResourceKey
    target: int
    replicas: int
    sets: tuple[ReplicaSetView, ...]
    params: RolloutParams
    status: RolloutStatus
    now: datetime
    active: int | None = None
    scale_error: str = ""

    def set_of(self, release: int) -> ReplicaSetView | None:
        return next((item for item in self.sets if item.release == release), None)


@struct
class ScaleStep:
    """Make ``replicas`` live replicas of a release exist; 0 removes the set."""

    release: int
    replicas: int
    retire: tuple[str, ...] = ()


@struct
class StepDecision:
    """One tick. ``is_done`` means the rollout ended and ``status`` says how. ``wait`` is how long
    nothing will change by itself: look again then at the latest. A decision without steps that is
    not done only waits."""

    steps: tuple[ScaleStep, ...]
    status: RolloutStatus
    wait: timedelta = timedelta()
    is_done: bool = False
