"""What a cluster keeps for those that have no Deployment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ctrlplane_gitops.cluster.api import Api
from ctrlplane_gitops.cluster.resource import CLAIM, DEPLOYMENT, NAMESPACE, POD
from ctrlplane_gitops.providers.base import LABEL_INSTANCE, LABEL_PLANE, LABEL_RELEASE, LABEL_TENANT
from ctrlplane_gitops.providers.kubernetes.name import MANAGED_BY
from ctrlplane_gitops.providers.kubernetes.removal import BELONGINGS
from ctrlplane_gitops.state.key import instance_key, tenant_key
from ctrlplane_gitops.state.observed import Leftover


def find_leftovers(
    api: Api, provider: str, plane: str, namespace_of: Callable[[str], str]
) -> tuple[Leftover, ...]:
    """Namespaces of ours that are empty, and objects of releases and instances that are gone.
    ``namespace_of`` says where those of a tenant are; what is elsewhere is not ours to tidy."""
    labels = {LABEL_PLANE: plane}
    metadata = {
        kind.plural: api.read_all(kind, labels, _metadata, is_meta=True)
        for kind in (DEPLOYMENT, CLAIM, POD, *BELONGINGS)
    }
    namespaces = api.read_all(NAMESPACE, labels | MANAGED_BY, lambda item: item)
    ours = {
        plural: [item for item in items if item["namespace"] == namespace_of(_tenant(item))]
        for plural, items in metadata.items()
    }
    homes = [
        item
        for item in namespaces
        if item["metadata"]["name"] == namespace_of(_tenant(item["metadata"]))
    ]
    return sort_out_leftovers(provider, ours, homes)


def sort_out_leftovers(
    provider: str,
    metadata: Mapping[str, list[Mapping[str, Any]]],
    namespaces: Sequence[Mapping[str, Any]],
) -> tuple[Leftover, ...]:
    """``metadata`` by the plural of their kind. Pure."""
    # Of a Deployment that somebody has taken labels from the pods are there.
    running = (item for item in metadata[POD.plural] if "deletionTimestamp" not in item)
    labels = [item.get("labels") or {} for item in (*metadata[DEPLOYMENT.plural], *running)]
    sets = {
        (row.get(LABEL_TENANT), row.get(LABEL_INSTANCE), row.get(LABEL_RELEASE)) for row in labels
    }
    instances = {owner[:2] for owner in sets}
    used = {item["namespace"] for items in metadata.values() for item in items}
    found = []
    for kind in BELONGINGS:
        for item in metadata[kind.plural]:
            row = item.get("labels") or {}
            owner = (row.get(LABEL_TENANT), row.get(LABEL_INSTANCE), row.get(LABEL_RELEASE))
            if None in owner[:2]:
                continue
            release = str(owner[2] or "")
            if (owner not in sets) if release.isdigit() else (owner[:2] not in instances):
                found.append(
                    Leftover(
                        provider,
                        instance_key(str(owner[0]), str(owner[1])),
                        f"the {kind.kind} {item['namespace']}/{item['name']}",
                        int(release) if release.isdigit() else None,
                    )
                )
    for item in namespaces:
        tenant = (item["metadata"].get("labels") or {}).get(LABEL_TENANT)
        is_going = (item.get("status") or {}).get("phase") == "Terminating"
        name = item["metadata"]["name"]
        if tenant and not is_going and name not in used:
            found.append(Leftover(provider, tenant_key(tenant), f"the namespace {name}"))
    return tuple(sorted(found, key=lambda item: (item.owner, item.release or 0, item.what)))


def _tenant(metadata: Mapping[str, Any]) -> str:
    return str((metadata.get("labels") or {}).get(LABEL_TENANT, ""))


def _metadata(item: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = item["metadata"]
    return found
