"""What a strategy sees of one instance, and what it decides. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from ctrlplane_gitops.state.desired import RolloutParams
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import Order, RolloutPhase, RolloutStatus
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
    flight. ``is_live``: what was last written is what is served. ``has_preview``: some requests ask
    for the release that is being rolled out; ``preview`` are the names of those who get them,
    nobody where they are shared like all others."""

    weights: Mapping[int, int] = field(default_factory=dict)
    members: frozenset[str] = frozenset()
    draining: frozenset[str] = frozenset()
    is_live: bool = True
    has_preview: bool = False
    preview: frozenset[str] = frozenset()

    def describe_share(self, release: int) -> str:
        """
        >>> TrafficView({1: 90, 2: 10}).describe_share(2)
        ' with 10% of the traffic'
        """
        return f" with {self.weights.get(release, 0)}% of the traffic"


@struct
class Wishes:
    """What a person asked of a rollout. ``promoted`` is the number of steps to be over at least
    (a manual pause counts as its step); ``is_full``: all of them."""

    is_paused: bool = False
    is_aborted: bool = False
    is_full: bool = False
    promoted: int = 0


def wishes_of(order: Order | None, target: int) -> Wishes:
    """What an order asks of the rollout to ``target``."""
    if order is None or order.target != target:
        return Wishes()
    return Wishes(order.is_paused, order.is_aborted, order.is_full, order.promoted)


def find_wait(status: RolloutStatus, order: Order | None) -> str:
    """What a recorded rollout still waits for, ``waits for promote``; "" when it goes on, as when
    that has been ordered meanwhile."""
    if status.phase is not RolloutPhase.PROGRESSING:
        return ""
    wishes = wishes_of(order, status.target or 0)
    if wishes.is_paused:
        return "waits for resume"
    is_promoted = wishes.is_full or wishes.promoted > status.step
    return "" if is_promoted or wishes.is_aborted or "resume" in status.message else status.message


@struct
class AnalysisView:
    """What the measurements say of a canary so far: why it has failed, "" while it has not;
    whether they leave it open, for a person to decide; whether some check has no value yet."""

    failure: str = ""
    is_inconclusive: bool = False
    is_pending: bool = False


@struct
class RolloutView:
    """One instance at one tick. ``target`` is the release to run, ``replicas`` how many of it.
    ``sets`` are all observed sets, the target's included when it exists, sorted by release.
    ``active`` is the recorded active release (the one to return to), None at the first.
    ``scale_error`` is why the target failed terminally (its scaling, its analysis), "" if it did
    not. ``traffic`` is None where no router sends requests to the instance. ``is_restoring``: the
    target has been live before, so it need not prove itself step by step. ``analysis`` is None
    where nothing is measured; where the params ask for it, None is the same as pending."""

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
    analysis: AnalysisView | None = None

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
    gone: none), and the replicas that get them. ``preview`` are those that get the requests that
    ask for the new release; nobody: they are shared like all others."""

    weights: tuple[tuple[int, int], ...]
    members: tuple[str, ...]
    preview: tuple[str, ...] = ()


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
