"""Everything known about one instance, and what a plan may say of it."""

from __future__ import annotations

from ctrlplane_gitops.plan.change import Blocked, Change, Drift, Work
from ctrlplane_gitops.plan.classify import Look, Row, basis_of
from ctrlplane_gitops.plan.drift import Live
from ctrlplane_gitops.plan.release import Target
from ctrlplane_gitops.state.desired import DesiredInstance
from ctrlplane_gitops.state.observed import ObservedReplicaSet
from ctrlplane_gitops.state.recorded import RecordedInstance, RecordedResource, RolloutPhase
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.value import struct

_UNDER_WAY = (RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK)


@struct
class Decision:
    """What a plan says of one instance. ``instances`` and ``releases`` are adopted ones to write
    down without work, ``records`` rows that need no work."""

    changes: tuple[Change, ...] = ()
    work: Work | None = None
    drift: tuple[Drift, ...] = ()
    records: tuple[RecordedResource, ...] = ()
    instances: tuple[RecordedInstance, ...] = ()
    releases: tuple[Release, ...] = ()
    note: str = ""


@struct
class Case:
    """Everything known about one instance. ``row`` and ``deployment`` are None where specs and
    record are the same; ``is_tenant_changed`` says that the tenant's row differs too.
    ``is_misrouted``: the router does not serve what it should once nothing is rolled out."""

    look: Look
    instance: DesiredInstance
    sets: tuple[ObservedReplicaSet, ...]
    known: RecordedInstance | None
    row: Row | None
    deployment: Row | None
    is_tenant_changed: bool
    target: Target
    live: Live
    hold: Blocked | None
    is_misrouted: bool = False

    @property
    def is_seen(self) -> bool:
        """Replicas of ours run although the instance is not recorded."""
        return self.known is None and any(item.live for item in self.sets)

    @property
    def is_same_revision(self) -> bool:
        return any(item.revision == self.instance.revision and item.live for item in self.sets)

    @property
    def is_under_way(self) -> bool:
        return self.known is not None and self.known.rollout.phase in _UNDER_WAY

    @property
    def is_rollout(self) -> bool:
        release = self.target.release
        return release is not None and release.number != self.target.active

    @property
    def drift_hold(self) -> Blocked | None:
        """Why drift is left, where drift is all there is."""
        is_explained = self.is_rollout or self.is_under_way or self.is_tenant_changed
        if is_explained or self.row or self.deployment or self.hold or self.target.blocked:
            return None
        return self.look.policy.drift_holds.get(self.instance.key)

    @property
    def is_as_wanted(self) -> bool:
        """As many replicas run as should, with the limits they should have."""
        return self.live.is_exact and not self.live.limits and not self.is_limit_change

    @property
    def is_limit_change(self) -> bool:
        """Git changed the limits and the provider does not show the live ones."""
        return self.live.has_unknown_limits and self.touches("resources")

    @property
    def touches_scale(self) -> bool:
        return self.touches("replicas") or self.touches("resources")

    def touches(self, name: str) -> bool:
        """Whether Git changed an attribute of the instance."""
        row = self.row
        if row is None or row.recorded is None or row.desired is None:
            return False
        return bool(row.recorded.attributes.get(name) != row.desired.attributes.get(name))

    @property
    def basis(self) -> tuple[object, ...]:
        """What is decided from besides specs and record."""
        release = self.target.release
        return basis_of(
            self.sets, release.number if release else None, release.revision if release else ""
        )

    @property
    def deployment_row(self) -> Row:
        resource = self.instance.deployment or self.instance.resource
        known = self.look.recorded.resources.get(resource.key)
        return self.deployment or Row(resource.key, resource, known)

    @property
    def instance_row(self) -> Row:
        key = self.instance.key
        return self.row or Row(key, self.instance.resource, self.look.recorded.resources.get(key))
