"""The types of events and how one is made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from ctrlplane_gitops.ids import IdPrefix, new_id
from ctrlplane_gitops.state.recorded import Event


class EventType(StrEnum):
    """What can happen. The README lists every one."""

    APPLY_STARTED = "apply.started"
    APPLY_ENDED = "apply.ended"
    INSTANCE_ADOPTED = "instance.adopted"
    INSTANCE_REMOVED = "instance.removed"
    INSTANCE_REPAIRED = "instance.repaired"
    INSTANCE_QUARANTINED = "instance.quarantined"
    INSTANCE_RELEASED = "instance.released"
    DRIFT_DETECTED = "drift.detected"
    DRIFT_RESOLVED = "drift.resolved"
    RELEASE_PREPARED = "release.prepared"
    REPLICAS_SCALED = "replicas.scaled"
    RESOURCES_UPDATED = "resources.updated"
    ROLLOUT_STARTED = "rollout.started"
    ROLLOUT_COMPLETED = "rollout.completed"
    ROLLOUT_FAILED = "rollout.failed"
    ROLLOUT_ROLLED_BACK = "rollout.rolledBack"
    ROLLOUT_PAUSED = "rollout.paused"
    ROLLOUT_RESUMED = "rollout.resumed"
    ROLLOUT_PROMOTED = "rollout.promoted"
    ROLLOUT_ABORTED = "rollout.aborted"
    ROUTER_STARTED = "router.started"
    TRAFFIC_SHIFTED = "traffic.shifted"
    RELEASE_PINNED = "release.pinned"
    RELEASE_UNPINNED = "release.unpinned"
    TENANT_REMOVED = "tenant.removed"
    CERTIFICATE_ISSUED = "certificate.issued"
    CERTIFICATE_RENEWED = "certificate.renewed"
    CERTIFICATE_EXPIRING = "certificate.expiring"
    ACTION_FAILED = "action.failed"
    WORK_SKIPPED = "work.skipped"
    HEALTH_PASSED = "health.passed"
    HEALTH_FAILED = "health.failed"
    HEALTH_DEGRADED = "health.degraded"
    HEALTH_RECOVERED = "health.recovered"


def make_event(
    type: EventType,
    at: datetime,
    address: str,
    message: str,
    data: Mapping[str, str] | None = None,
) -> Event:
    """An event with a fresh id. ``message`` is one sentence and carries no secret value."""
    return Event(new_id(IdPrefix.EVENT, at), at, type.value, address, message, dict(data or {}))
