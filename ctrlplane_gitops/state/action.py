"""One side effect as data, and what came of it. Actions carry no secret values: what a replica
needs besides travels in ``Material`` and is never written down."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias

from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.desired import Allowance, HealthCheck, Resources
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.value import field, struct


@struct
class PrepareRelease:
    """Make sure the release can start: resolve and pull the image. No replica is touched.
    The outcome's ``resolved`` is stored with the release (``{"image": "repo@sha256:..."}``)."""

    instance: ResourceKey
    provider: str
    release: Release


class ScaleOwner(StrEnum):
    """Who decides how many replicas a set has. ``autoscaler``: somebody else, so that only what
    there is none of is made. ``rollout``: somebody else as well, who gives way while a rollout
    moves replicas."""

    SPECS = "specs"
    AUTOSCALER = "autoscaler"
    ROLLOUT = "rollout"


@struct
class ScaleReplicaSet:
    """Make exactly ``replicas`` live replicas of the release exist; 0 removes the set.

    A dead replica is replaced in its index; missing ones take the lowest free indices. Surplus is
    removed: those named in ``retire`` first, then dead ones, then the highest index. Stopping is
    SIGTERM, ``stop_timeout``, SIGKILL. A replica whose name exists but which is not ours (owner
    labels differ) is a terminal error. ``health`` and ``max_unavailable`` (at least this many may
    always be down at once, None: not known) are for providers that probe, or move replicas,
    themselves; ``owner`` is for those with autoscalers, ``allowance`` for those that hold a tenant
    to its quota (None: not known)."""

    instance: ResourceKey
    provider: str
    release: Release
    replicas: int
    resources: Resources = Resources()
    stop_timeout: timedelta = timedelta(seconds=30)
    retire: tuple[str, ...] = ()
    health: tuple[HealthCheck, ...] = ()
    max_unavailable: int | None = None
    owner: ScaleOwner = ScaleOwner.SPECS
    allowance: Allowance | None = None

    @property
    def is_autoscaled(self) -> bool:
        """Whether an autoscaler is to decide, or gives way to a rollout for a while."""
        return self.owner is not ScaleOwner.SPECS


@struct
class UpdateResources:
    """Change the limits of every live replica of the instance in place, no restart."""

    instance: ResourceKey
    provider: str
    resources: Resources


@struct
class RemoveInstance:
    """Remove every replica and leftover of the instance on this provider; volumes only if asked."""

    instance: ResourceKey
    provider: str
    stop_timeout: timedelta = timedelta(seconds=30)
    is_volumes: bool = False


@struct
class RemoveTenant:
    """Remove what the provider keeps per tenant (a network, a directory). Fails while an instance
    of the tenant is left."""

    tenant: ResourceKey
    provider: str


Action: TypeAlias = (
    PrepareRelease | ScaleReplicaSet | UpdateResources | RemoveInstance | RemoveTenant
)


@struct
class Material:
    """What ``perform`` needs and no journal may hold: contents of ``FileMount.digest`` and values
    of secrets by key."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    secrets: Mapping[ResourceKey, SecretValue] = field(default_factory=dict)


@struct
class Outcome:
    """What came of an action. ``effects`` counts the mutating calls made (0: all was as asked)."""

    action: Action
    error: CtrlplaneError | None = None
    effects: int = 0
    resolved: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def is_ok(self) -> bool:
        return self.error is None
