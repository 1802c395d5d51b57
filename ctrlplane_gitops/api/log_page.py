"""What the pages of logs, workers, commits and the plan show. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ctrlplane_gitops.plan.render import sign_of
from ctrlplane_gitops.state.delivery import DeliveryRecord
from ctrlplane_gitops.status.row import AuditRow, WorkerRow

_TONES = {
    "+": "add", "~": "change", "-": "remove", "-/+": "remove", "!": "remove", "=": "adopt",
}  # fmt: skip


def show_plan_line(line: str) -> dict[str, str]:
    """A line of ``plan``'s own text, with how it is coloured.

    >>> show_plan_line('      + image = "shop:2"')["tone"], show_plan_line("Plan: 1 to add")["tone"]
    ('add', 'title')
    """
    sign = sign_of(line)
    tone = _TONES.get(sign, "")
    if sign == "#":
        tone = "title" if line.startswith("  # ") and not line.startswith("  # (") else "soft"
    elif sign == "title":
        tone = "title"
    return {"text": line, "tone": tone}


def show_worker(row: WorkerRow) -> dict[str, Any]:
    state = "overdue" if row.is_overdue else "running" if row.is_running else "ok"
    if row.last_error and not row.is_running:
        state = "failed"
    elif state == "ok" and row.last_run_at is None:
        state = "waiting"
    return {
        "name": row.name,
        "interval_s": row.interval_s,
        "state": state,
        "last_error": row.last_error or "",
        "last_run_at": row.last_run_at,
        "last_duration_s": row.last_duration_s,
        "next_at": row.next_at,
        "runs": row.runs,
        "errors": row.errors,
    }


def show_delivery(record: DeliveryRecord) -> dict[str, Any]:
    counted = f"{record.count} times: " if record.count > 1 else ""
    said = record.message or record.reason.replace("-", " ")
    return {
        "at": record.ended_at if record.count > 1 and record.ended_at else record.at,
        "sender": record.sender,
        "outcome": record.outcome.value,
        "commit": record.commit or record.announced,
        "ref": record.ref.removeprefix("refs/heads/"),
        "text": f"{counted}{said}".removesuffix(": ") if said or counted else "",
        "id": record.given_id,
    }


def group_commits(
    entries: Iterable[AuditRow], current: str, deliveries: Iterable[DeliveryRecord] = ()
) -> list[dict[str, Any]]:
    """What each commit did, from the audit newest first, and those of deliveries that led to
    nothing; the newest commit first."""
    found: dict[str, list[AuditRow]] = {}
    for entry in entries:
        if entry.commit:
            found.setdefault(entry.commit, []).append(entry)
    shown = {commit: _show_commit(commit, rows, current) for commit, rows in found.items()}
    for record in deliveries:
        if record.commit and record.commit not in shown:
            shown[record.commit] = _show_idle(record, current)
    return sorted(shown.values(), key=lambda item: item["at"], reverse=True)


def _show_idle(record: DeliveryRecord, current: str) -> dict[str, Any]:
    return {
        "at": record.ended_at or record.at,
        "commit": record.commit,
        "state": record.outcome.value,
        "is_current": record.commit == current,
        "text": record.message or "nothing was changed",
    }


def show_unknown(commit: str) -> dict[str, Any]:
    """A commit that is in force and of which nothing is recorded."""
    return {"commit": commit, "state": "unchanged", "is_current": True}


def _show_commit(commit: str, rows: Sequence[AuditRow], current: str) -> dict[str, Any]:
    failed = [row for row in rows if row.outcome.startswith(("failed", "rolledBack"))]
    tenants = sorted({row.tenant for row in rows if row.tenant})
    deeds = f"{len(rows)} change{'s' if len(rows) != 1 else ''}"
    whose = ", ".join(tenants[:3]) + (f" and {len(tenants) - 3} more" if len(tenants) > 3 else "")
    text = f"{deeds} for {whose}" if whose else deeds
    if failed:
        text += f"; {failed[0].address}: {failed[0].outcome}"
    return {
        "at": rows[0].at,
        "commit": commit,
        "state": "failed" if failed else "applied",
        "is_current": commit == current,
        "text": text,
    }


def show_entry(row: AuditRow) -> dict[str, Any]:
    """An outcome begins with a word for how it went, and may go on."""
    word, _, rest = row.outcome.partition(" ")
    if row.outcome == "not done":
        word, rest = "not done", ""
    return {
        "at": row.at,
        "actor": row.actor,
        "action": row.action,
        "address": row.address,
        "commit": row.commit,
        "outcome": word.rstrip(":") or "unknown",
        "text": rest,
    }
