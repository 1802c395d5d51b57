"""What rollouts need on top for a while, against the quota of their tenant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ctrlplane_gitops.plan.change import Blocked, Work
from ctrlplane_gitops.plan.drift import rolled_replicas
from ctrlplane_gitops.rollout.preview import preview_rollout
from ctrlplane_gitops.state.desired import DesiredInstance, DesiredState
from ctrlplane_gitops.state.key import ResourceKey, tenant_key
from ctrlplane_gitops.state.observed import ObservedReplicaSet
from ctrlplane_gitops.units import format_bytes, format_cpu, parse_bytes, parse_cpu
from ctrlplane_gitops.value import field, struct


class _Amount(NamedTuple):
    """CPU in millicores, memory in bytes."""

    cpu: int
    memory: int

    def plus(self, other: _Amount) -> _Amount:
        return _Amount(self.cpu + other.cpu, self.memory + other.memory)


@struct
class Surge:
    """``blocked``: instances whose rollout alone does not fit. ``turns``: for each instance those
    whose rollouts must have ended before, because they do not fit side by side."""

    blocked: Mapping[ResourceKey, Blocked] = field(default_factory=dict)
    turns: Mapping[ResourceKey, tuple[ResourceKey, ...]] = field(default_factory=dict)


Sets = Mapping[ResourceKey, tuple[ObservedReplicaSet, ...]]


def guard_surge(desired: DesiredState, works: Iterable[Work], sets: Sets) -> Surge:
    """Which rollouts may surge, and which have to take turns. Only tenants with a quota of cpu or
    memory are looked at; ``works`` are in order of address. Of an autoscaled instance those count
    that there are, not those it begins with."""
    rolling: dict[str, list[DesiredInstance]] = {}
    for work in works:
        is_rollout = work.release is not None and work.active not in (None, work.release.number)
        if is_rollout and work.desired is not None and work.desired.replicas:
            rolling.setdefault(work.instance.tenant, []).append(work.desired)
    blocked: dict[ResourceKey, Blocked] = {}
    turns: dict[ResourceKey, tuple[ResourceKey, ...]] = {}
    for tenant, instances in rolling.items():
        limit = _limit_of(desired, tenant)
        if limit is None:
            continue
        used = _Amount(0, 0)
        for item in desired.instances.values():
            if item.key.tenant == tenant:
                used = used.plus(_amount_of(item, _replicas_of(item, sets)))
        _place(instances, sets, used, limit, blocked, turns)
    return Surge(blocked, turns)


def _place(
    instances: list[DesiredInstance],
    sets: Sets,
    used: _Amount,
    limit: _Amount,
    blocked: dict[ResourceKey, Blocked],
    turns: dict[ResourceKey, tuple[ResourceKey, ...]],
) -> None:
    """First come, first served; who does not fit beside the others waits for all before it."""
    beside: list[ResourceKey] = []
    together = used
    for item in instances:
        extra = _amount_of(item, _extra_replicas(item, _replicas_of(item, sets)))
        alone = used.plus(extra)
        if not _fits(alone, limit):
            blocked[item.key] = _refuse(item, alone, limit)
            continue
        if not _fits(together.plus(extra), limit):
            turns[item.key] = tuple(beside)
            together = used
        beside.append(item.key)
        together = together.plus(extra)


def _replicas_of(instance: DesiredInstance, sets: Sets) -> int:
    return rolled_replicas(instance, sets.get(instance.key, ()))


def _extra_replicas(instance: DesiredInstance, replicas: int) -> int:
    preview = preview_rollout(instance.params, replicas, has_active=True)
    return max(0, preview.most_replicas - replicas)


def _amount_of(instance: DesiredInstance, replicas: int) -> _Amount:
    """What is not limited does not count; the specs refuse it under a quota that counts it."""
    resources = instance.resources
    return _Amount(
        replicas * (resources.cpu_millicores or 0), replicas * (resources.memory_bytes or 0)
    )


def _limit_of(desired: DesiredState, tenant: str) -> _Amount | None:
    resource = desired.resources.get(tenant_key(tenant))
    quota = (resource.attributes.get("quota") if resource else None) or {}
    cpu, memory = quota.get("cpu"), quota.get("memory")
    if cpu is None and memory is None:
        return None
    return _Amount(
        _UNLIMITED if cpu is None else parse_cpu(cpu),
        _UNLIMITED if memory is None else parse_bytes(memory),
    )


def _fits(amount: _Amount, limit: _Amount) -> bool:
    return amount.cpu <= limit.cpu and amount.memory <= limit.memory


def _refuse(instance: DesiredInstance, needed: _Amount, limit: _Amount) -> Blocked:
    if needed.cpu > limit.cpu:
        what = f"{format_cpu(needed.cpu)} cpu of {format_cpu(limit.cpu)}"
    else:
        what = f"{format_bytes(needed.memory)} memory of {format_bytes(limit.memory)}"
    return Blocked(
        "quota",
        f"during its rollout tenant {instance.key.tenant} would use {what}",
        "raise spec.quota of the tenant, or lower strategy.rolling.maxSurge "
        "(maxSurge: 0 with maxUnavailable: 1 needs nothing on top)",
    )


_UNLIMITED = 1 << 62
