"""How instances are, for whoever reads it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from ctrlplane_gitops.clock import rfc3339
from ctrlplane_gitops.health.tally import Probed, Tally
from ctrlplane_gitops.health.uptime import span_as_json, uptime_as_json
from ctrlplane_gitops.state.health import WHOLE, Health, HealthSpan
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.value import struct

# Whoever looks says so every half minute.
_FRESH = timedelta(minutes=2)


@struct
class CheckHealth:
    """One check of one replica. ``since`` is when it last turned, ``at`` the last result's time,
    ``failures`` are those in a row; ``message`` is what the last result said."""

    name: str
    health: Health
    since: datetime | None = None
    at: datetime | None = None
    failures: int = 0
    message: str = ""


@struct
class ReplicaHealth:
    name: str
    health: Health
    checks: tuple[CheckHealth, ...] = ()


@struct
class InstanceHealth:
    """``healthy`` of ``wanted`` replicas when it last turned; ``checks`` are the verdicts on each
    check. ``unknown`` since None: nobody has verified it. ``replicas`` are those that are followed
    by this process."""

    key: ResourceKey
    health: Health
    since: datetime | None = None
    healthy: int = 0
    wanted: int = 0
    message: str = ""
    checks: tuple[HealthSpan, ...] = ()
    replicas: tuple[ReplicaHealth, ...] = ()


def view_tally(tally: Tally) -> InstanceHealth:
    """As the one who probes it has it."""
    replicas = tuple(
        ReplicaHealth(replica.name, _word(is_healthy), tuple(map(_view_check, checks)))
        for replica, is_healthy, checks in tally.replicas
    )
    return _view(tally.key, list(tally.spans.values()), tally.wanted, replicas)


def view_spans(
    key: ResourceKey, spans: Collection[HealthSpan], seen_at: datetime | None, now: datetime
) -> InstanceHealth:
    """As the store has it, if somebody has looked lately. Of one instance."""
    is_fresh = seen_at is not None and now - seen_at <= _FRESH
    return _view(key, [item for item in spans if item.ended_at is None] if is_fresh else [])


def _view(
    key: ResourceKey,
    held: list[HealthSpan],
    wanted: int = 0,
    replicas: tuple[ReplicaHealth, ...] = (),
) -> InstanceHealth:
    checks = tuple(sorted((it for it in held if it.check != WHOLE), key=lambda it: it.check))
    whole = next((item for item in held if item.check == WHOLE), None)
    if whole is None:
        return InstanceHealth(key, Health.UNKNOWN, None, 0, wanted, "", checks, replicas)
    return InstanceHealth(
        key, whole.health, whole.began_at, whole.healthy, wanted or whole.replicas,
        whole.message, checks, replicas,
    )  # fmt: skip


def _view_check(item: Probed) -> CheckHealth:
    state = item.state
    if state is None:
        return CheckHealth(item.check.name, Health.UNKNOWN)
    return CheckHealth(
        item.check.name,
        _word(state.is_healthy),
        state.since,
        state.at,
        state.failures,
        state.message,
    )


def _word(is_healthy: bool | None) -> Health:
    if is_healthy is None:
        return Health.UNKNOWN
    return Health.HEALTHY if is_healthy else Health.UNHEALTHY


def health_as_json(view: InstanceHealth) -> dict[str, Any]:
    """Times are RFC 3339; null where something is not known."""
    return {
        "address": view.key.address,
        "tenant": view.key.tenant,
        "instance": view.key.name,
        "health": view.health.value,
        "since": _shown(view.since),
        "healthy": view.healthy,
        "replicas": view.wanted,
        "message": view.message,
        "checks": [
            {"name": item.check, "health": item.health.value, "since": rfc3339(item.began_at),
             "message": item.message}
            for item in view.checks
        ],
        "replica_checks": [
            {
                "replica": replica.name,
                "health": replica.health.value,
                "checks": [_check_as_json(check) for check in replica.checks],
            }
            for replica in view.replicas
        ],
    }  # fmt: skip


def _check_as_json(check: CheckHealth) -> dict[str, Any]:
    return {
        "name": check.name,
        "health": check.health.value,
        "since": _shown(check.since),
        "checked_at": _shown(check.at),
        "failures": check.failures,
        "message": check.message,
    }


def history_as_json(
    view: InstanceHealth, spans: Collection[HealthSpan], seen_at: datetime | None, now: datetime
) -> dict[str, Any]:
    """The health of one instance with its uptime and what held before, newest first."""
    return {
        **health_as_json(view),
        "uptime": uptime_as_json(spans, seen_at, now),
        "history": [span_as_json(item) for item in reversed(list(spans))],
    }


def _shown(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)
