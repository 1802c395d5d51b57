"""All there is of one instance. Pure, but for who shares its requests when it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from ctrlplane_gitops.state.desired import DesiredInstance
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.recorded import RecordedResource, RecordedState, RolloutPhase
from ctrlplane_gitops.status.instance import (
    instance_row,
    release_rows,
    replica_set_rows,
    rollout_row,
    shares_of,
)
from ctrlplane_gitops.status.live import Live
from ctrlplane_gitops.status.resource import route_row
from ctrlplane_gitops.status.row import InstanceDetail, RolloutRow, Share
from ctrlplane_gitops.value import struct


@struct
class Known:
    """What Git says (``wanted``), what is recorded of its tenant, and what was seen last.
    ``read_shift`` tells how requests were shared out after a moment, None where they were not."""

    key: ResourceKey
    wanted: DesiredInstance | None
    recorded: RecordedState
    live: Live | None
    read_shift: Callable[[datetime | None], tuple[Share, ...] | None]

    @property
    def is_there(self) -> bool:
        recorded = self.recorded
        is_recorded = self.key in recorded.resources or self.key in recorded.instances
        return self.wanted is not None or is_recorded


def build_detail(known: Known) -> InstanceDetail | None:
    """None where nobody knows of it."""
    if not known.is_there:
        return None
    key, wanted, live, recorded = known.key, known.wanted, known.live, known.recorded
    resource, instance = recorded.resources.get(key), recorded.instances.get(key)
    return InstanceDetail(
        summary=instance_row(key, wanted, live),
        spec=_show_spec(wanted.resource.attributes if wanted else _read(resource)),
        deployment=_deployment_of(key, wanted, recorded),
        origin=str(wanted.resource.origin) if wanted else (resource.path if resource else ""),
        rollout=build_rollout(known),
        pin=instance.pin if instance else None,
        replica_sets=replica_set_rows(key, live),
        routes=tuple(route_row(item, live) for item in _routes_of(key, recorded)),
        releases=release_rows(key, recorded),
    )


def build_rollout(known: Known) -> RolloutRow:
    """Who gets which requests is as it was when that was changed or seen last."""
    instance = known.recorded.instances.get(known.key)
    seen = known.live.instances.get(known.key) if known.live else None
    shares = shares_of(seen.traffic if seen else None)
    if instance is not None and instance.rollout.phase is not RolloutPhase.IDLE:
        shifted = known.read_shift(known.live.at if known.live else None)
        shares = shares if shifted is None else shifted
    params = known.wanted.params if known.wanted else None
    return rollout_row(instance, known.recorded.orders.get(known.key), params, shares)


def _read(resource: RecordedResource | None) -> Mapping[str, object]:
    return resource.attributes if resource else {}


def _show_spec(attributes: Mapping[str, object]) -> Mapping[str, object]:
    """A digest of a value is nobody's business but the plan's."""
    return {name: value for name, value in attributes.items() if name != "valueDigest"}


def _deployment_of(
    key: ResourceKey, wanted: DesiredInstance | None, recorded: RecordedState
) -> Mapping[str, object] | None:
    if wanted is not None:
        return None if wanted.deployment is None else _show_spec(wanted.deployment.attributes)
    for other, item in recorded.resources.items():
        if other.kind is Kind.DEPLOYMENT and item.attributes.get("instance") == key.name:
            return _show_spec(item.attributes)
    return None


def _routes_of(key: ResourceKey, recorded: RecordedState) -> list[RecordedResource]:
    found = (item for other, item in recorded.resources.items() if other.kind is Kind.ROUTE)
    asked = (item for item in found if item.attributes.get("instance") == key.name)
    return sorted(asked, key=lambda item: item.key)
