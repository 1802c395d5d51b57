"""Rows of instances, and everything about one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ctrlplane_gitops.rollout.view import find_wait
from ctrlplane_gitops.state.desired import DesiredInstance, RolloutParams, StrategyType
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import (
    Endpoint,
    ObservedReplica,
    ObservedReplicaSet,
    ReplicaPhase,
)
from ctrlplane_gitops.state.recorded import (
    Order,
    RecordedInstance,
    RecordedState,
    RolloutPhase,
    RolloutStatus,
)
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.status.live import Live
from ctrlplane_gitops.status.render import url_of
from ctrlplane_gitops.status.row import (
    EndpointRow,
    InstanceRow,
    ReleaseRow,
    ReplicaRow,
    Replicas,
    ReplicaSetRow,
    RolloutRow,
    Share,
    StepRow,
)
from ctrlplane_gitops.status.view import InstancePhase, InstanceStatus

_Shares = tuple[tuple[int, int], ...] | None


def instance_row(
    key: ResourceKey, desired: DesiredInstance | None, live: Live | None
) -> InstanceRow:
    """What was seen last; of what has not been looked at yet only what Git says."""
    status = live.instances.get(key) if live else None
    return InstanceRow(
        address=key.address,
        tenant=key.tenant,
        name=key.name,
        labels=labels_of(desired.resource.attributes) if desired else {},
        provider=provider_of(status, desired),
        phase=(status.phase if status else InstancePhase.UNKNOWN).value,
        release=status.release if status else None,
        revision=status.revision if status else None,
        replicas=_replicas_of(status, desired),
        traffic=shares_of(status.traffic if status else None),
        endpoints=endpoint_rows(status.endpoints if status else ()),
        conditions=status.conditions if status else (),
        observed_at=live.at if status and live else None,
    )


def provider_of(status: InstanceStatus | None, desired: DesiredInstance | None) -> str:
    return (status.provider if status else "") or (desired.provider if desired else "")


def _replicas_of(status: InstanceStatus | None, desired: DesiredInstance | None) -> Replicas:
    if status is not None:
        return Replicas(status.desired, status.ready, _owner_of(status.is_autoscaled))
    if desired is None:
        return Replicas(0, 0)
    return Replicas(desired.replicas, 0, _owner_of(desired.is_autoscaled))


def _owner_of(is_autoscaled: bool) -> str:
    return "autoscaler" if is_autoscaled else "specs"


def labels_of(attributes: Mapping[str, Any]) -> Mapping[str, str]:
    found: Mapping[str, str] = attributes.get("labels") or {}
    return found


def shares_of(shares: _Shares) -> tuple[Share, ...] | None:
    return None if shares is None else tuple(Share(*item) for item in shares)


def endpoint_rows(endpoints: Iterable[Endpoint]) -> tuple[EndpointRow, ...]:
    return tuple(EndpointRow(item.port, url_of(item)) for item in endpoints)


def rollout_row(
    known: RecordedInstance | None,
    order: Order | None,
    params: RolloutParams | None,
    traffic: tuple[Share, ...] | None,
) -> RolloutRow:
    """Where the rollout stands as it is recorded. An order about another release says nothing."""
    status = known.rollout if known else RolloutStatus()
    if order is not None and order.target != status.target:
        order = None
    is_moving = status.phase is RolloutPhase.PROGRESSING
    return RolloutRow(
        phase=status.phase.value,
        strategy=params.type.value if params else "",
        target=status.target,
        previous=status.previous,
        started_at=status.started_at,
        step=status.step,
        step_at=status.step_at,
        steps=_steps_of(params),
        traffic=traffic,
        is_paused=bool(is_moving and order and order.is_paused),
        waits_for=find_wait(status, order),
        message=status.message,
    )


def _steps_of(params: RolloutParams | None) -> tuple[StepRow, ...]:
    if params is None or params.type is not StrategyType.CANARY:
        return ()
    return tuple(
        StepRow(item.weight, None if item.pause is None else item.pause.total_seconds())
        for item in params.canary_steps
    )


def replica_set_rows(key: ResourceKey, live: Live | None) -> tuple[ReplicaSetRow, ...]:
    """As they were seen last, sorted by release."""
    if live is None:
        return ()
    status = live.instances.get(key)
    shares = dict(status.traffic) if status and status.traffic is not None else None
    return tuple(
        ReplicaSetRow(
            item.release,
            item.revision,
            item.provider,
            None if shares is None else shares.get(item.release, 0),
            tuple(_replica_row(item, replica, live) for replica in item.replicas),
        )
        for item in live.sets.get(key, ())
    )


def _replica_row(owner: ObservedReplicaSet, replica: ObservedReplica, live: Live) -> ReplicaRow:
    verdict = live.verdicts.get((owner.provider, replica.id, replica.started_at))
    is_running = replica.phase is ReplicaPhase.RUNNING
    message = verdict.message if verdict and not verdict.is_ready else replica.reason
    return ReplicaRow(
        name=replica.name,
        index=replica.index,
        phase=replica.phase.value,
        is_ready=verdict.is_ready if verdict and is_running else None,
        started_at=replica.started_at,
        exit_code=replica.exit_code,
        message=message,
        endpoints=endpoint_rows(replica.endpoints),
    )


def release_row(item: Release, known: RecordedInstance | None) -> ReleaseRow:
    key, template = item.instance, item.template
    return ReleaseRow(
        address=key.address,
        tenant=key.tenant,
        instance=key.name,
        release=item.number,
        state=item.state.value,
        is_active=known is not None and known.release == item.number,
        is_pinned=known is not None and known.pin == item.number,
        revision=item.revision,
        commit=item.commit,
        created_at=item.created_at,
        provider=template.provider,
        image=template.image,
        command=template.command,
        resolved=dict(item.resolved),
        reason=item.reason,
    )


def release_rows(key: ResourceKey, recorded: RecordedState) -> tuple[ReleaseRow, ...]:
    """The newest first."""
    known = recorded.instances.get(key)
    found = recorded.releases.get(key, ())
    return tuple(release_row(item, known) for item in reversed(found))
