"""Which instances of a tenant a commit is about, so that nobody has to look at the others."""

from __future__ import annotations

from ctrlplane_gitops.plan.classify import classify_resources
from ctrlplane_gitops.state.desired import DesiredInstance, DesiredState
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.recorded import RecordedState, RolloutPhase

_OF_INSTANCES = (Kind.INSTANCE, Kind.DEPLOYMENT, Kind.ROUTE)


def find_unsettled(desired: DesiredState, recorded: RecordedState) -> frozenset[ResourceKey] | None:
    """The instances for which the specs and the record do not say the same, whose rollout is under
    way, failed or pinned, or whose replicas somebody else counts. Of the others a plan could only
    say that they drifted. None where what differs concerns more than some instances: a tenant, a
    secret, something that went."""
    rows = classify_resources(desired, recorded)
    changed = set(rows.changed)
    is_wide = rows.removed or not all(key.kind in _OF_INSTANCES for key in changed)
    if recorded.plane_id is None or is_wide:
        return None
    found = {key for key, item in desired.instances.items() if _is_off(item, recorded)}
    if changed:
        for key, item in desired.instances.items():
            own = {key, *(route.key for route in item.routes)}
            own.update([] if item.deployment is None else [item.deployment.key])
            if not changed.isdisjoint(own):
                found.add(key)
                changed -= own
    return None if changed else frozenset(found)


def _is_off(instance: DesiredInstance, recorded: RecordedState) -> bool:
    known = recorded.instances.get(instance.key)
    if known is None:
        return instance.revision is not None
    if (
        instance.is_autoscaled
        or known.pin is not None
        or known.rollout.phase is not RolloutPhase.IDLE
        or known.provider != instance.provider
    ):
        return True
    for release in recorded.releases.get(instance.key, ()):
        if release.number == known.release:
            return release.revision != instance.revision
    return instance.revision is not None
