"""``UpdateResources``: limits of what runs, without a restart where Kubernetes can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.cluster.connection import STRATEGIC
from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.resource import DEPLOYMENT, POD, REPLICA_SET
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.kubernetes.name import CONTAINER
from ctrlplane_gitops.providers.kubernetes.quantity import write_limits
from ctrlplane_gitops.providers.kubernetes.row import DeploymentRow, PodRow
from ctrlplane_gitops.providers.kubernetes.view import held_limits, staying
from ctrlplane_gitops.state.action import UpdateResources
from ctrlplane_gitops.state.desired import Resources

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.kubernetes.acting import Site

# The class of service would be another one, or this cluster cannot do it.
_CANNOT = (404, 405, 422)


def update_limits(
    site: Site, action: UpdateResources, effects: Effects, warnings: list[str]
) -> None:
    seen = site.lookup.see((action.instance,))
    for row in seen.deployments:
        if row.instance != action.instance or row.is_going:
            continue
        pods = [
            pod for pod in staying(row, seen.pods)
            if (pod.instance, pod.release) == (row.instance, row.release) and pod.is_live
        ]  # fmt: skip
        if row.limits != action.resources or any(
            held_limits(pod, row.limits) != action.resources for pod in pods
        ):
            _update_set(site, row, pods, action.resources, effects, warnings)


def _update_set(
    site: Site,
    row: DeploymentRow,
    pods: list[PodRow],
    resources: Resources,
    effects: Effects,
    warnings: list[str],
) -> None:
    """Pods first. Then the template, for pods to come: paused, and that of the ReplicaSet with it,
    so that the Deployment takes the pods there are for those of the new template."""
    try:
        for pod in pods:
            if held_limits(pod, row.limits) != resources:
                with effects.made(f"update:{pod.name}"):
                    site.api.patch(
                        POD,
                        pod.namespace,
                        pod.name,
                        {"spec": _containers(pod.container, resources)},
                        content_type=STRATEGIC,
                        subresource="resize",
                    )
    except ApiError as error:
        if error.status not in _CANNOT:
            raise
        warnings.append(
            f"Deployment {row.name}: its limits cannot be changed in place, so Kubernetes replaces "
            f"its pods one by one: {error.message}"
        )
        _patch_template(site, row, resources, effects)
        return
    with effects.made(f"update:{row.name}"):
        site.api.patch(DEPLOYMENT, row.namespace, row.name, {"spec": {"paused": True}})
    _patch_template(site, row, resources, effects)
    for name in site.api.read_all(
        REPLICA_SET,
        {},
        lambda item: item["metadata"]["name"] if _is_current(item, row) else None,
        namespace=row.namespace,
    ):
        if name is not None:
            with effects.made(f"update:{name}"):
                site.api.patch(
                    REPLICA_SET,
                    row.namespace,
                    name,
                    {"spec": {"template": {"spec": _containers(_named(row), resources)}}},
                    content_type=STRATEGIC,
                )
    with effects.made(f"update:{row.name}"):
        site.api.patch(DEPLOYMENT, row.namespace, row.name, {"spec": {"paused": None}})


def _patch_template(site: Site, row: DeploymentRow, resources: Resources, effects: Effects) -> None:
    with effects.made(f"update:{row.name}"):
        site.api.patch(
            DEPLOYMENT,
            row.namespace,
            row.name,
            {"spec": {"template": {"spec": _containers(_named(row), resources)}}},
            content_type=STRATEGIC,
        )


def _is_current(item: Mapping[str, Any], row: DeploymentRow) -> bool:
    owners = item["metadata"].get("ownerReferences") or ()
    is_owned = any(owner.get("uid") == row.uid for owner in owners)
    return is_owned and bool(item["spec"].get("replicas"))


def _named(row: DeploymentRow) -> str:
    return CONTAINER if row.adopted is None else row.adopted.container


def _containers(name: str, resources: Resources) -> dict[str, Any]:
    """What is not limited any more has to be said, or it stays."""
    wanted = write_limits(resources)
    unset: dict[str, Any] = {"cpu": None, "memory": None}
    held = {part: unset | wanted.get(part, {}) for part in ("limits", "requests")}
    return {"containers": [{"name": name, "resources": held}]}
