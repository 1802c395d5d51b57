"""What the pages of the fleet and of tenants show, from rows of the read model. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ctrlplane_gitops.api.picture import draw_map
from ctrlplane_gitops.api.wording import percent, short_bytes, short_cpu, tone_of
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.status.row import InstanceRow, Share, TenantRow, Use
from ctrlplane_gitops.status.view import InstancePhase
from ctrlplane_gitops.value import struct

# Worst news first, as ``InstancePhase`` has them but for what is only on its way.
_RANKS = {
    phase.value: rank
    for rank, phase in enumerate(
        (
            InstancePhase.DOWN,
            InstancePhase.FAILED,
            InstancePhase.UNKNOWN,
            InstancePhase.DEGRADED,
            InstancePhase.ROLLED_BACK,
            InstancePhase.ROLLING_BACK,
            InstancePhase.PROGRESSING,
            InstancePhase.PENDING,
            InstancePhase.SUSPENDED,
            InstancePhase.STOPPED,
            InstancePhase.IDLE,
            InstancePhase.RUNNING,
        )
    )
}
_MAPPED = 5000
PER_PAGE = 25

Phases = Sequence[tuple[ResourceKey, str]]
"""Every instance with its phase, sorted by address."""


@struct
class Search:
    """What a list is narrowed to: ``query`` is a part of ``tenant/name``, ``number`` the page."""

    query: str = ""
    phase: str = ""
    number: int = 1


def rank_of(phase: str) -> int:
    return _RANKS.get(phase, len(_RANKS))


def find_keys(phases: Phases, search: Search) -> list[ResourceKey]:
    """Those that are asked for, worst news first."""
    query = search.query.lower()
    found = [
        (rank_of(phase), key)
        for key, phase in phases
        if search.phase in ("", phase) and query in f"{key.tenant}/{key.name}"
    ]
    return [key for _, key in sorted(found, key=lambda item: item[0])]


def cut_page(items: Sequence[Any], number: int) -> Sequence[Any]:
    """
    >>> cut_page(range(60), 3)
    range(50, 60)
    """
    first = (number - 1) * PER_PAGE
    return items[first : first + PER_PAGE]


def show_tally(phases: Phases) -> list[dict[str, Any]]:
    """How many there are of each phase, worst news first."""
    counts = Counter(phase for _, phase in phases)
    return [{"phase": name, "count": counts[name]} for name in sorted(counts, key=rank_of)]


def show_map(phases: Phases) -> dict[str, Any] | None:
    """Every instance as a cell, in the order of addresses, so that each keeps its place; None
    where they are too few or too many to be worth it."""
    if not 12 <= len(phases) <= _MAPPED:
        return None
    columns = min(100, max(40, len(phases) // 10))
    paths, rows = draw_map([tone_of(phase) for _, phase in phases], columns)
    return {"paths": paths, "width": columns * 12 - 2, "height": rows * 12 - 2}


def show_instance(row: InstanceRow) -> dict[str, Any]:
    """One line of a list."""
    return {
        "tenant": row.tenant,
        "name": row.name,
        "phase": row.phase,
        "ready": row.replicas.ready,
        "desired": row.replicas.desired,
        "is_autoscaled": row.replicas.owner == "autoscaler",
        "release": row.release,
        "provider": row.provider,
        "traffic": show_shares(row.traffic),
        "message": _worst_message(row),
    }


def _worst_message(row: InstanceRow) -> str:
    """What is worth a line, as ``status`` prints it."""
    said = [
        item.message
        for item in row.conditions
        if item.message and not (item.type == "Ready" and item.status == "True")
    ]
    return "; ".join(said)


def show_shares(shares: Iterable[Share] | None) -> str:
    """
    >>> show_shares([Share(1, 90), Share(2, 10)]), show_shares([]), show_shares(None)
    ('v1 90%, v2 10%', 'nobody', '-')
    """
    if shares is None:
        return "-"
    return ", ".join(f"v{item.release} {item.percent}%" for item in shares) or "nobody"


def show_tenant_line(row: TenantRow) -> dict[str, Any]:
    """One line of the list of tenants."""
    worst = min(row.phases, key=rank_of, default="")
    limited = [(item["share"], item) for item in show_quota(row) if item["limit"] is not None]
    fullest = max(limited, key=lambda item: item[0], default=(0.0, None))[1]
    text = ""
    if fullest is not None:
        share = percent(round(fullest["share"], 2))
        text = f"{fullest['name']} {fullest['used']} of {fullest['limit']} ({share})"
    return {
        "name": row.name,
        "display_name": row.display_name,
        "instances": sum(row.phases.values()),
        "worst": worst,
        "is_suspended": row.is_suspended,
        "is_frozen": bool(row.frozen),
        "fullest": text,
    }


def show_quota(row: TenantRow) -> list[dict[str, Any]]:
    """What its specs add up to beside its quota, each with its share of it."""
    quota = row.quota
    return [
        _show_use("instances", quota.instances, str),
        _show_use("cpu", quota.cpu_millicores, short_cpu),
        _show_use("memory", quota.memory_bytes, short_bytes),
        _show_use("disk", quota.disk_bytes, short_bytes),
        _show_use("domains", quota.domains, str),
        _show_use("secrets", quota.secrets, str),
    ]


def _show_use(name: str, use: Use, show: Any) -> dict[str, Any]:
    share = 0.0 if not use.limit else min(1.0, use.used / use.limit)
    if use.limit == 0 and use.used:
        share = 1.0
    limit = None if use.limit is None else show(use.limit)
    tone = "bad" if share > 0.95 else "warn" if share > 0.8 else "ok"
    text = f"{name}: {show(use.used)}" + ("" if limit is None else f" of {limit}")
    return {
        "name": name, "used": show(use.used), "limit": limit, "share": share,
        "tone": tone, "text": text,
    }  # fmt: skip


def show_labels(labels: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(labels.items()))
