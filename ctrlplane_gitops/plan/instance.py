"""One instance: its rows, its drift and the work, if any."""

from __future__ import annotations

from datetime import datetime

from ctrlplane_gitops.plan.change import (
    Blocked,
    Change,
    ChangeAction,
    Drift,
    FieldChange,
    Work,
)
from ctrlplane_gitops.plan.classify import Look, Row, basis_of, make_change
from ctrlplane_gitops.plan.drift import Live, compare_live
from ctrlplane_gitops.plan.fields import explain_revision
from ctrlplane_gitops.plan.hold import SILENT, find_gap
from ctrlplane_gitops.plan.release import Target, choose_release
from ctrlplane_gitops.plan.traffic import (
    find_router_gap,
    is_misrouted,
    is_routed,
    plan_misrouted,
)
from ctrlplane_gitops.rollout.preview import RolloutPreview, preview_rollout
from ctrlplane_gitops.rollout.view import find_wait
from ctrlplane_gitops.state.desired import DesiredInstance
from ctrlplane_gitops.state.observed import ObservedReplicaSet
from ctrlplane_gitops.state.recorded import RecordedInstance, RecordedResource, RolloutPhase
from ctrlplane_gitops.state.template import Release, ReleaseState
from ctrlplane_gitops.value import replace, struct

_UNDER_WAY = (RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK)


@struct
class Decision:
    """What a plan says of one instance. ``instances`` and ``releases`` are adopted ones to write
    down without work, ``records`` rows that need no work."""

    changes: tuple[Change, ...] = ()
    work: Work | None = None
    drift: tuple[Drift, ...] = ()
    records: tuple[RecordedResource, ...] = ()
    instances: tuple[RecordedInstance, ...] = ()
    releases: tuple[Release, ...] = ()
    note: str = ""


@struct
class Case:
    """Everything known about one instance. ``row`` and ``deployment`` are None where specs and
    record are the same; ``is_tenant_changed`` says that the tenant's row differs too.
    ``is_misrouted``: the router does not serve what it should once nothing is rolled out."""

    look: Look
    instance: DesiredInstance
    sets: tuple[ObservedReplicaSet, ...]
    known: RecordedInstance | None
    row: Row | None
    deployment: Row | None
    is_tenant_changed: bool
    target: Target
    live: Live
    hold: Blocked | None
    is_misrouted: bool = False

    @property
    def is_seen(self) -> bool:
        """Replicas of ours run although the instance is not recorded."""
        return self.known is None and any(item.live for item in self.sets)

    @property
    def is_same_revision(self) -> bool:
        return any(item.revision == self.instance.revision and item.live for item in self.sets)

    @property
    def is_under_way(self) -> bool:
        return self.known is not None and self.known.rollout.phase in _UNDER_WAY

    @property
    def is_rollout(self) -> bool:
        release = self.target.release
        return release is not None and release.number != self.target.active

    @property
    def is_as_wanted(self) -> bool:
        """As many replicas run as should, with the limits they should have."""
        return self.live.is_exact and not self.live.limits and not _is_limit_change(self)

    @property
    def deployment_row(self) -> Row:
        resource = self.instance.deployment or self.instance.resource
        known = self.look.recorded.resources.get(resource.key)
        return self.deployment or Row(resource.key, resource, known)

    @property
    def instance_row(self) -> Row:
        key = self.instance.key
        return self.row or Row(key, self.instance.resource, self.look.recorded.resources.get(key))


def decide_instance(
    look: Look,
    instance: DesiredInstance,
    row: Row | None,
    deployment: Row | None,
    is_tenant_changed: bool,
    vanished: Blocked | None,
    now: datetime,
) -> Decision:
    """Decide one instance that has a template."""
    sets = look.sets.get(instance.key, ())
    known = look.recorded.instances.get(instance.key)
    target = choose_release(look, instance, sets, now)
    providers = {item.provider for item in sets}
    providers.add(target.release.template.provider if target.release else instance.provider)
    if known is not None:
        providers.add(known.provider)
    case = Case(
        look,
        instance,
        sets,
        known,
        row,
        deployment,
        is_tenant_changed,
        target,
        compare_live(instance, target.release, sets),
        find_gap(look, instance.key, providers)
        or vanished
        or find_router_gap(look, instance.key, instance.routes),
        is_misrouted(look, instance, sets, target.release.number if target.release else None),
    )
    if case.is_seen and (look.is_lost or case.is_same_revision) and case.hold is None:
        return _adopt(case)
    return _decide(case)


def _basis(case: Case) -> tuple[object, ...]:
    release = case.target.release
    return basis_of(
        case.sets, release.number if release else None, release.revision if release else ""
    )


