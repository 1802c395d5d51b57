"""A plan as JSON in the shape of ``terraform show -json``, so that policy tools work unchanged."""

from __future__ import annotations

import json
from typing import Any

from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.plan.change import (
    ABSENT,
    Autoscaled,
    Blocked,
    Change,
    ChangeAction,
    Drift,
    FieldChange,
    Plan,
    PlanHeader,
)
from ctrlplane_gitops.plan.fields import mask_spec

FORMAT_VERSION = "1.0"

_ACTIONS = {
    ChangeAction.CREATE: ["create"],
    ChangeAction.UPDATE: ["update"],
    ChangeAction.REPLACE: ["delete", "create"],
    ChangeAction.DELETE: ["delete"],
    ChangeAction.ADOPT: ["no-op"],
    ChangeAction.KEEP: ["no-op"],
}


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """JSON values only. A blocked row has the action ``no-op`` and says in ``blocked`` what would
    have been done; an adopted one carries ``importing`` as Terraform's imports do."""
    add, change, destroy = plan.counts
    return {
        "format_version": FORMAT_VERSION,
        "header": header_as_json(plan.header),
        "resource_changes": [_change(item) for item in plan.changes],
        "resource_drift": [_drift(item) for item in plan.drift],
        "autoscaled": [_autoscaled(item) for item in plan.autoscaled],
        "diagnostics": [_diagnostic(item) for item in plan.diagnostics],
        "refusals": [_blocked(item) for item in plan.refusals],
        "gaps": [{"provider": item.provider, "reason": item.reason} for item in plan.gaps],
        "summary": {
            "add": add,
            "change": change,
            "destroy": destroy,
            "adopt": plan.adopted,
            "unchanged": plan.unchanged,
            "blocked": len(plan.blocked),
            "is_empty": plan.is_empty,
        },
    }


def render_json(plan: Plan) -> str:
    """The JSON text, stable between runs; ends with a newline."""
    return json.dumps(plan_as_json(plan), indent=2, sort_keys=True) + "\n"


def header_as_json(header: PlanHeader) -> dict[str, Any]:
    return {
        "plane": header.plane,
        "commit": header.commit,
        "ref": header.ref,
        "is_dirty": header.is_dirty,
        "read_count": header.read_count,
        "is_destroy": header.is_destroy,
    }


def _read_spec(text: str | None) -> Any:
    return None if text is None else mask_spec(json.loads(text))


def _change(item: Change) -> dict[str, Any]:
    change: dict[str, Any] = {
        "actions": ["no-op"] if item.blocked else _ACTIONS[item.action],
        "before": _read_spec(item.before_json),
        "after": None if item.action is ChangeAction.DELETE else _read_spec(item.after_json),
    }
    if item.action is ChangeAction.ADOPT:
        change["importing"] = {"id": item.key.address}
    found: dict[str, Any] = {
        "address": item.key.address,
        "type": str(item.key.kind),
        "name": item.key.name,
        "tenant": item.key.tenant,
        "change": change,
        "action_reason": item.reason,
        "fields": [_field(field) for field in item.fields],
    }
    if item.origin is not None:
        found["origin"] = str(item.origin)
    if item.rollout is not None:
        found["rollout"] = {
            "strategy": item.strategy,
            "text": item.rollout.text,
            "most_replicas": item.rollout.most_replicas,
            "fewest_ready": item.rollout.fewest_ready,
            "has_downtime": item.rollout.has_downtime,
            "is_unrouted": item.rollout.is_unrouted,
            "steps": list(item.rollout.steps),
        }
    if item.blocked is not None:
        found["blocked"] = {**_blocked(item.blocked), "actions": _ACTIONS[item.action]}
    return found


def _drift(item: Drift) -> dict[str, Any]:
    return {
        "address": item.key.address,
        "type": str(item.key.kind),
        "name": item.key.name,
        "tenant": item.key.tenant,
        "change": {
            "actions": ["update"],
            "before": {".".join(field.path): _value(field.before) for field in item.fields},
            "after": {".".join(field.path): _value(field.after) for field in item.fields},
        },
        "text": item.text,
        "is_corrected": item.is_corrected,
    }


def _autoscaled(item: Autoscaled) -> dict[str, Any]:
    return {"address": item.key.address, "replicas": item.replicas, "decided_by": item.by}


def _field(item: FieldChange) -> dict[str, Any]:
    found: dict[str, Any] = {"path": list(item.path)}
    if item.before is not ABSENT:
        found["before"] = item.before
    if item.after is not ABSENT:
        found["after"] = item.after
    return found


def _value(value: Any) -> Any:
    return None if value is ABSENT else value


def _blocked(item: Blocked) -> dict[str, str]:
    return {"code": item.code, "reason": item.reason, "hint": item.hint}


def _diagnostic(item: Diagnostic) -> dict[str, Any]:
    return {
        "severity": str(item.severity),
        "code": item.code,
        "summary": item.summary,
        "detail": item.hint,
        "address": item.address,
        "origin": str(item.origin) if item.origin else "",
    }
