"""Nothing vanishes by accident: which deletes are held back, and why."""

from __future__ import annotations

from collections.abc import Mapping

from ctrlplane_gitops.plan.change import Blocked
from ctrlplane_gitops.plan.classify import Look, Row, Rows, is_targeted
from ctrlplane_gitops.plan.hold import find_gap, providers_of
from ctrlplane_gitops.plan.traffic import find_router_gap, find_stray_routes
from ctrlplane_gitops.state.key import Kind, ResourceKey, tenant_key
from ctrlplane_gitops.value import struct

MIN_CAP = 10


@struct
class Removal:
    """Something to delete. ``instance`` is whose replicas go with it (instances, deployments)."""

    row: Row
    instance: ResourceKey | None = None

    @property
    def is_emptied(self) -> bool:
        """Whether the instance itself stays, and only its replicas go."""
        return self.row.key == self.instance and self.row.desired is not None


@struct
class Guarded:
    """All removals, those that are blocked, and the refusals that stop the whole apply."""

    removals: Mapping[ResourceKey, Removal]
    blocked: Mapping[ResourceKey, Blocked]
    refusals: tuple[Blocked, ...]


def find_removals(look: Look, rows: Rows) -> dict[ResourceKey, Removal]:
    """What is recorded, or carries our labels, and is not desired. Frozen tenants have none."""
    found = {key: Removal(row, _instance_of(row)) for key, row in rows.removed.items()}
    served = {item.instance for item in found.values()}
    is_destroy = look.policy.is_destroy
    for key in look.sets:
        if key in served or (key.tenant in look.desired.frozen and not is_destroy):
            continue
        wanted = None if is_destroy else look.desired.instances.get(key)
        if wanted is None and (is_destroy or key not in look.desired.resources):
            found[key] = Removal(Row(key, None, None), key)
        elif wanted is not None and wanted.template is None:
            # Replicas run, no deployment names them and none is recorded: the deployment is
            # what went, under the name it most likely had.
            gone = ResourceKey(Kind.DEPLOYMENT, key.tenant, key.name)
            if gone in look.desired.resources:
                # It is there, and names another instance now: the replicas alone are to go.
                row = Row(key, wanted.resource, look.recorded.resources.get(key))
                found[key] = Removal(row, key)
            else:
                found[gone] = Removal(Row(gone, None, None), key)
    found.update((key, Removal(Row(key, None, None))) for key in find_stray_routes(look))
    # A tenant that is not recorded goes with the last it has, or its network would stay.
    for name in {key.tenant for key, item in found.items() if key.kind is Kind.INSTANCE}:
        owner = tenant_key(name)
        is_known = owner in look.recorded.resources or owner in look.desired.resources
        if not is_known and not (name in look.desired.frozen and not is_destroy):
            found[owner] = Removal(Row(owner, None, None))
    return {key: item for key, item in sorted(found.items()) if _is_targeted(look, found, key)}


def _is_targeted(look: Look, found: Mapping[ResourceKey, Removal], key: ResourceKey) -> bool:
    targets, instance = look.policy.targets, found[key].instance
    if not targets or instance is None:
        return is_targeted(targets, key)
    pair = [other for other, item in found.items() if item.instance == instance]
    return is_targeted(targets, instance, *pair)


def guard_removals(look: Look, removals: Mapping[ResourceKey, Removal]) -> Guarded:
    """Every removal with the first reason against it, then the guards over all of them."""
    blocked: dict[ResourceKey, Blocked] = {}
    for key, removal in removals.items():
        reason = _find_reason(look, removal)
        if reason is not None:
            blocked[key] = reason
    _spread(removals, blocked)
    refusal = _find_refusal(look, removals, len(removals) - len(blocked))
    if refusal is not None:
        # Held back one by one too, so that nobody who overlooks a refusal deletes anything.
        blocked.update({key: refusal for key in removals if key not in blocked})
    return Guarded(removals, blocked, (refusal,) if refusal else ())


