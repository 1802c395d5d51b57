"""Guarded removals as rows and work."""

from __future__ import annotations

from collections.abc import Sequence

from ctrlplane_gitops.plan.change import Blocked, Change, ChangeAction, FieldChange, Work
from ctrlplane_gitops.plan.classify import Look, basis_of, make_change
from ctrlplane_gitops.plan.guard import Guarded, Removal
from ctrlplane_gitops.plan.hold import providers_of
from ctrlplane_gitops.plan.traffic import is_routed
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.observed import ObservedReplicaSet
from ctrlplane_gitops.value import field, record


@record
class Removed:
    """``removed`` are the records to drop that need no work."""

    changes: list[Change] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    removed: list[ResourceKey] = field(default_factory=list)


def plan_removals(look: Look, guarded: Guarded) -> Removed:
    """A row per removal; one work per instance whose replicas have to go."""
    found = Removed()
    by_instance: dict[ResourceKey, list[ResourceKey]] = {}
    for key, removal in guarded.removals.items():
        blocked = guarded.blocked.get(key)
        sets = look.sets.get(removal.instance, ()) if removal.instance else ()
        if removal.is_emptied:
            change = _empty(removal, sets, blocked)
        else:
            change = make_change(
                removal.row,
                ChangeAction.DELETE,
                _reason(look, removal),
                blocked=blocked,
                basis=basis_of(sets),
            )
        found.changes.append(change)
        if blocked is not None:
            continue
        if removal.instance is None:
            found.removed.append(key)
        else:
            keys = by_instance.setdefault(removal.instance, [])
            keys += () if removal.is_emptied else (key,)
    for instance, keys in by_instance.items():
        _remove_instance(look, found, instance, tuple(keys))
    return found


def _empty(removal: Removal, sets: Sequence[ObservedReplicaSet], blocked: Blocked | None) -> Change:
    """An instance that stays, and runs nothing any more."""
    count = sum(len(item.live) for item in sets)
    return make_change(
        removal.row,
        ChangeAction.UPDATE,
        "no deployment names it any more",
        blocked=blocked,
        extra=(FieldChange(("replicas",), count, 0),),
        basis=basis_of(tuple(sets)),
    )


def _reason(look: Look, removal: Removal) -> str:
    if look.policy.is_destroy:
        return "everything is destroyed"
    if removal.row.recorded is None:
        what = "is served" if removal.row.key.kind is Kind.ROUTE else "runs with our labels"
        return f"{what}, but Git has nothing of the name"
    return "no longer in Git"


def _remove_instance(
    look: Look, found: Removed, instance: ResourceKey, keys: tuple[ResourceKey, ...]
) -> None:
    wanted = None if look.policy.is_destroy else look.desired.instances.get(instance)
    if wanted is not None and wanted.template is not None:
        # Another deployment runs it now: the old one is only forgotten.
        found.removed.extend(keys)
        return
    sets = look.sets.get(instance, ())
    known = look.recorded.instances.get(instance)
    is_running = bool(sets) or (known is not None and wanted is None)
    if not is_running:
        found.removed.extend(keys)
        return
    providers = tuple(sorted(providers_of(look, instance)))
    found.works.append(
        Work(
            instance=instance,
            provider=known.provider if known else providers[0],
            desired=wanted,
            release=None,
            is_new_release=False,
            active=known.release if known else None,
            update_resources=False,
            sweep=providers,
            reason="no deployment names it" if wanted else "no longer in Git",
            removed=keys,
            is_volumes=wanted is None and look.desired.plane.prune.is_volumes,
            is_routed=is_routed(look, instance),
        )
    )
