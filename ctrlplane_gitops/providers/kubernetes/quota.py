"""A tenant's quota as a ResourceQuota of its namespace, where that is asked for.

It is the quota as it stands: a rollout that would need more for a while is held back by the plan.
How many Deployments there may be is left out, for a release is one each, and two at once while it
rolls out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.cluster.api import Api
from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.resource import NAMESPACE, RESOURCE_QUOTA
from ctrlplane_gitops.providers.container import owner_labels
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.kubernetes.applying import check_owner, held_by
from ctrlplane_gitops.providers.kubernetes.manifest import Object
from ctrlplane_gitops.providers.kubernetes.name import MANAGED_BY
from ctrlplane_gitops.providers.kubernetes.quantity import read_quantity
from ctrlplane_gitops.providers.kubernetes.row import find_foreign, is_of_person
from ctrlplane_gitops.state.action import ScaleReplicaSet
from ctrlplane_gitops.state.desired import Allowance
from ctrlplane_gitops.units import format_cpu
from ctrlplane_gitops.value import struct

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.kubernetes.acting import Site

NAME = "ctrlplane-quota"
_CPU, _MEMORY, _DISK = "limits.cpu", "limits.memory", "requests.storage"


@struct
class QuotaRow:
    """``by`` is who has changed it since we wrote it."""

    allowance: Allowance
    by: str


def read_quota(item: Object) -> tuple[str, QuotaRow]:
    """The namespace, and what it is held to."""
    metadata, hard = item["metadata"], item["spec"].get("hard") or {}
    cpu, memory, disk = (read_quantity(hard.get(name)) for name in (_CPU, _MEMORY, _DISK))
    foreign = find_foreign(metadata.get("managedFields") or ())
    return metadata["namespace"], QuotaRow(
        Allowance(
            None if cpu is None else int(cpu * 1000),
            None if memory is None else int(memory),
            None if disk is None else int(disk),
        ),
        next((who for _, who in sorted(set(foreign))), ""),
    )


def read_quotas(api: Api, labels: dict[str, str], namespace: str | None) -> dict[str, QuotaRow]:
    """By namespace; none where we may not look at them."""
    try:
        rows = api.read_all(RESOURCE_QUOTA, labels | MANAGED_BY, read_quota, namespace=namespace)
    except ApiError as error:
        if error.status != 403:
            raise
        return {}
    return dict(rows)


def read_made(api: Api, plane_labels: dict[str, str]) -> frozenset[str]:
    """The namespaces that we made."""
    labels = plane_labels | MANAGED_BY
    return frozenset(api.read_all(NAMESPACE, labels, _name, is_meta=True))


def ensure_quota(site: Site, action: ScaleReplicaSet, effects: Effects) -> None:
    """Made, brought to what it should be, or taken away. Never in a namespace somebody else has
    made."""
    tenant, allowance = action.instance.tenant, action.allowance
    if allowance is None or not site.config.quota:
        return
    namespace = site.lookup.namespace_of(tenant)
    wanted = allowance if site.config.is_quota_mirrored else Allowance()
    is_known = namespace in site.lookup.quotas
    if wanted == Allowance() and not is_known:
        return
    found = site.api.get(RESOURCE_QUOTA, namespace, NAME)
    owner = owner_labels(site.plane, tenant)
    if found is not None:
        check_owner(RESOURCE_QUOTA, found, owner)
    if wanted == Allowance():
        if found is not None:
            with effects.made(f"remove:{NAME}"):
                site.api.delete(RESOURCE_QUOTA, namespace, NAME, uid=found["metadata"]["uid"])
        return
    metadata: Object = {"name": NAME, "namespace": namespace, "labels": owner | MANAGED_BY}
    if found is None:
        if _is_made_by_us(site, namespace):
            with effects.made(f"create:{NAME}"):
                site.api.create(RESOURCE_QUOTA, _build(metadata, wanted))
        return
    row = read_quota(found)[1]
    if row.by and not is_of_person(row.by):
        raise held_by(RESOURCE_QUOTA.kind, NAME, "spec.hard", row.by)
    if row.by or row.allowance != wanted:
        metadata = {key: it for key, it in found["metadata"].items() if key != "managedFields"}
        with effects.made(f"update:{NAME}"):
            site.api.replace(RESOURCE_QUOTA, _build(metadata, wanted))


def _build(metadata: Object, allowance: Allowance) -> Object:
    cpu, memory, disk = allowance.cpu_millicores, allowance.memory_bytes, allowance.disk_bytes
    hard = {
        _CPU: None if cpu is None else format_cpu(cpu),
        _MEMORY: None if memory is None else str(memory),
        _DISK: None if disk is None else str(disk),
    }
    return {
        "metadata": metadata,
        "spec": {"hard": {name: text for name, text in hard.items() if text is not None}},
    }


def _is_made_by_us(site: Site, namespace: str) -> bool:
    found = site.api.get(NAMESPACE, None, namespace)
    labels = {} if found is None else found["metadata"].get("labels") or {}
    return MANAGED_BY.items() <= labels.items()


def _name(item: Any) -> str:
    return str(item["metadata"]["name"])
