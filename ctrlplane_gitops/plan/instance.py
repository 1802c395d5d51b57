"""One instance: its rows, its drift and the work, if any."""

from __future__ import annotations

from datetime import datetime

from ctrlplane_gitops.plan.case import Case, Decision
from ctrlplane_gitops.plan.change import (
    Blocked,
    Change,
    ChangeAction,
    Drift,
    FieldChange,
    Work,
)
from ctrlplane_gitops.plan.classify import Look, Row, make_change
from ctrlplane_gitops.plan.correct import change_drift, explain_scale, find_drift, leave_drift
from ctrlplane_gitops.plan.drift import compare_live, rolled_replicas
from ctrlplane_gitops.plan.fields import explain_revision
from ctrlplane_gitops.plan.hold import SILENT, find_gap
from ctrlplane_gitops.plan.release import choose_release
from ctrlplane_gitops.plan.traffic import (
    find_router_gap,
    is_misrouted,
    is_routed,
    plan_misrouted,
)
from ctrlplane_gitops.rollout.preview import RolloutPreview, preview_rollout
from ctrlplane_gitops.rollout.view import find_wait
from ctrlplane_gitops.state.desired import DesiredInstance
from ctrlplane_gitops.state.recorded import RecordedInstance, RecordedResource, RolloutPhase
from ctrlplane_gitops.state.template import ReleaseState
from ctrlplane_gitops.value import replace


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
        or find_router_gap(look, instance.key, instance.routes)
        or look.policy.holds.get(instance.key),
        is_misrouted(look, instance, sets, target.release.number if target.release else None),
    )
    if case.is_seen and (look.is_lost or case.is_same_revision) and case.hold is None:
        return _adopt(case)
    return _decide(case)


def _adopt(case: Case) -> Decision:
    """Write down what runs. With the store lost nothing else is done in this pass; otherwise what
    is off is repaired at once."""
    look, commit, basis = case.look, case.look.header.commit, case.basis
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
            changes[0] = change_drift(case, None)
    if not look.is_lost and (drift or case.is_misrouted):
        work = _work(case, "drift", ())
    return Decision(tuple(changes), work, drift, records, (adopted,), releases)


def _decide(case: Case) -> Decision:
    """Rows, drift and work of an instance that is recorded or not there at all."""
    is_work = _is_work(case)
    if is_work and case.drift_hold is not None:
        return leave_drift(case, case.drift_hold)
    changes: list[Change] = []
    records: list[RecordedResource] = []
    commit = case.look.header.commit
    drift = find_drift(case) if is_work else ()
    if case.row is not None:
        hold = case.hold if is_work or case.row.recorded is None else None
        changes.append(_instance_change(case, hold))
        if hold is None:
            records.append(case.row.record(commit))
    elif drift:
        changes.append(change_drift(case, case.hold))
    elif is_work and not (case.is_rollout or case.is_under_way or case.is_as_wanted):
        changes.append(change_drift(case, case.hold, explain_scale(case)))
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
        return case.touches_scale
    return not case.is_as_wanted or case.is_misrouted


def _instance_change(case: Case, hold: Blocked | None) -> Change:
    assert case.row is not None
    action, reason = ChangeAction.UPDATE, "specs changed"
    if case.row.recorded is None:
        action, reason = ChangeAction.CREATE, "not there yet"
    elif case.touches("provider"):
        # Replicas are made there and removed here, and volumes do not move along.
        action = ChangeAction.REPLACE
        reason = f"moves to provider {case.instance.provider}"
        if case.instance.template and case.instance.template.volumes:
            reason += "; its volumes stay behind"
    return make_change(case.row, action, reason, blocked=hold, basis=case.basis)


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
            instance.params,
            rolled_replicas(instance, case.sets),
            target.active is not None,
            is_unrouted=is_unrouted,
        )
    is_new = row.recorded is None and target.active is None
    return make_change(
        row,
        ChangeAction.CREATE if is_new else ChangeAction.UPDATE,
        _deployment_reason(case),
        blocked=target.blocked or (case.hold if is_moving or is_work else None),
        extra=extra,
        basis=case.basis,
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
        update_resources=bool(case.live.limits) or case.is_limit_change,
        sweep=tuple(sorted({item.provider for item in case.sets} - {provider})),
        reason=reason,
        records=records,
        is_routed=is_routed(case.look, case.instance.key, case.instance.routes),
    )
