"""Live replicas against what should run, where nobody changed Git."""

from __future__ import annotations

from collections.abc import Sequence

from ctrlplane_gitops.plan.change import FieldChange
from ctrlplane_gitops.plan.fields import diff_limits
from ctrlplane_gitops.state.desired import Allowance, DesiredInstance
from ctrlplane_gitops.state.observed import (
    Alteration,
    AlteredPart,
    ObservedReplicaSet,
    ReplicaPhase,
)
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.value import struct


@struct
class Live:
    """What runs of one instance, held against a release. ``limits`` are the differing limits,
    ``texts`` say in words what is off (empty: exactly as wanted)."""

    count: int
    is_exact: bool
    limits: tuple[FieldChange, ...]
    texts: tuple[str, ...]
    has_unknown_limits: bool

    def fields(self, replicas: int) -> tuple[FieldChange, ...]:
        found = self.limits
        if self.count != replicas:
            found = (FieldChange(("replicas",), replicas, self.count), *found)
        return found


def compare_live(
    instance: DesiredInstance, release: Release | None, sets: tuple[ObservedReplicaSet, ...]
) -> Live:
    """Exact means: only the release's own set, as many replicas as wanted, none of them dead."""
    number = release.number if release else None
    provider = release.template.provider if release else instance.provider
    own = [item for item in sets if item.release == number and item.provider == provider]
    others = [item for item in sets if item not in own]
    replicas = [replica for item in own for replica in item.replicas]
    live = [item for item in replicas if item.phase is not ReplicaPhase.STOPPED]
    dead = [item for item in replicas if item.phase is ReplicaPhase.STOPPED]
    limits: tuple[FieldChange, ...] = ()
    for replica in live:
        if replica.resources is not None and not limits:
            limits = diff_limits(instance.resources, replica.resources)
    texts = []
    wanted = wanted_replicas(instance, own)
    # Those an autoscaler has asked for come and go by themselves.
    is_counted = len(live) == wanted or _is_left(instance, own)
    if not is_counted:
        texts.append(f"replicas {instance.replicas} -> {len(live)}")
    for item in dead:
        code = "stopped" if item.exit_code is None else f"exited {item.exit_code}"
        texts.append(f"replica {item.name} {code}{f' ({item.reason})' if item.reason else ''}")
    for change in limits:
        after = change.after if isinstance(change.after, str) else "none"
        texts.append(f"{change.path[-1]} {change.before} -> {after}")
    altered = [item for one in own for item in find_altered(instance, one)]
    texts.extend(f"changed by hand: {item}" for item in altered)
    kept = [
        text
        for one in own
        for text in (find_quota(instance, one), find_owner(instance, one))
        if text
    ]
    texts.extend(kept)
    texts.extend(
        f"leftover replicas of v{item.release} on {item.provider}: {len(item.replicas)}"
        for item in others
    )
    is_exact = (
        not others
        and len(own) == (1 if instance.replicas or own else 0)
        and is_counted
        and not dead
        and not altered
        and not kept
    )
    # What somebody else decides is shown as what was asked for.
    count = instance.replicas if is_counted else len(live)
    return Live(count, is_exact, limits, tuple(texts), any(item.resources is None for item in live))


def wanted_replicas(instance: DesiredInstance, sets: Sequence[ObservedReplicaSet]) -> int:
    """How many there should be of one release: as Git says, unless somebody else decides it. One
    that has none any more is as Git says again, unless it is an autoscaler's to have none."""
    for item in sets:
        if instance.replicas and (item.scaled_by or instance.is_autoscaled):
            scale = len(item.live) if item.scale is None else item.scale
            is_none_meant = instance.is_autoscaled and item.scaled_by and item.scale is not None
            return scale if is_none_meant else scale or instance.replicas
    return instance.replicas


def rolled_replicas(instance: DesiredInstance, sets: Sequence[ObservedReplicaSet]) -> int:
    """How many a new release has: as many as there are of the one before where an autoscaler
    decides that, else as Git says."""
    if not instance.is_autoscaled:
        return instance.replicas
    return max((wanted_replicas(instance, [item]) for item in sets), default=0) or instance.replicas


def _is_left(instance: DesiredInstance, sets: Sequence[ObservedReplicaSet]) -> bool:
    """Whether how many there are at the moment is no business of ours."""
    return bool(
        instance.replicas
        and instance.is_autoscaled
        and any(item.scale or item.scaled_by for item in sets)
    )


def find_altered(
    instance: DesiredInstance, replica_set: ObservedReplicaSet
) -> tuple[Alteration, ...]:
    """What somebody else has changed that is not theirs to decide."""
    ignored = AlteredPart.COUNT if instance.is_autoscaled else AlteredPart.AUTOSCALER
    return tuple([item for item in replica_set.altered if item.part is not ignored])


def is_off(instance: DesiredInstance, replica_set: ObservedReplicaSet) -> bool:
    """Whether a ``ScaleReplicaSet`` to as many replicas as there are would put something right."""
    return bool(
        find_altered(instance, replica_set)
        or find_quota(instance, replica_set)
        or find_owner(instance, replica_set)
    )


def find_owner(instance: DesiredInstance, replica_set: ObservedReplicaSet) -> str:
    """Who the provider has down for how many replicas there are, and should not; "" where that is
    as wanted, or it has nobody down."""
    found = replica_set.is_autoscaled
    if found is None or found == instance.is_autoscaled:
        return ""
    wanted, other = ("autoscaler", "specs") if instance.is_autoscaled else ("specs", "autoscaler")
    return f"who decides how many replicas there are: {wanted} -> {other}"


def find_quota(instance: DesiredInstance, replica_set: ObservedReplicaSet) -> str:
    """How what its tenant is held to differs from what it should be; "" where it does not."""
    held = replica_set.quota
    if held is None:
        return ""
    wanted = instance.allowance if held.is_asked else Allowance()
    if held.allowance == wanted and not held.by:
        return ""
    by = f" (by {held.by})" if held.by else ""
    return f"the quota its tenant is held to: {wanted} -> {held.allowance}{by}"


def is_settled(
    instance: DesiredInstance, sets: tuple[ObservedReplicaSet, ...], release: int | None
) -> bool:
    """The quick answer for the many instances where nothing is off; False is not an answer."""
    if len(sets) != 1:
        return False
    only = sets[0]
    if (
        only.release != release
        or only.revision != instance.revision
        or only.provider != instance.provider
        or len(only.replicas) != wanted_replicas(instance, sets)
        or ((only.altered or only.quota) and is_off(instance, only))
        or find_owner(instance, only)
    ):
        return False
    wanted = instance.resources
    for replica in only.replicas:
        if replica.phase is ReplicaPhase.STOPPED:
            return False
        found = replica.resources
        if found is not None and found != wanted and diff_limits(wanted, found):
            return False
    return True