def _adopt(case: Case) -> Decision:
    """Write down what runs. With the store lost nothing else is done in this pass; otherwise what
    is off is repaired at once."""
    look, commit, basis = case.look, case.look.header.commit, _basis(case)
    rows = [case.instance_row]
    if case.is_same_revision:
        rows.append(case.deployment_row)
    reason = "runs with our labels but is not recorded"
    changes = [make_change(row, ChangeAction.ADOPT, reason, basis=basis) for row in rows]
    records = tuple(row.record(commit) for row in rows)
    if not case.is_same_revision:
        lost = Blocked(
            "identity-lost",
            "the store is new and another revision runs",
            "this pass only writes down what is there; run it again",
        )
        field = (FieldChange(("revision",), _seen_revision(case), case.instance.revision),)
        changes.append(
            make_change(
                case.deployment_row,
                ChangeAction.UPDATE,
                "another revision runs",
                blocked=lost,
                extra=field,
                basis=basis,
            )
        )
        return Decision(tuple(changes), records=records)
    release = case.target.release
    assert release is not None
    adopted = RecordedInstance(
        case.instance.key, release.template.provider, case.target.active or release.number
    )
    releases = (replace(release, state=ReleaseState.ACTIVE),) if case.target.is_new else ()
    work: Work | None = None
    drift: tuple[Drift, ...] = ()
    if not case.is_as_wanted:
        drift = (
            Drift(
                case.instance.key,
                case.live.fields(case.instance.replicas),
                ", ".join(case.live.texts),
                is_corrected=not look.is_lost,
            ),
        )
        if not look.is_lost:
            changes[0] = _drift_change(case, None)
    if not look.is_lost and (drift or case.is_misrouted):
        work = _work(case, "drift", ())
    return Decision(tuple(changes), work, drift, records, (adopted,), releases)


def _decide(case: Case) -> Decision:
    """Rows, drift and work of an instance that is recorded or not there at all."""
    changes: list[Change] = []
    records: list[RecordedResource] = []
    commit = case.look.header.commit
    is_work = _is_work(case)
    drift = _find_drift(case) if is_work else ()
    if case.row is not None:
        hold = case.hold if is_work or case.row.recorded is None else None
        changes.append(_instance_change(case, hold))
        if hold is None:
            records.append(case.row.record(commit))
    elif drift:
        changes.append(_drift_change(case, case.hold))
    elif is_work and not (case.is_rollout or case.is_under_way or case.is_as_wanted):
        changes.append(_drift_change(case, case.hold, _scale_reason(case)))
    if is_work and case.hold is None and not (case.is_rollout or case.is_under_way):
        release = case.target.release.number if case.target.release else None
        rows, more = plan_misrouted(case.look, case.instance, case.sets, release)
        # Where replicas are missing as well, the routes only follow them.
        changes.extend(rows if case.is_as_wanted else ())
        drift += more if case.is_as_wanted else ()
    deployment = _deployment_change(case, is_work)
    if deployment is not None:
        changes.append(deployment)
        if case.deployment is not None and not deployment.blocked:
            records.append(case.deployment.record(commit))
    if not is_work or case.hold is not None:
        return Decision(tuple(changes), records=tuple(records), note=case.target.note)
    reason = next((item.reason for item in reversed(changes) if not item.blocked), "drift")
    work = _work(case, reason, tuple(records))
    return Decision(tuple(changes), work, drift, note=case.target.note)


def _is_work(case: Case) -> bool:
    """Whether anything has to be done. Where the provider is silent, only what the record and
    Git say counts: what runs there is not known."""
    if case.target.release is None:
        return False
    if case.is_rollout or case.is_under_way:
        return True
    if case.hold is not None and case.hold.code in SILENT:
        return _touches_scale(case)
    return not case.is_as_wanted or case.is_misrouted


def _is_limit_change(case: Case) -> bool:
    """Git changed the limits and the provider does not show the live ones."""
    return bool(case.live.has_unknown_limits and _touches(case.row, "resources"))


def _touches_scale(case: Case) -> bool:
    return _touches(case.row, "replicas") or _touches(case.row, "resources")


def _touches(row: Row | None, name: str) -> bool:
    if row is None or row.recorded is None or row.desired is None:
        return False
    return bool(row.recorded.attributes.get(name) != row.desired.attributes.get(name))


def _find_drift(case: Case) -> tuple[Drift, ...]:
    """Drift is what is off without a commit, a rollout or a suspension explaining it."""
    if (
        case.hold is not None
        or case.is_rollout
        or case.is_under_way
        or case.is_tenant_changed
        or _touches_scale(case)
        or case.instance_row.recorded is None
        or case.is_as_wanted
    ):
        return ()
    fields, texts = case.live.fields(case.instance.replicas), case.live.texts
    return (Drift(case.instance.key, fields, ", ".join(texts), is_corrected=True),)


