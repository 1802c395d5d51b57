"""What the API and the pages show: values, ready to be shown.

Names are those of the JSON, where times are RFC 3339 and what ends in ``_s`` are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ctrlplane_gitops.status.view import Condition
from ctrlplane_gitops.value import field, struct


@struct
class Use:
    """How much of something is used, and how much may be (None: any amount)."""

    used: int
    limit: int | None


@struct
class QuotaRow:
    """What a tenant's specs add up to, beside its quota."""

    instances: Use
    cpu_millicores: Use
    memory_bytes: Use
    disk_bytes: Use
    domains: Use
    secrets: Use


@struct
class TenantRow:
    """``frozen`` says why its specs are held at the last good state, "" where they are not.
    ``phases`` counts its instances by phase."""

    name: str
    display_name: str
    labels: Mapping[str, str]
    is_suspended: bool
    is_protected: bool
    frozen: str
    quota: QuotaRow
    phases: Mapping[str, int]


@struct
class Replicas:
    """``owner`` is who decides how many there are: ``specs``, or an ``autoscaler``."""

    desired: int
    ready: int
    owner: str = "specs"


@struct
class Share:
    """What a release gets of the requests."""

    release: int
    percent: int


@struct
class EndpointRow:
    port: str
    url: str


@struct
class InstanceRow:
    """``observed_at`` is when it was looked at and probed last, None where it has not been yet;
    what is said of phase, replicas, traffic, endpoints and conditions is as of then."""

    address: str
    tenant: str
    name: str
    labels: Mapping[str, str]
    provider: str
    phase: str
    release: int | None
    revision: str | None
    replicas: Replicas
    traffic: tuple[Share, ...] | None
    endpoints: tuple[EndpointRow, ...]
    conditions: tuple[Condition, ...]
    observed_at: datetime | None


@struct
class ReplicaRow:
    """``is_ready`` is what our probes said, None where nobody probes it. ``message`` says why it is
    not ready, or how it ended."""

    name: str
    index: int
    phase: str
    is_ready: bool | None
    started_at: datetime | None
    exit_code: int | None
    message: str
    endpoints: tuple[EndpointRow, ...] = ()


@struct
class ReplicaSetRow:
    """``percent`` of the requests, None where no router says."""

    release: int
    revision: str
    provider: str
    percent: int | None
    replicas: tuple[ReplicaRow, ...]


@struct
class StepRow:
    """A step of a canary; ``pause_s`` None: until somebody promotes."""

    weight: int
    pause_s: float | None


@struct
class RolloutRow:
    """``step`` counts the steps that are over; ``steps`` are a canary's. ``waits_for`` says what a
    person has to do for it to go on, "" where it goes on by itself."""

    phase: str
    strategy: str
    target: int | None
    previous: int | None
    started_at: datetime | None
    step: int
    step_at: datetime | None
    steps: tuple[StepRow, ...]
    traffic: tuple[Share, ...] | None
    is_paused: bool
    waits_for: str
    message: str


@struct
class ReleaseRow:
    """``is_active``: it is what runs. ``is_pinned``: somebody rolled back to it."""

    address: str
    tenant: str
    instance: str
    release: int
    state: str
    is_active: bool
    is_pinned: bool
    revision: str
    commit: str
    created_at: datetime
    provider: str
    image: str | None
    command: tuple[str, ...]
    resolved: Mapping[str, str]
    reason: str


@struct
class RouteRow:
    """``traffic`` is as the router had it when it was looked at last, None where it did not say."""

    address: str
    tenant: str
    name: str
    labels: Mapping[str, str]
    instance: str
    hosts: tuple[str, ...]
    path: str
    port: str
    entry_point: str
    certificate: str | None
    preview_hosts: tuple[str, ...]
    traffic: tuple[Share, ...] | None


@struct
class DeploymentRow:
    """Which image or command an instance shall run, and by which strategy."""

    address: str
    tenant: str
    name: str
    labels: Mapping[str, str]
    instance: str
    image: str | None
    command: tuple[str, ...]
    strategy: str
    file: str
    commit: str


@struct
class SecretRow:
    """Where a secret comes from and goes to; nothing of its value. ``target`` is the variable, the
    path or the registry; ``source`` where the value is read: ``env:NAME``, ``file:PATH``."""

    address: str
    tenant: str
    name: str
    labels: Mapping[str, str]
    type: str
    target: str
    source: str
    instances: tuple[str, ...]


@struct
class InstanceDetail:
    """``spec`` and ``deployment`` are what Git says, ``deployment`` None where nobody says what it
    shall run. ``releases`` are the newest first."""

    summary: InstanceRow
    spec: Mapping[str, Any]
    deployment: Mapping[str, Any] | None
    origin: str
    rollout: RolloutRow
    pin: int | None
    replica_sets: tuple[ReplicaSetRow, ...]
    routes: tuple[RouteRow, ...]
    releases: tuple[ReleaseRow, ...]


@struct
class EventRow:
    """``number`` grows with every event; ``after`` and ``before`` of a list are such numbers."""

    number: int
    id: str
    at: datetime
    type: str
    address: str
    tenant: str
    message: str
    data: Mapping[str, str] = field(default_factory=dict)


@struct
class AuditRow:
    number: int
    id: str
    at: datetime
    actor: str
    action: str
    address: str
    tenant: str
    commit: str
    outcome: str


@struct
class MessageRow:
    """What a subscription of ``notifications`` is told: ``event`` is the id of the event it is
    about. ``status`` is the HTTP status that was answered last, None without an answer; ``error``
    is None where nothing was wrong with the last attempt; ``ended_at`` while it is pending."""

    number: int
    id: str
    subscription: str
    event: str
    type: str
    address: str
    tenant: str
    state: str
    created_at: datetime
    attempts: int
    next_at: datetime | None
    status: int | None
    error: str | None
    ended_at: datetime | None


@struct
class WorkerRow:
    """``interval_s`` is how often it runs, ``limit_s`` how long a run may take before it is
    reported. ``last_error`` is None where the last run went well; ``last_counts``: what it did."""

    name: str
    interval_s: float
    limit_s: float
    is_running: bool
    is_overdue: bool
    started_at: datetime | None
    next_at: datetime | None
    runs: int
    errors: int
    last_run_at: datetime | None
    last_duration_s: float | None
    last_error: str | None
    last_counts: Mapping[str, int] = field(default_factory=dict)


@struct
class PlanRow:
    """What the last pass would do, or does: ``plan`` is that of ``plan --json``, with the rows of
    the tenants that may be seen. ``outcome`` is None while the pass is under way."""

    made_at: datetime
    commit: str
    outcome: str | None
    plan: Mapping[str, Any]


@struct
class HealthRow:
    """``healthy`` of ``replicas`` when it last turned, ``since`` when; ``unknown``: nobody has
    verified it lately."""

    address: str
    tenant: str
    instance: str
    health: str
    since: datetime | None
    healthy: int
    replicas: int
    message: str


@struct
class TelemetryRow:
    """What an instance used, and each of its replicas by name: when the first value begins, the
    seconds between two, and a list for each channel, null where nothing is known."""

    address: str
    total: Mapping[str, Any]
    replicas: Mapping[str, Any]


@struct
class DeliveryRow:
    """A webhook delivery, or a look that nobody asked for (``sender`` ``poll``), and what came of
    it."""

    id: str
    number: int
    at: datetime
    sender: str
    delivery_id: str | None
    digest: str | None
    event: str | None
    ref: str | None
    announced_commit: str | None
    outcome: str
    commit: str | None
    ended_at: datetime | None
    message: str | None
    reason: str | None
    duplicate_of: str | None
    count: int
