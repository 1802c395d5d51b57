"""What the providers show. Unknown is never absent: a target that did not answer is a gap."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from operator import is_

from ctrlplane_gitops.state.desired import Allowance, Resources
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import RouterState
from ctrlplane_gitops.value import field, replace, struct


class ReplicaPhase(StrEnum):
    """``running`` means alive, not healthy: health is ours to probe. ``stopped`` covers exited,
    dead, zombie and created-but-never-started."""

    STARTING = "starting"
    RUNNING = "running"
    CRASHING = "crashing"
    STOPPED = "stopped"


@struct
class Endpoint:
    """Where a replica's named port answers, seen from this machine."""

    port: str
    host: str
    number: int


@struct
class Verdict:
    """What probes say of one replica (by provider id)."""

    is_ready: bool
    since: datetime
    failures: int = 0
    message: str = ""
    checks: Mapping[str, str] = field(default_factory=dict)


@struct
class ObservedReplica:
    """One container, process or pod. ``name`` is deterministic
    (``<plane>.<tenant>.<instance>.v3.0``), ``id`` is the provider's own and changes when the
    replica is replaced. ``verdict`` is what a provider says that makes the health checks itself;
    None: it makes none, and they are ours to make."""

    name: str
    id: str
    index: int
    phase: ReplicaPhase
    endpoints: tuple[Endpoint, ...] = ()
    started_at: datetime | None = None
    resources: Resources | None = None
    exit_code: int | None = None
    reason: str = ""
    verdict: Verdict | None = None


class AlteredPart(StrEnum):
    """What was changed: the release itself, how many replicas there are (which is as it should be
    where an autoscaler decides that), or what an autoscaler acts on (which matters only there)."""

    RELEASE = "release"
    COUNT = "count"
    AUTOSCALER = "autoscaler"


@struct
class Alteration:
    """Something of a replica set that somebody else has changed: ``field`` in the provider's own
    words, ``by`` who that was ("" where nobody can say)."""

    field: str
    by: str = ""
    part: AlteredPart = AlteredPart.RELEASE

    def __str__(self) -> str:
        return f"{self.field} (by {self.by})" if self.by else self.field


@struct
class HeldQuota:
    """What a provider holds the tenant of a replica set to, by itself. ``is_asked``: it is to hold
    it to its quota; else to nothing. ``by``: who has made something else of it."""

    allowance: Allowance
    is_asked: bool
    by: str = ""


@struct
class ObservedReplicaSet:
    """All replicas of one release of one instance, sorted by index. ``is_adopted``: one of them
    ran before it was ours. ``altered`` is what a ``ScaleReplicaSet`` to as many replicas as there
    are would put right. ``scaled_by`` is who else decides how many there are (an autoscaler): their
    number is no drift then. ``scale`` is how many the provider has been told to keep, None where it
    knows no such number. ``quota`` None: the provider holds nobody to anything there.
    ``is_autoscaled`` is whether the provider keeps it as left to an autoscaler, None where it keeps
    nothing of the kind."""

    instance: ResourceKey
    provider: str
    release: int
    revision: str
    replicas: tuple[ObservedReplica, ...]
    is_adopted: bool = False
    altered: tuple[Alteration, ...] = ()
    scaled_by: str = ""
    scale: int | None = None
    quota: HeldQuota | None = None
    is_autoscaled: bool | None = None

    @property
    def live(self) -> tuple[ObservedReplica, ...]:
        return tuple(item for item in self.replicas if item.phase is not ReplicaPhase.STOPPED)


@struct
class Gap:
    """A provider, or some of its instances, that did not answer. ``instances`` None: all of it."""

    provider: str
    reason: str
    instances: frozenset[ResourceKey] | None = None


@struct
class Leftover:
    """What a provider keeps apart from replicas and volumes, by its labels or its place ours:
    ``owner`` is the instance or tenant it is kept for, ``release`` the one release (None: all of
    them), ``what`` it in words."""

    provider: str
    owner: ResourceKey
    what: str
    release: int | None = None


@struct
class ObservedState:
    """What is there. ``warnings`` are honest notes (a limit that could not be enforced).
    ``router`` None: there is none, or nobody asked it."""

    replica_sets: tuple[ObservedReplicaSet, ...] = ()
    gaps: tuple[Gap, ...] = ()
    warnings: tuple[str, ...] = ()
    router: RouterState | None = None

    def by_instance(self) -> Mapping[ResourceKey, tuple[ObservedReplicaSet, ...]]:
        """Replica sets by instance, each tuple sorted by release number."""
        found: dict[ResourceKey, list[ObservedReplicaSet]] = {}
        for replica_set in self.replica_sets:
            found.setdefault(replica_set.instance, []).append(replica_set)
        return {
            key: tuple(sorted(sets, key=lambda item: item.release)) for key, sets in found.items()
        }

    def gap_for(self, instance: ResourceKey, provider: str) -> Gap | None:
        for gap in self.gaps:
            if gap.provider == provider and (gap.instances is None or instance in gap.instances):
                return gap
        return None


EMPTY = ObservedState()


def share_equal(before: ObservedState, after: ObservedState) -> ObservedState:
    """``after``, with the replica sets of ``before`` where they are equal: those who keep something
    of one look and of the next do not keep it twice."""
    if len(before.replica_sets) == len(after.replica_sets) and all(
        map(is_, before.replica_sets, after.replica_sets)
    ):
        return replace(after, replica_sets=before.replica_sets)
    known = {(item.provider, item.instance, item.release): item for item in before.replica_sets}

    def find(item: ObservedReplicaSet) -> ObservedReplicaSet:
        earlier = known.get((item.provider, item.instance, item.release))
        return earlier if earlier is not None and earlier == item else item

    sets = tuple([find(item) for item in after.replica_sets])
    return replace(after, replica_sets=sets)
