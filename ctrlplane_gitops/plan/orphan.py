"""What no pass would ever take: kept for who is gone, or written down of who is gone. Pure.

Replicas with our labels that neither Git nor the record knows are removed by the next pass over
everything (``guard.find_removals``), replicas of a release that nobody wants by a repair. What
passes do not see is left for here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from ctrlplane_gitops.plan.change import Plan
from ctrlplane_gitops.state.desired import DesiredInstance, DesiredState
from ctrlplane_gitops.state.key import Kind, ResourceKey, tenant_key
from ctrlplane_gitops.state.observed import Leftover, ObservedState
from ctrlplane_gitops.state.recorded import RecordBatch, RecordedState, RolloutPhase
from ctrlplane_gitops.value import struct


@struct
class Seen:
    """One look: what Git says, what runs, what is recorded, what a pass would do about it, and
    what providers keep besides. ``silent`` are those that did not say what they keep."""

    desired: DesiredState
    observed: ObservedState
    recorded: RecordedState
    plan: Plan
    leftovers: tuple[Leftover, ...]
    silent: frozenset[str] = frozenset()


@struct
class Orphans:
    """Leftovers of nobody, and instances that stand in the record alone."""

    leftovers: tuple[Leftover, ...] = ()
    forgotten: tuple[ResourceKey, ...] = ()


_HELD = frozenset(
    {"empty-desired", "identity-lost", "incomplete", "mass-recreate", "prune-limit", "prune-off"}
)


def find_doubt(seen: Seen) -> str:
    """Why a look is not to be acted on, "" where it is: then what seems to be nobody's may be
    somebody's after all."""
    desired, observed, recorded, plan = seen.desired, seen.observed, seen.recorded, seen.plan
    gap = next((item.provider for item in observed.gaps), min(seen.silent, default=""))
    codes = {item.blocked.code for item in plan.changes if item.blocked}
    empty = next(iter(_find_empty(seen)), "")
    rules: tuple[tuple[bool, str], ...] = (
        (not desired.is_complete, "a file of the specs could not be read"),
        (recorded.plane_id is None, "the store has no identity yet"),
        (bool(gap), f"provider {gap} did not answer"),
        (bool(plan.refusals), plan.refusals[0].reason if plan.refusals else ""),
        (not codes.isdisjoint(_HELD), "a guard holds back what passes would remove or make anew"),
        (not desired.instances, "Git has no instance"),
        (bool(empty), f"provider {empty} shows nothing of what is recorded there"),
    )
    return next((text for is_met, text in rules if is_met), "")


def _find_empty(seen: Seen) -> Iterator[str]:
    """Providers with an empty listing although replicas should be there: a restarted engine or a
    wrong context."""
    showing = {item.provider for item in seen.observed.replica_sets}
    for key, known in seen.recorded.instances.items():
        wanted = seen.desired.instances.get(key)
        is_running = known.release is not None and (wanted is None or wanted.replicas)
        if is_running and known.provider not in showing:
            yield known.provider


def find_orphans(seen: Seen) -> Orphans:
    """Everything that is nobody's by this look. Nobody's means: Git, the record and the replicas
    say nothing of it, no pass is about to do something about it, and its tenant is not frozen."""
    forgotten = tuple(
        key
        for key in sorted(seen.recorded.instances)
        if not _is_known(seen, key) and _is_free(seen, key)
    )
    below = [item for item in seen.leftovers if item.owner.kind is Kind.INSTANCE]
    found = [item for item in below if _is_free(seen, item.owner) and _is_orphan(seen, item)]
    kept = {item.owner.tenant for item in below if item not in found}
    for item in seen.leftovers:
        tenant = item.owner.tenant
        is_gone = item.owner.kind is Kind.TENANT and tenant not in kept
        if is_gone and not _is_known_tenant(seen, tenant) and _is_free(seen, item.owner):
            found.append(item)
    return Orphans(tuple(found), forgotten)


def _is_orphan(seen: Seen, item: Leftover) -> bool:
    """Of an instance. What belongs to a release alone is written anew when it is started again."""
    owner = item.owner
    if item.release is not None and not _is_under_way(seen, owner):
        return True
    if owner in seen.recorded.instances:
        places = {seen.recorded.instances[owner].provider}
        wanted = seen.desired.instances.get(owner)
        places |= {wanted.provider} if wanted is not None else set()
        return item.provider not in places and not _is_under_way(seen, owner)
    return not _is_known(seen, owner)


def _is_under_way(seen: Seen, instance: ResourceKey) -> bool:
    known = seen.recorded.instances.get(instance)
    phases = (RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK)
    return known is not None and known.rollout.phase in phases


def _is_known(seen: Seen, instance: ResourceKey) -> bool:
    """By Git, by what was recorded of Git, or by what runs."""
    if instance in seen.desired.resources or instance in seen.recorded.resources:
        return True
    return any(item.instance == instance for item in seen.observed.replica_sets)


def _is_known_tenant(seen: Seen, tenant: str) -> bool:
    key = tenant_key(tenant)
    if key in seen.desired.resources or key in seen.recorded.resources:
        return True
    owners = (*seen.recorded.resources, *seen.recorded.instances)
    return any(item.tenant == tenant for item in owners) or any(
        item.instance.tenant == tenant for item in seen.observed.replica_sets
    )


def _is_free(seen: Seen, key: ResourceKey) -> bool:
    """Whether nobody holds it: no frozen tenant, no protection, no pass."""
    if key.tenant in seen.desired.frozen:
        return False
    rows = (seen.desired.resources, seen.recorded.resources)
    owners = (key, tenant_key(key.tenant))
    if any(owner in row and row[owner].is_protected for row in rows for owner in owners):
        return False
    return not any(work.instance == key for work in seen.plan.works)


def find_surplus(
    instances: Mapping[ResourceKey, DesiredInstance], recorded: RecordedState
) -> RecordBatch:
    """Releases beyond the limit of their instance, and what stands in the record of instances that
    nobody knows. ``instances`` are those of Git. The active release stays, and so do a pinned one,
    one of what Git wants, and all of them while a rollout is under way."""
    releases: list[tuple[ResourceKey, int]] = []
    for key in recorded.releases:
        wanted = instances.get(key)
        if wanted is None:
            if key not in recorded.resources and key not in recorded.instances:
                releases += [(key, item.number) for item in recorded.releases[key]]
            continue
        limit = wanted.params.revision_history_limit
        if len(recorded.releases[key]) > limit:
            releases += _find_beyond(wanted, recorded, limit)
    known: Collection[ResourceKey] = {*recorded.instances, *recorded.resources, *instances}
    orders = tuple(key for key in sorted(recorded.orders) if key not in known)
    return RecordBatch(removed_releases=tuple(releases), removed_orders=orders)


def _find_beyond(
    wanted: DesiredInstance, recorded: RecordedState, limit: int
) -> Iterable[tuple[ResourceKey, int]]:
    known = recorded.instances.get(wanted.key)
    if known is None or known.rollout.phase in (
        RolloutPhase.PROGRESSING,
        RolloutPhase.ROLLING_BACK,
    ):
        return ()
    kept = {known.release, known.pin, known.rollout.target}
    found = recorded.releases[wanted.key]
    old = [x for x in found if x.number not in kept and x.revision != wanted.revision]
    newest = sorted(old, key=lambda item: -item.number)
    return ((wanted.key, item.number) for item in newest[limit:])