def _instance_of(row: Row) -> ResourceKey | None:
    if row.key.kind is Kind.INSTANCE:
        return row.key
    if row.key.kind is not Kind.DEPLOYMENT or row.recorded is None:
        return None
    name = row.recorded.attributes.get("instance")
    return ResourceKey(
        Kind.INSTANCE, row.key.tenant, name if isinstance(name, str) else row.key.name
    )


def _find_reason(look: Look, removal: Removal) -> Blocked | None:
    policy, row = look.policy, removal.row
    wanted = look.desired.resources.get(row.key)
    if not policy.is_prune_enabled and not policy.is_destroy:
        return Blocked("prune-off", "pruning is switched off", "leave out --no-prune")
    if not look.desired.is_complete and not policy.is_destroy:
        return Blocked(
            "incomplete",
            "a file could not be read, so what is missing may stand there",
            "mend the file named in the diagnostics",
        )
    if look.is_lost:
        return Blocked(
            "identity-lost",
            "the store is new although replicas of this control plane run",
            "this pass only writes down what is there; run it again",
        )
    sets = look.sets.get(removal.instance, ()) if removal.instance else ()
    is_known = removal.instance in look.recorded.instances
    if any(item.is_adopted for item in sets) and not is_known and not policy.is_destroy:
        return Blocked(
            "adopted",
            "it was adopted, and Git has never had it",
            "commit what adopt wrote, or remove it by hand",
        )
    if (row.recorded and row.recorded.is_protected) or (wanted and wanted.is_protected):
        return Blocked(
            "protected",
            "it says protect: true",
            "put it back, or set protect: false in Git and apply before removing it",
        )
    if removal.instance is not None:
        gap = find_gap(look, removal.instance, providers_of(look, removal.instance))
        return gap or find_router_gap(look, removal.instance)
    if row.key.kind is Kind.ROUTE and row.recorded is not None:
        name = row.recorded.attributes.get("instance")
        return find_router_gap(look, ResourceKey(Kind.INSTANCE, row.key.tenant, str(name)))
    return None


def _spread(removals: Mapping[ResourceKey, Removal], blocked: dict[ResourceKey, Blocked]) -> None:
    """An instance and its deployment go together; a tenant goes last, and a protected tenant
    that would go keeps all it has."""
    for key in removals:
        owner = blocked.get(tenant_key(key.tenant))
        if owner is not None and owner.code == "protected" and key not in blocked:
            blocked[key] = _because(tenant_key(key.tenant), owner)
    for key, removal in removals.items():
        pair = removal.instance
        if pair is None or pair == key:
            continue
        if pair in blocked and key not in blocked:
            blocked[key] = _because(pair, blocked[pair])
        elif key in blocked and pair in removals and pair not in blocked:
            blocked[pair] = _because(key, blocked[key])
    for key in [item for item in blocked if item.kind is not Kind.TENANT]:
        tenant = tenant_key(key.tenant)
        if tenant in removals and tenant not in blocked:
            blocked[tenant] = _because(key, blocked[key])


def _because(key: ResourceKey, blocked: Blocked) -> Blocked:
    return Blocked(blocked.code, f"{key} stays: {blocked.reason}", blocked.hint)


def _find_refusal(
    look: Look, removals: Mapping[ResourceKey, Removal], count: int
) -> Blocked | None:
    policy, desired = look.policy, look.desired
    if policy.is_destroy or not count:
        return None
    is_empty = not any(key.kind in (Kind.TENANT, Kind.INSTANCE) for key in desired.resources)
    if is_empty and not policy.is_empty_allowed:
        return Blocked(
            "empty-desired",
            f"Git has no tenant and no instance any more, but {len(removals)} resources exist",
            "if everything should go, use destroy, or allow it with --allow-empty",
        )
    if is_empty:
        return None
    cap = policy.max_delete
    if cap is None:
        share = len(look.recorded.resources) * desired.plane.prune.max_delete_percent // 100
        cap = max(MIN_CAP, share)
    if count <= cap:
        return None
    return Blocked(
        "prune-limit",
        f"{count} resources would be deleted, more than the limit of {cap}",
        f"allow it with --max-delete {count}, or raise spec.prune.maxDelete",
    )
