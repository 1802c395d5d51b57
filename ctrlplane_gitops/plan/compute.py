"""The plan: desired, observed and recorded in, rows and work out. Pure and total."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import TypeVar

from ctrlplane_gitops.diagnostics import Diagnostic, sort_diagnostics, warning
from ctrlplane_gitops.plan.autoscaled import find_autoscaled, warn_scaled
from ctrlplane_gitops.plan.certificate import plan_certificates
from ctrlplane_gitops.plan.change import (
    Blocked,
    Change,
    ChangeAction,
    Drift,
    Plan,
    PlanHeader,
    Policy,
    Work,
)
from ctrlplane_gitops.plan.classify import (
    Look,
    Row,
    Rows,
    classify_resources,
    is_targeted,
    make_change,
    to_record,
)
from ctrlplane_gitops.plan.drift import is_settled
from ctrlplane_gitops.plan.guard import find_removals, guard_removals
from ctrlplane_gitops.plan.hold import find_vanished
from ctrlplane_gitops.plan.instance import decide_instance
from ctrlplane_gitops.plan.order import order_works
from ctrlplane_gitops.plan.place import guard_places, record_places
from ctrlplane_gitops.plan.quota import Surge, guard_surge
from ctrlplane_gitops.plan.remove import plan_removals
from ctrlplane_gitops.plan.traffic import (
    find_certificates,
    find_idle,
    find_stopped,
    index_served,
    is_misrouted,
    warn_router,
)
from ctrlplane_gitops.state.desired import DesiredInstance, DesiredState, IssuedCertificate
from ctrlplane_gitops.state.key import Kind, ResourceKey, tenant_key
from ctrlplane_gitops.state.observed import ObservedState
from ctrlplane_gitops.state.recorded import (
    RecordBatch,
    RecordedInstance,
    RecordedResource,
    RecordedState,
    RolloutPhase,
)
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.value import field, record, replace

_T = TypeVar("_T")


@record
class _Draft:
    """A plan being collected."""

    changes: list[Change] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    drift: list[Drift] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    refusals: list[Blocked] = field(default_factory=list)
    records: list[RecordedResource] = field(default_factory=list)
    removed: list[ResourceKey] = field(default_factory=list)
    instances: list[RecordedInstance] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    unrouted: list[ResourceKey] = field(default_factory=list)
    starts_router: bool = False
    stops_router: bool = False
    certificates: list[RecordedResource] = field(default_factory=list)
    issues: list[IssuedCertificate] = field(default_factory=list)


def compute_plan(
    desired: DesiredState,
    observed: ObservedState,
    recorded: RecordedState,
    policy: Policy,
    header: PlanHeader,
    now: datetime,
    diagnostics: Iterable[Diagnostic] = (),
    instances: Collection[ResourceKey] | None = None,
) -> Plan:
    """What would have to be done so that what runs is what Git says.

    Never raises: what must not be done is a blocked row or a refusal, and ``diagnostics`` (those
    of the specs) are passed through together with the plan's own warnings. ``instances`` are those
    that were looked at, None: all; of the others nothing is said."""
    if instances is not None:
        recorded = replace(recorded, instances=_pick(recorded.instances, instances))
    look = Look(
        desired,
        observed,
        recorded,
        policy,
        header,
        observed.by_instance(),
        is_lost=recorded.plane_id is None and bool(observed.replica_sets),
        served=index_served(
            observed.router,
            has_routes=any(key.kind is Kind.ROUTE for key in recorded.resources),
        ),
    )
    rows = classify_resources(desired, recorded, is_destroy=policy.is_destroy)
    draft = _Draft(
        diagnostics=[*diagnostics, *_warn(look)],
        refusals=list(guard_places(look)),
        records=[item for item in (record_places(look),) if item is not None],
    )
    if not policy.is_destroy:
        _plan_records(look, rows, draft)
        wanted = look.desired.instances
        _plan_instances(look, rows, draft, _pick(wanted, instances), now)
    surge = guard_surge(
        look.desired, sorted(draft.works, key=lambda item: item.instance), look.sets
    )
    _hold_surges(draft, surge)
    _plan_removals(look, rows, draft)
    _plan_frozen(look, draft)
    _plan_certificates(look, draft)
    if (stopped := find_stopped(look)) is not None:
        draft.drift.append(stopped)
        draft.starts_router = stopped.is_corrected
    if (idle := find_idle(look)) is not None:
        draft.drift.append(idle)
        draft.stops_router = idle.is_corrected
    return _finish(look, rows, draft, surge)


def _pick(
    found: Mapping[ResourceKey, _T], keys: Collection[ResourceKey] | None
) -> Mapping[ResourceKey, _T]:
    return found if keys is None else {key: found[key] for key in sorted(keys) if key in found}


def _plan_records(look: Look, rows: Rows, draft: _Draft) -> None:
    """Tenants, secrets and routes, and deployments whose instance is not part of the state."""
    served = (
        {item.deployment.key for item in look.desired.instances.values() if item.deployment}
        if any(key.kind is Kind.DEPLOYMENT for key in rows.changed)
        else frozenset()
    )
    shown = find_certificates(look) if rows.changed else frozenset()
    for key, row in rows.changed.items():
        if key in look.desired.instances or key in served:
            continue
        if not is_targeted(look.policy.targets, key):
            continue
        if look.is_lost:
            action, reason = ChangeAction.ADOPT, "the store is new"
        elif row.recorded is None:
            action, reason = ChangeAction.CREATE, "not there yet"
        else:
            action, reason = ChangeAction.UPDATE, "specs changed"
        draft.changes.append(make_change(row, action, reason))
        shelf = draft.certificates if key in shown and not look.is_lost else draft.records
        shelf.append(row.record(look.header.commit))
    draft.records.extend(to_record(item, look.header.commit) for item in rows.moved)


def _plan_instances(
    look: Look,
    rows: Rows,
    draft: _Draft,
    instances: Mapping[ResourceKey, DesiredInstance],
    now: datetime,
) -> None:
    vanished = find_vanished(look)
    draft.refusals.extend(vanished.values())
    changed, recorded, targets = rows.changed, look.recorded.instances, look.policy.targets
    for key, instance in instances.items():
        known = recorded.get(key)
        deployment = instance.deployment
        if (
            known is not None
            and known.pin is None
            and known.rollout.phase is RolloutPhase.IDLE
            and is_settled(instance, look.sets.get(key, ()), known.release)
            and not is_misrouted(look, instance, look.sets.get(key, ()), known.release)
            and not (changed and (key in changed or (deployment and deployment.key in changed)))
        ):
            continue
        pair = (key, *(item.key for item in instance.routes))
        pair = (*pair, deployment.key) if deployment else pair
        if is_targeted(targets, *pair):
            _plan_instance(look, rows, draft, instance, vanished, now)


def _plan_instance(
    look: Look,
    rows: Rows,
    draft: _Draft,
    instance: DesiredInstance,
    vanished: dict[str, Blocked],
    now: datetime,
) -> None:
    row = rows.changed.get(instance.key)
    if instance.template is None or instance.revision is None:
        _plan_idle(look, draft, row)
        if instance.deployment is not None and instance.deployment.key in rows.changed:
            _plan_idle(look, draft, rows.changed[instance.deployment.key])
        return
    known = look.recorded.instances.get(instance.key)
    is_gone = known is not None and known.release is not None and not look.sets.get(instance.key)
    decision = decide_instance(
        look,
        instance,
        row,
        rows.changed.get(instance.deployment.key) if instance.deployment else None,
        tenant_key(instance.key.tenant) in rows.changed,
        vanished.get(known.provider) if known is not None and is_gone else None,
        now,
    )
    draft.changes.extend(decision.changes)
    draft.records.extend(decision.records)
    draft.instances.extend(decision.instances)
    draft.releases.extend(decision.releases)
    if decision.work:
        draft.works.append(decision.work)
    draft.drift.extend(decision.drift)
    if decision.note:
        address = instance.key.address
        draft.diagnostics.append(
            warning("pinned", f"{address} is {decision.note}", address=address)
        )


def _hold_surges(draft: _Draft, surge: Surge) -> None:
    """What does not fit into the quota while it rolls out is held back as a whole."""
    held: dict[ResourceKey, Blocked] = {}
    for work in draft.works:
        blocked = surge.blocked.get(work.instance)
        if blocked is not None and work.desired is not None:
            held[work.instance] = blocked
            if work.desired.deployment is not None:
                held[work.desired.deployment.key] = blocked
    if not held:
        return
    draft.works = [work for work in draft.works if work.instance not in held]
    draft.drift = [
        replace(item, is_corrected=False) if item.key in held else item for item in draft.drift
    ]
    draft.changes = [
        replace(item, blocked=item.blocked or held[item.key]) if item.key in held else item
        for item in draft.changes
    ]


def _plan_idle(look: Look, draft: _Draft, row: Row | None) -> None:
    """An instance without a deployment is only written down."""
    if row is None:
        return
    reason = "no deployment names it, so it runs nothing"
    action = ChangeAction.CREATE if row.recorded is None else ChangeAction.UPDATE
    if look.is_lost:
        action = ChangeAction.ADOPT
    draft.changes.append(make_change(row, action, reason))
    draft.records.append(row.record(look.header.commit))


def _plan_removals(look: Look, rows: Rows, draft: _Draft) -> None:
    guarded = guard_removals(look, find_removals(look, rows))
    draft.refusals.extend(guarded.refusals)
    removed = plan_removals(look, guarded)
    draft.changes.extend(removed.changes)
    draft.works.extend(removed.works)
    draft.removed.extend(removed.removed)
    draft.unrouted.extend(
        key
        for key in guarded.removals
        if key.kind is Kind.ROUTE and key not in guarded.blocked and look.desired.plane.router
    )


def _plan_certificates(look: Look, draft: _Draft) -> None:
    found = plan_certificates(look, draft.changes)
    draft.changes.extend(found.changes)
    draft.certificates.extend(found.shown)
    draft.issues.extend(found.issues)
    draft.removed.extend(found.gone)


def _plan_frozen(look: Look, draft: _Draft) -> None:
    if look.policy.is_destroy:
        return
    for tenant, reason in sorted(look.desired.frozen.items()):
        key = tenant_key(tenant)
        if not is_targeted(look.policy.targets, key) and look.policy.targets:
            continue
        blocked = Blocked(
            "frozen", f"kept at the last good state: {reason}", "mend its specs; others go on"
        )
        row = Row(key, None, None)
        draft.changes.append(
            make_change(row, ChangeAction.KEEP, "specs have errors", blocked=blocked)
        )


def _warn(look: Look) -> list[Diagnostic]:
    found = [
        warning(
            "gap",
            f"provider {gap.provider} did not answer"
            + ("" if gap.instances is None else f" for {len(gap.instances)} instances")
            + f": {gap.reason}",
            hint="what runs there is unknown, so nothing is changed or removed there",
        )
        for gap in look.observed.gaps
    ]
    found.extend(warning("provider", text) for text in look.observed.warnings)
    found.extend(warn_scaled(look))
    found.extend(warn_router(look))
    known = (
        {*look.desired.resources, *look.recorded.resources, *look.sets}
        if look.policy.targets
        else set()
    )
    found.extend(
        warning("unknown-target", f"--target {glob} matches nothing")
        for glob in look.policy.targets
        if not any(is_targeted((glob,), key) for key in known)
    )
    return found


def _finish(look: Look, rows: Rows, draft: _Draft, surge: Surge) -> Plan:
    works = sorted(draft.works, key=lambda item: item.instance)
    changes = sorted(
        draft.changes, key=lambda item: (item.key.tenant, _RANK[item.key.kind], item.key)
    )
    touched = {item.key for item in changes}
    settled = rows.unchanged - sum(
        1 for key in touched if key in look.desired.resources and key not in rows.changed
    )
    return Plan(
        header=look.header,
        changes=tuple(changes),
        works=tuple(works),
        drift=tuple(sorted(draft.drift, key=lambda item: item.key)),
        diagnostics=sort_diagnostics(draft.diagnostics),
        refusals=tuple(draft.refusals),
        adopted=sum(1 for item in changes if item.action is ChangeAction.ADOPT),
        unchanged=settled,
        records=RecordBatch(
            resources=tuple(sorted(draft.records, key=lambda item: item.key)),
            removed_resources=tuple(sorted(draft.removed)),
            instances=tuple(sorted(draft.instances, key=lambda item: item.key)),
            releases=tuple(sorted(draft.releases, key=lambda item: (item.instance, item.number))),
        ),
        dependencies=order_works(works, look.recorded.resources),
        turns=surge.turns,
        gaps=look.observed.gaps,
        unrouted=tuple(sorted(draft.unrouted)),
        starts_router=draft.starts_router,
        stops_router=draft.stops_router,
        certificates=tuple(draft.certificates),
        issues=tuple(draft.issues),
        autoscaled=find_autoscaled(look),
    )


_RANK = {kind: place for place, kind in enumerate(Kind)}
