"""What frames the instances' works: the apply as an event, what providers keep per tenant, and the
audit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.plan.change import Plan
from ctrlplane_gitops.state.key import Kind, ResourceKey


def removed_tenants(plan: Plan) -> tuple[ResourceKey, ...]:
    """The tenants a plan removes."""
    return tuple(key for key in plan.records.removed_resources if key.kind is Kind.TENANT)


def providers_of_tenant(plan: Plan, tenant: ResourceKey, names: Iterable[str]) -> list[str]:
    """Every provider that answers, and those that do not only where the tenant had instances: a
    provider that is merely configured must not keep a tenant from being removed."""
    silent = {gap.provider for gap in plan.gaps}
    used = {
        name
        for work in plan.works
        if work.instance.tenant == tenant.name
        for name in (work.provider, *work.sweep)
    }
    return [name for name in names if name not in silent or name in used]


def tell_begin(plan: Plan, journal: Journal) -> None:
    """An apply that changes nothing is no event."""
    if not plan.is_empty:
        add, change, destroy = plan.counts
        text = f"{add} to add, {change} to change, {destroy} to destroy"
        data = {"commit": plan.header.commit}
        journal.tell(EventType.APPLY_STARTED, _address_of(plan), text, data)


def tell_end(plan: Plan, ending: str, journal: Journal) -> None:
    if not plan.is_empty:
        journal.tell(EventType.APPLY_ENDED, _address_of(plan), ending)


def _address_of(plan: Plan) -> str:
    return ResourceKey(Kind.CONTROL_PLANE, "", plan.header.plane).address


def audit_plan(plan: Plan, outcomes: Mapping[ResourceKey, str], journal: Journal) -> None:
    """One audit entry per row of the plan that was not held back. ``outcomes`` has the outcome of
    each instance's work; a row without work was only written down."""
    work_of: dict[ResourceKey, ResourceKey] = {}
    for work in plan.works:
        keys = [work.instance, *(item.key for item in work.records), *work.removed]
        if work.desired is not None and work.desired.deployment is not None:
            keys.append(work.desired.deployment.key)
        work_of.update(dict.fromkeys(keys, work.instance))
    for change in plan.changes:
        if change.blocked is not None:
            continue
        instance = work_of.get(change.key)
        outcome = outcomes.get(instance, "not done") if instance else "done"
        journal.audit(str(change.action), change.key.address, outcome, plan.header.commit)
