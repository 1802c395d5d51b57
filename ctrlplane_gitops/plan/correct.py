"""The drift of one instance: what is off without a commit, as the row that corrects it, or as what
is shown and left."""

from __future__ import annotations

from ctrlplane_gitops.plan.case import Case, Decision
from ctrlplane_gitops.plan.change import Blocked, Change, ChangeAction, Drift, FieldChange
from ctrlplane_gitops.plan.classify import make_change
from ctrlplane_gitops.plan.drift import find_quota
from ctrlplane_gitops.plan.traffic import plan_misrouted
from ctrlplane_gitops.value import replace


def find_drift(case: Case) -> tuple[Drift, ...]:
    """Drift is what is off without a commit, a rollout or a suspension explaining it."""
    if (
        case.hold is not None
        or case.is_rollout
        or case.is_under_way
        or case.is_tenant_changed
        or case.touches_scale
        or case.instance_row.recorded is None
        or case.is_as_wanted
    ):
        return ()
    fields, texts = case.live.fields(case.instance.replicas), case.live.texts
    return (Drift(case.instance.key, fields, ", ".join(texts), is_corrected=True),)


def change_drift(case: Case, hold: Blocked | None, reason: str = "drift") -> Change:
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
        basis=case.basis,
    )


def explain_scale(case: Case) -> str:
    tenant = case.instance.key.tenant
    if case.instance.is_suspended:
        return f"tenant {tenant} is suspended"
    if case.is_tenant_changed and any(find_quota(case.instance, item) for item in case.sets):
        return f"the quota of tenant {tenant} has changed"
    if case.is_tenant_changed and not case.live.count:
        return f"tenant {tenant} is no longer suspended"
    return "drift"


def leave_drift(case: Case, hold: Blocked) -> Decision:
    """Drift that is shown and left."""
    drift = find_drift(case)
    changes = [change_drift(case, hold)] if drift else []
    if case.is_as_wanted:
        release = case.target.release.number if case.target.release else None
        rows, drift = plan_misrouted(case.look, case.instance, case.sets, release)
        changes = [replace(row, blocked=hold) for row in rows]
    left = tuple(replace(item, is_corrected=False) for item in drift)
    return Decision(tuple(changes), drift=left, note=case.target.note)
