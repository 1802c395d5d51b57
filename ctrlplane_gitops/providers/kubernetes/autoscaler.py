"""HorizontalPodAutoscalers that somebody has labelled as an instance's: what they act on is ours to
say, because each release is a Deployment of its own. All else in them is left alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.cluster.api import Api
from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.resource import AUTOSCALER, DEPLOYMENT
from ctrlplane_gitops.providers.base import LABEL_INSTANCE, LABEL_TENANT
from ctrlplane_gitops.providers.container import owner_labels
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.kubernetes.name import AUTOSCALED, service_name
from ctrlplane_gitops.providers.kubernetes.row import (
    REPLICAS,
    Object,
    find_foreign,
    is_of_person,
)
from ctrlplane_gitops.state.action import ScaleReplicaSet
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.value import struct

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.kubernetes.acting import Site

_TARGET = "spec.scaleTargetRef"
_REFUSED = (403, 404)


@struct
class AutoscalerRow:
    """``target`` is the Deployment it acts on, "" where that is of another kind; ``by`` is who has
    said so, "" for us."""

    namespace: str
    name: str
    instance: ResourceKey
    target: str
    by: str


def read_autoscaler(item: Object) -> AutoscalerRow | None:
    """None without the labels of an instance."""
    metadata = item["metadata"]
    labels = metadata.get("labels") or {}
    tenant, name = labels.get(LABEL_TENANT), labels.get(LABEL_INSTANCE)
    if not tenant or not name:
        return None
    target = item["spec"]["scaleTargetRef"]
    is_deployment = target.get("kind") == DEPLOYMENT.kind
    by = (who for field, who in find_foreign(metadata.get("managedFields") or ())
          if field.startswith(_TARGET))  # fmt: skip
    return AutoscalerRow(
        metadata["namespace"],
        metadata["name"],
        instance_key(tenant, name),
        str(target.get("name")) if is_deployment else "",
        next(by, ""),
    )


def read_autoscalers(
    api: Api, labels: dict[str, str], namespace: str | None
) -> tuple[AutoscalerRow, ...]:
    """None of them where we may not look at them: then there are none of ours."""
    try:
        found = api.read_all(AUTOSCALER, labels, read_autoscaler, namespace=namespace)
    except ApiError as error:
        if error.status not in _REFUSED:
            raise
        return ()
    return tuple(row for row in found if row is not None)


def aim(site: Site, instance: ResourceKey, deployment: str, effects: Effects) -> None:
    """Have those of an instance act on a Deployment."""
    for row in _of_instance(site, instance):
        if row.target != deployment:
            _retarget(site, row, deployment, effects)


def rest(site: Site, instance: ResourceKey, deployment: str, effects: Effects) -> None:
    """Have those that act on a Deployment act on nothing for a while: on the instance's name, which
    no Deployment has."""
    for row in _of_instance(site, instance):
        if row.target == deployment:
            _retarget(site, row, service_name(instance), effects)


def write_owner(
    site: Site, action: ScaleReplicaSet, found: dict[str, Any], effects: Effects
) -> dict[str, Any]:
    """Keep with a Deployment whether its number of pods is left to others: whoever looks asks for
    autoscalers only where it is. The Deployment as it is then."""
    metadata = found["metadata"]
    if (AUTOSCALED in (metadata.get("annotations") or {})) == action.is_autoscaled:
        return found
    mark = {"annotations": {AUTOSCALED: "true" if action.is_autoscaled else None}}
    name = str(metadata["name"])
    with effects.made(f"own:{name}"):
        return site.api.patch(DEPLOYMENT, metadata["namespace"], name, {"metadata": mark})


def is_scaled_by_others(found: Object) -> bool:
    """Whether a controller has said how many pods a Deployment has."""
    managed = found["metadata"].get("managedFields") or ()
    return any(
        field == REPLICAS and not is_of_person(manager) for field, manager in find_foreign(managed)
    )


def is_scaled(site: Site, instance: ResourceKey, deployment: str) -> bool:
    return any(row.target == deployment for row in _of_instance(site, instance))


def _of_instance(site: Site, instance: ResourceKey) -> Iterable[AutoscalerRow]:
    labels = owner_labels(site.plane, instance.tenant, instance.name)
    return read_autoscalers(site.api, labels, site.lookup.namespace_of(instance.tenant))


def _retarget(site: Site, row: AutoscalerRow, deployment: str, effects: Effects) -> None:
    target = {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.kind, "name": deployment}
    with effects.made(f"aim:{row.name}:{deployment}"):
        site.api.patch(AUTOSCALER, row.namespace, row.name, {"spec": {"scaleTargetRef": target}})
