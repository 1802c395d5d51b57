"""What the page of one instance shows, from the read model. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from ctrlplane_gitops.api.picture import draw_shares, draw_stairs
from ctrlplane_gitops.auth.roles import Permission
from ctrlplane_gitops.state.desired import StrategyType
from ctrlplane_gitops.state.recorded import RolloutPhase
from ctrlplane_gitops.state.template import ReleaseState
from ctrlplane_gitops.status.row import (
    InstanceDetail,
    InstanceRow,
    ReleaseRow,
    ReplicaRow,
    ReplicaSetRow,
    RolloutRow,
    Share,
    StepRow,
)
from ctrlplane_gitops.units import format_duration

_MOVING = (RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK)
_NOTE_TONES = {"RolledBack": "warn", "Failed": "bad", "Pinned": "busy", "Ready": "bad"}


def show_detail(detail: InstanceDetail, may: Callable[[Permission], bool]) -> dict[str, Any]:
    """Everything of it but what is measured."""
    row = detail.summary
    stairs = _show_stairs(detail.rollout)
    return {
        "item": _show_head(detail),
        "rollout": _show_rollout(detail.rollout, may),
        "stairs": stairs,
        "stairs_text": _tell_steps(detail.rollout),
        "traffic": _show_traffic(row.traffic, row.release),
        "sets": [_show_set(item, row) for item in detail.replica_sets],
        "sets_nothing": (
            "Nobody has looked yet." if row.observed_at is None else "No replica is there."
        ),
        "facts": _show_facts(detail),
        "pin": detail.pin,
        "releases": [_show_release(item, row) for item in detail.releases],
        "may": {item.value: may(item) for item in Permission},
    }


def _show_head(detail: InstanceDetail) -> dict[str, Any]:
    row = detail.summary
    notes = [
        {"tone": _NOTE_TONES.get(item.type, "quiet"), "text": item.message}
        for item in row.conditions
        if item.message
        and item.type != "Progressing"
        and not (item.type == "Ready" and item.status == "True")
    ]
    return {
        "address": row.address,
        "tenant": row.tenant,
        "name": row.name,
        "phase": row.phase,
        "ready": row.replicas.ready,
        "desired": row.replicas.desired,
        "is_autoscaled": row.replicas.owner == "autoscaler",
        "release": row.release,
        "provider": row.provider,
        "strategy": detail.rollout.strategy,
        "resources": _show_resources(detail.spec),
        "observed_at": row.observed_at,
        "notes": notes,
    }


def _show_resources(spec: Mapping[str, Any]) -> str:
    limits: Mapping[str, Any] = spec.get("resources") or {}
    return ", ".join(f"{limits[name]} {name}" for name in ("cpu", "memory") if limits.get(name))


def _show_rollout(rollout: RolloutRow, may: Callable[[Permission], bool]) -> dict[str, Any] | None:
    if rollout.target is None and rollout.phase == RolloutPhase.IDLE:
        return None
    return {
        "phase": "paused" if rollout.is_paused else _phase_of(rollout),
        "started_at": rollout.started_at,
        "text": _tell_rollout(rollout),
        "actions": [item for item in _actions_of(rollout) if may(item["permission"])],
    }


def _phase_of(rollout: RolloutRow) -> str:
    is_over = rollout.phase == RolloutPhase.IDLE
    return "completed" if is_over else rollout.phase


def _tell_rollout(rollout: RolloutRow) -> str:
    target = "" if rollout.target is None else f"v{rollout.target}"
    came = "" if rollout.previous is None else f" from v{rollout.previous}"
    match rollout.phase:
        case RolloutPhase.IDLE:
            return f"To {target}{came}: done."
        case RolloutPhase.PROGRESSING:
            said = rollout.waits_for or rollout.message or "under way"
            return f"To {target}{came}: {said}"
        case _:
            return f"To {target}{came}: {rollout.message or 'under way'}"


def _actions_of(rollout: RolloutRow) -> list[dict[str, Any]]:
    if rollout.phase != RolloutPhase.PROGRESSING:
        return []
    held = (
        _action("resume", "Resume", Permission.RESUME, is_main=True)
        if rollout.is_paused
        else _action("pause", "Pause", Permission.PAUSE)
    )
    steps = [_action("promote", "Promote", Permission.PROMOTE, is_main=not rollout.is_paused)]
    is_stepped = rollout.strategy in (StrategyType.CANARY, StrategyType.BLUE_GREEN)
    back = _action("abort", "Abort", Permission.ABORT)
    back["ask"] = f"Abort the rollout to v{rollout.target} and return to the release before?"
    return [*(steps if is_stepped else []), held, back]


def _action(name: str, text: str, permission: Permission, is_main: bool = False) -> dict[str, Any]:
    return {"name": name, "text": text, "permission": permission, "ask": "", "is_main": is_main}


def _steps_of(rollout: RolloutRow) -> tuple[StepRow, ...]:
    """After the last step comes all of it."""
    steps = rollout.steps
    return (*steps, StepRow(100, 0.0)) if steps and steps[-1].weight < 100 else steps


def _show_stairs(rollout: RolloutRow) -> Sequence[Any]:
    steps = _steps_of(rollout)
    moving = rollout.phase == RolloutPhase.PROGRESSING
    is_over = rollout.phase == RolloutPhase.IDLE and rollout.target is not None
    current = rollout.step if moving else len(steps) if is_over else None
    return draw_stairs([(item.weight, _tell_stay(item)) for item in steps], current)


def _tell_stay(step: StepRow) -> str:
    """
    >>> _tell_stay(StepRow(10, None)), _tell_stay(StepRow(50, 120.0)), _tell_stay(StepRow(100, 0))
    ('until promote', '2m', '')
    """
    if step.pause_s is None:
        return "until promote"
    return format_duration(timedelta(seconds=step.pause_s)) if step.pause_s else ""


def _tell_steps(rollout: RolloutRow) -> str:
    """The same for who does not see the picture."""
    steps = [f"{item.weight}% {_tell_stay(item)}".strip() for item in _steps_of(rollout)]
    if rollout.phase == RolloutPhase.PROGRESSING:
        place = f"Step {min(rollout.step + 1, len(steps))} of {len(steps)}"
    else:
        place = f"{len(steps)} steps"
    return f"{place}: {', then '.join(steps)}"


def _show_traffic(shares: tuple[Share, ...] | None, active: int | None) -> dict[str, Any] | None:
    if not shares:
        return None
    tones = [_tone_of_share(item.release, active, len(shares)) for item in shares]
    shown = [
        {"label": f"v{item.release}", "percent": item.percent, "tone": tone}
        for item, tone in zip(shares, tones, strict=True)
    ]
    bars = draw_shares(
        (f"v{item.release}", item.percent, tone) for item, tone in zip(shares, tones, strict=True)
    )
    text = ", ".join(f"{item['label']} {item['percent']}%" for item in shown)
    return {"bars": bars, "shares": shown, "text": f"Requests: {text}"}


def _tone_of_share(release: int, active: int | None, count: int) -> str:
    if count == 1:
        return "ok"
    return "new" if active is not None and release > active else "old"


def _show_set(item: ReplicaSetRow, row: InstanceRow) -> dict[str, Any]:
    replicas = [_show_replica(replica) for replica in item.replicas]
    return {
        "release": item.release,
        "is_active": item.release == row.release,
        "revision": item.revision,
        "traffic": "" if item.percent is None else f"{item.percent}%",
        "ready": sum(replica["is_ready"] for replica in replicas),
        "replicas": replicas,
        "endpoints": [
            f"{end.port}: {end.url}" if end.port else end.url
            for replica in item.replicas
            for end in replica.endpoints
        ],
    }


def _show_replica(replica: ReplicaRow) -> dict[str, Any]:
    """Alive counts as ready where nobody probes it."""
    is_running = replica.phase == "running"
    is_ready = is_running and replica.is_ready is not False
    tone = "ok" if is_ready else "busy" if replica.phase in ("running", "starting") else "bad"
    said = "ready" if is_ready else replica.message or replica.phase
    if replica.exit_code is not None and not is_running:
        said = f"{said} (exit {replica.exit_code})"
    return {"name": replica.name, "is_ready": is_ready, "tone": tone, "said": said}


def _show_facts(detail: InstanceDetail) -> list[tuple[str, str, bool]]:
    """Title, text, and whether it is a machine's word."""
    active = next((item for item in detail.releases if item.is_active), None)
    deployment = detail.deployment or {}
    command = deployment.get("command") or ()
    runs = deployment.get("image") or " ".join(map(str, command)) or "nothing"
    facts = [("Git says", str(runs), True)]
    if active is not None:
        facts += [(f"Live {name}", text, True) for name, text in sorted(active.resolved.items())]
    facts += [
        (f"Route {route.name}", ", ".join(f"{host}{route.path}" for host in route.hosts), True)
        for route in detail.routes
    ]
    for name, title in (("dependsOn", "Depends on"), ("secrets", "Secrets")):
        found: Iterable[Any] = detail.spec.get(name) or ()
        if found:
            facts.append((title, ", ".join(map(str, found)), False))
    checks = detail.spec.get("health") or ()
    if checks:
        facts.append(("Checks", ", ".join(str(item.get("name", "")) for item in checks), False))
    if detail.origin:
        facts.append(("Written in", detail.origin, True))
    return facts


def _show_release(item: ReleaseRow, row: InstanceRow) -> dict[str, Any]:
    may_return = not item.is_active and item.state in (ReleaseState.SUPERSEDED, ReleaseState.ACTIVE)
    return {
        "release": item.release,
        "state": item.state,
        "created_at": item.created_at,
        "commit": item.commit,
        "runs": item.image or " ".join(item.command) or "nothing",
        "reason": item.reason,
        "may_return": may_return,
    }
