"""What is, per instance: desired, recorded and observed in one document. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from ctrlplane_gitops.plan.drift import wanted_replicas
from ctrlplane_gitops.rollout.routing import read_step
from ctrlplane_gitops.rollout.view import find_wait
from ctrlplane_gitops.state.desired import DesiredInstance, DesiredState, read_replicas
from ctrlplane_gitops.state.key import Kind, ResourceKey, tenant_key
from ctrlplane_gitops.state.observed import (
    Endpoint,
    ObservedReplica,
    ObservedReplicaSet,
    ObservedState,
    ReplicaPhase,
    Verdict,
)
from ctrlplane_gitops.state.recorded import (
    Order,
    RecordedInstance,
    RecordedState,
    RolloutPhase,
    RolloutStatus,
)
from ctrlplane_gitops.state.template import Release, ReleaseState
from ctrlplane_gitops.state.traffic import RouterState
from ctrlplane_gitops.status.certificate import CertificateStatus, Ends, find_certificates
from ctrlplane_gitops.value import replace, struct

VerdictOf = Mapping[tuple[str, str, datetime | None], Verdict]


class InstancePhase(StrEnum):
    """One word for an instance, worst news first."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    PROGRESSING = "progressing"
    ROLLING_BACK = "rollingBack"
    FAILED = "failed"
    IDLE = "idle"
    SUSPENDED = "suspended"
    STOPPED = "stopped"
    DOWN = "down"
    DEGRADED = "degraded"
    ROLLED_BACK = "rolledBack"
    RUNNING = "running"


@struct
class Condition:
    """After Kubernetes: ``status`` is ``True``, ``False`` or ``Unknown``."""

    type: str
    status: str
    reason: str
    message: str


@struct
class InstanceStatus:
    """``desired`` and ``ready`` count replicas; ``release`` and ``revision`` are the active
    release's, None before the first. ``endpoints`` are those of ready replicas. ``traffic`` is the
    share of the requests by release in percent, as the router has it; None where no route leads to
    the instance or the router does not say. ``certificates`` are those that its routes show.
    ``is_autoscaled``: somebody else decides how many replicas there are: ``desired``."""

    key: ResourceKey
    provider: str
    phase: InstancePhase
    release: int | None
    revision: str | None
    desired: int
    ready: int
    endpoints: tuple[Endpoint, ...]
    conditions: tuple[Condition, ...]
    traffic: tuple[tuple[int, int], ...] | None = None
    certificates: tuple[CertificateStatus, ...] = ()
    is_autoscaled: bool = False


@struct
class StatusDocument:
    """Everything ``status`` shows."""

    plane: str
    commit: str
    instances: tuple[InstanceStatus, ...]


@struct
class _Facts:
    key: ResourceKey
    known: RecordedInstance | None
    sets: tuple[ObservedReplicaSet, ...]
    provider: str
    wanted: int
    is_suspended: bool
    has_deployment: bool
    gap: str
    verdicts: VerdictOf
    releases: tuple[Release, ...]
    revision: str | None
    traffic: tuple[tuple[int, int], ...] | None
    order: Order | None = None
    is_autoscaled: bool = False

    @property
    def active(self) -> Release | None:
        return next((item for item in self.releases if item.number == self.release), None)

    @property
    def failure(self) -> str:
        """Why the wanted release is not live and an earlier one is; "" when that is not so.

        The newest release says it, not the rollout's status: a repair of the old release begins
        a rollout of its own. Once Git wants what is live, the failure is history."""
        active = self.active
        if active is None or active.revision == self.revision:
            return ""
        newest = self.releases[-1]
        if newest.state is ReleaseState.FAILED and newest.number > active.number:
            return newest.reason or f"{newest.label} failed"
        if self.status.phase is RolloutPhase.ROLLED_BACK:
            return self.status.message
        return ""

    @property
    def status(self) -> RolloutStatus:
        return self.known.rollout if self.known else RolloutStatus()

    @property
    def release(self) -> int | None:
        return self.known.release if self.known else None

    @property
    def ready(self) -> list[tuple[ObservedReplicaSet, ObservedReplica]]:
        """Ready replicas of whichever release serves."""
        return [
            (item, replica)
            for item in self.sets
            for replica in item.replicas
            if replica.phase is ReplicaPhase.RUNNING and self._is_ready(item.provider, replica)
        ]

    def _is_ready(self, provider: str, replica: ObservedReplica) -> bool:
        """Alive counts as ready where no check says otherwise."""
        verdict = self.verdicts.get((provider, replica.id, replica.started_at))
        return verdict is None or verdict.is_ready