def _drift_change(case: Case, hold: Blocked | None, reason: str = "drift") -> Change:
    """The correction as a row: from what runs to what should."""
    fields = tuple(
        FieldChange(item.path, item.after, item.before)
        for item in case.live.fields(case.instance.replicas)
    )
    return make_change(
        case.instance_row,
        ChangeAction.UPDATE,
        reason,
        blocked=hold,
        extra=fields,
        basis=_basis(case),
    )


def _scale_reason(case: Case) -> str:
    tenant = case.instance.key.tenant
    if case.instance.is_suspended:
        return f"tenant {tenant} is suspended"
    if case.is_tenant_changed and not case.live.count:
        return f"tenant {tenant} is no longer suspended"
    return "drift"


def _instance_change(case: Case, hold: Blocked | None) -> Change:
    assert case.row is not None
    action, reason = ChangeAction.UPDATE, "specs changed"
    if case.row.recorded is None:
        action, reason = ChangeAction.CREATE, "not there yet"
    elif _touches(case.row, "provider"):
        # Replicas are made there and removed here, and volumes do not move along.
        action = ChangeAction.REPLACE
        reason = f"moves to provider {case.instance.provider}"
        if case.instance.template and case.instance.template.volumes:
            reason += "; its volumes stay behind"
    return make_change(case.row, action, reason, blocked=hold, basis=_basis(case))


def _deployment_change(case: Case, is_work: bool) -> Change | None:
    """The deployment's row: when its own specs differ, when another release is to run, when a
    rollout goes on, and when the wanted release is known to be bad."""
    target, row = case.target, case.deployment_row
    release = target.release
    is_moving = case.is_rollout or case.is_under_way
    if case.deployment is None and not is_moving and target.blocked is None:
        return None
    extra: tuple[FieldChange, ...] = ()
    preview: RolloutPreview | None = None
    wanted = case.instance.revision if target.blocked else (release.revision if release else None)
    before = target.was.revision if target.was else _seen_revision(case)
    if before is not None and wanted is not None and before != wanted:
        extra = (FieldChange(("revision",), before, wanted),)
    if is_moving and release is not None and target.blocked is None:
        instance = case.instance
        is_unrouted = bool(release.template.ports) and not instance.routes
        preview = preview_rollout(
            instance.params, instance.replicas, target.active is not None, is_unrouted=is_unrouted
        )
    is_new = row.recorded is None and target.active is None
    return make_change(
        row,
        ChangeAction.CREATE if is_new else ChangeAction.UPDATE,
        _deployment_reason(case),
        blocked=target.blocked or (case.hold if is_moving or is_work else None),
        extra=extra,
        basis=_basis(case),
        rollout=preview,
        strategy=str(case.instance.params.type) if preview else "",
    )


def _deployment_reason(case: Case) -> str:
    target = case.target
    causes: list[str] = []
    if target.note:
        causes.append(target.note)
    if case.is_under_way and case.known is not None and target.release is not None:
        status = case.known.rollout
        if status.target == target.release.number:
            is_back = status.phase is RolloutPhase.ROLLING_BACK
            order = case.look.recorded.orders.get(case.instance.key)
            causes.append(
                f"{'rollback from' if is_back else 'rollout of'} v{status.target} "
                f"{find_wait(status, order) or 'goes on'}"
            )
    after = target.release.template if target.release else case.instance.template
    if target.blocked:
        after = case.instance.template
    if case.is_rollout or target.blocked:
        assert after is not None
        causes.extend(explain_revision(target.was.template if target.was else None, after))
        if not causes:
            causes.append("not there yet" if target.active is None else "another revision runs")
    return "; ".join(causes) or "specs changed, nothing is restarted"


def _seen_revision(case: Case) -> str | None:
    active = case.target.active
    return next((item.revision for item in case.sets if item.release == active), None)


def _work(case: Case, reason: str, records: tuple[RecordedResource, ...]) -> Work:
    release = case.target.release
    assert release is not None
    provider = release.template.provider
    return Work(
        instance=case.instance.key,
        provider=provider,
        desired=case.instance,
        release=release,
        is_new_release=case.target.is_new,
        active=case.target.active,
        update_resources=bool(case.live.limits) or _is_limit_change(case),
        sweep=tuple(sorted({item.provider for item in case.sets} - {provider})),
        reason=reason,
        records=records,
        is_routed=is_routed(case.look, case.instance.key, case.instance.routes),
    )
