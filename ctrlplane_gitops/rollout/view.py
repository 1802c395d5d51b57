"""What a strategy sees of one instance, and what it decides. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from ctrlplane_gitops.state.desired import RolloutParams
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import RolloutStatus
from ctrlplane_gitops.value import field, struct


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
class TrafficView:
    """What the router does for one instance, by its own account. ``weights`` are the shares as
    served, in percent by release, without those of 0. ``members`` are the names of the replicas
    that may be sent requests; one that is served at an address it does not have counts under
    another name. ``draining`` are those that were members, to which requests may still be in
    flight. ``is_live``: what was last written is what is served."""

    weights: Mapping[int, int] = field(default_factory=dict)
    members: frozenset[str] = frozenset()
    draining: frozenset[str] = frozenset()
    is_live: bool = True


@struct
class Wishes:
    """What a person asked of a rollout. ``promoted`` is the number of steps to be over at least
    (a manual pause counts as its step); ``is_full``: all of them."""

    is_paused: bool = False
    is_aborted: bool = False
    is_full: bool = False
    promoted: int = 0


@struct
class RolloutView:
    """One instance at one tick. ``target`` is the release to run, ``replicas`` how many of it.
    ``sets`` are all observed sets, the target's included when it exists, sorted by release.
    ``active`` is the recorded active release (the one to return to), None at the first.
    ``scale_error`` is why the target failed terminally (its scaling, its analysis), "" if it did
    not. ``traffic`` is None where no router sends requests to the instance. ``is_restoring``: the
    target has been live before, so it need not prove itself step by step."""

    instance: ResourceKey
    target: int
    replicas: int
    sets: tuple[ReplicaSetView, ...]
    params: RolloutParams
    status: RolloutStatus
    now: datetime
    active: int | None = None
    scale_error: str = ""
    traffic: TrafficView | None = None
    wishes: Wishes = Wishes()
    is_restoring: bool = False

    def set_of(self, release: int) -> ReplicaSetView | None:
        return next((item for item in self.sets if item.release == release), None)


@struct
class ScaleStep:
    """Make ``replicas`` live replicas of a release exist; 0 removes the set."""

    release: int
    replicas: int
    retire: tuple[str, ...] = ()


@struct
class RouteStep:
    """Have the router send requests like this: shares in percent by release, summing to 100 (all
    gone: none), and the replicas that get them."""

    weights: tuple[tuple[int, int], ...]
    members: tuple[str, ...]


@struct
class StepDecision:
    """One tick. ``is_done`` means the rollout ended and ``status`` says how. ``wait`` is how long
    nothing will change by itself: look again then at the latest. A decision without steps and
    route that is not done only waits; ``waits_for`` names the verb of a person it waits for
    (``promote``, ``resume``), "" for nobody."""

    steps: tuple[ScaleStep, ...]
    status: RolloutStatus
    wait: timedelta = timedelta()
    is_done: bool = False
    route: RouteStep | None = None
    waits_for: str = ""