def build_status(
    plane: str,
    commit: str,
    desired: DesiredState | None,
    recorded: RecordedState,
    observed: ObservedState,
    verdicts: VerdictOf,
    ends: Ends | None = None,
) -> StatusDocument:
    """The status of every instance that is desired, recorded or observed, sorted by address.
    ``desired`` None: Git cannot be read, so the record says what is wanted. ``ends`` are those of
    the certificates of secrets, as far as they are known."""
    by_instance = observed.by_instance()
    shares = _shares_of(observed.router)
    keys = {key for key in recorded.resources if key.kind is Kind.INSTANCE}
    keys |= recorded.instances.keys() | by_instance.keys()
    if desired is not None:
        keys |= desired.instances.keys()
    instances = []
    for key in sorted(keys):
        sets = by_instance.get(key, ())
        facts = _gather(key, desired, recorded, observed, sets, verdicts, shares.get(key))
        wanted = desired.instances.get(key) if desired else None
        certificates = find_certificates(wanted, recorded, ends or {})
        instances.append(replace(_build_instance(facts), certificates=certificates))
    return StatusDocument(plane, commit, tuple(instances))


def share_same(before: StatusDocument, after: StatusDocument) -> StatusDocument:
    """``after``, with the rows of ``before`` where they are equal: most stay as they are for days,
    and what is kept for long should not be made again and again."""
    known = {item.key: item for item in before.instances}
    rows = [
        earlier if (earlier := known.get(item.key)) == item and earlier is not None else item
        for item in after.instances
    ]
    return replace(after, instances=tuple(rows))


def _gather(
    key: ResourceKey,
    desired: DesiredState | None,
    recorded: RecordedState,
    observed: ObservedState,
    sets: tuple[ObservedReplicaSet, ...],
    verdicts: VerdictOf,
    traffic: tuple[tuple[int, int], ...] | None,
) -> _Facts:
    known = recorded.instances.get(key)
    wanted = desired.instances.get(key) if desired else None
    resource = recorded.resources.get(key)
    # Of most nothing has to be looked up in what is recorded.
    is_asked = resource is not None and (known is None or wanted is None)
    attributes = resource.attributes if resource and is_asked else {}
    provider = known.provider if known else str(attributes.get("provider") or "")
    if wanted is not None:
        is_suspended, replicas = wanted.is_suspended, _count_wanted(wanted, known, sets)
        is_autoscaled = wanted.is_autoscaled
        provider = provider or wanted.provider
        has_deployment = wanted.template is not None
    else:
        tenant = recorded.resources.get(tenant_key(key.tenant))
        is_suspended = bool(tenant and tenant.attributes.get("suspended"))
        replicas, is_autoscaled = read_replicas(attributes.get("replicas") or 0)
        replicas = 0 if is_suspended else replicas
        has_deployment = known is not None
    provider = provider or (sets[0].provider if sets else "")
    gap = observed.gap_for(key, provider)
    return _Facts(
        key, known, sets, provider, replicas, is_suspended, has_deployment,
        gap.reason if gap else "", verdicts, tuple(recorded.releases.get(key, ())),
        wanted.revision if wanted else None, traffic, recorded.orders.get(key),
        is_autoscaled,
    )  # fmt: skip


def _count_wanted(
    wanted: DesiredInstance, known: RecordedInstance | None, sets: tuple[ObservedReplicaSet, ...]
) -> int:
    """As Git says, or as many as the active release has where an autoscaler decides."""
    if not wanted.is_autoscaled or known is None:
        return wanted.replicas
    own = [item for item in sets if item.release == known.release]
    return (known.rollout.replicas if wanted.replicas else 0) or wanted_replicas(wanted, own)


def _shares_of(router: RouterState | None) -> dict[ResourceKey, tuple[tuple[int, int], ...]]:
    if router is None or router.gap is not None:
        return {}
    return {key: read_step(found).weights for key, found in router.table.by_instance().items()}


def _build_instance(facts: _Facts) -> InstanceStatus:
    ready = facts.ready
    active = facts.active
    return InstanceStatus(
        key=facts.key,
        provider=facts.provider,
        phase=_phase_of(facts, len(ready)),
        release=facts.release,
        revision=_share(active.revision, facts.revision) if active else None,
        desired=facts.wanted,
        ready=len(ready),
        endpoints=_endpoints_of([replica for _, replica in ready]),
        conditions=_conditions_of(facts, len(ready)),
        traffic=facts.traffic,
        is_autoscaled=facts.is_autoscaled,
    )


def _phase_of(facts: _Facts, ready: int) -> InstancePhase:
    """First match wins."""
    phase = facts.status.phase
    rules: tuple[tuple[bool, InstancePhase], ...] = (
        (bool(facts.gap), InstancePhase.UNKNOWN),
        (phase is RolloutPhase.PROGRESSING, InstancePhase.PROGRESSING),
        (phase is RolloutPhase.ROLLING_BACK, InstancePhase.ROLLING_BACK),
        (phase is RolloutPhase.FAILED, InstancePhase.FAILED),
        (not facts.has_deployment and not facts.sets, InstancePhase.IDLE),
        (facts.known is None and not facts.sets, InstancePhase.PENDING),
        (facts.is_suspended and not ready, InstancePhase.SUSPENDED),
        (facts.wanted == 0 and not ready, InstancePhase.STOPPED),
        (ready == 0, InstancePhase.DOWN),
        (ready < facts.wanted, InstancePhase.DEGRADED),
        (bool(facts.failure), InstancePhase.ROLLED_BACK),
    )
    return next((word for is_met, word in rules if is_met), InstancePhase.RUNNING)


def _conditions_of(facts: _Facts, ready: int) -> tuple[Condition, ...]:
    status = facts.status
    found = [_ready_condition(facts, ready)]
    if status.phase in (RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK):
        is_moving = status.phase is RolloutPhase.PROGRESSING
        said = find_wait(status, facts.order) if is_moving else status.message
        text = f"v{status.target}: {said or 'under way'}"
        found.append(Condition("Progressing", "True", status.phase.value, text))
    if facts.failure:
        found.append(Condition("RolledBack", "True", "RolloutFailed", facts.failure))
    if status.phase is RolloutPhase.FAILED:
        found.append(Condition("Failed", "True", "RolloutFailed", status.message))
    if facts.known is not None and facts.known.pin is not None:
        text = f"v{facts.known.pin} is pinned; rollback --clear follows Git again"
        found.append(Condition("Pinned", "True", "RolledBackByUser", text))
    return tuple(found)


def _ready_condition(facts: _Facts, ready: int) -> Condition:
    if facts.gap:
        return Condition("Ready", "Unknown", "NoAnswer", facts.gap)
    if not facts.has_deployment and not facts.sets:
        return Condition("Ready", "False", "NoDeployment", "no deployment names this instance")
    if facts.known is None and not facts.sets:
        return Condition("Ready", "False", "NotApplied", "not applied yet")
    if ready >= facts.wanted:
        return _all_ready(ready, facts.wanted)
    reasons = sorted(_reasons(facts))
    text = f"{ready}/{facts.wanted} ready" + (f": {'; '.join(reasons)}" if reasons else "")
    return Condition("Ready", "False", "ReplicasNotReady", text)


@lru_cache(maxsize=256)
def _all_ready(ready: int, wanted: int) -> Condition:
    """Most instances have the same."""
    return Condition("Ready", "True", "AllReplicasReady", f"{ready}/{wanted} ready")


def _share(text: str, other: str | None) -> str:
    return other if other == text else text


def _endpoints_of(replicas: Sequence[ObservedReplica]) -> tuple[Endpoint, ...]:
    if len(replicas) == 1:
        return replicas[0].endpoints
    # Where a Service leads to all of them it is the same for each.
    return tuple(dict.fromkeys(end for replica in replicas for end in replica.endpoints))


def _reasons(facts: _Facts) -> set[str]:
    """Why replicas that are there are not ready."""
    found = set()
    for item in facts.sets:
        for replica in item.replicas:
            verdict = facts.verdicts.get((item.provider, replica.id, replica.started_at))
            if replica.phase is not ReplicaPhase.RUNNING:
                exit_text = "" if replica.exit_code is None else f" (exit {replica.exit_code})"
                found.add(f"{replica.name} {replica.phase}{exit_text} {replica.reason}".strip())
            elif verdict is not None and not verdict.is_ready:
                found.add(f"{replica.name} {verdict.message}")
    return found
