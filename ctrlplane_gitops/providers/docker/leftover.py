"""What an engine and its machine keep for those that have no container."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ctrlplane_gitops.providers.base import LABEL_TENANT
from ctrlplane_gitops.providers.docker.translate import Container, network_name
from ctrlplane_gitops.state.key import ResourceKey, tenant_key
from ctrlplane_gitops.state.observed import Leftover


def sort_out_leftovers(
    provider: str,
    plane: str,
    containers: Sequence[Container],
    networks: Iterable[Mapping[str, Any]],
    secrets: Iterable[tuple[ResourceKey, int | None]],
) -> tuple[Leftover, ...]:
    """Networks of tenants without a container, and secrets of releases without one. ``networks``
    are rows of the engine's list; one that is not named as we do is somebody's own. ``secrets``
    are owners with a release, or None for a folder that is empty. Pure."""
    releases = {(item.instance, item.release) for item in containers}
    instances = {item.instance for item in containers}
    tenants = {item.instance.tenant for item in containers}
    found = [
        Leftover(provider, tenant_key(tenant), f"the network {name}")
        for tenant, name in sorted(_tenants_of(plane, networks).items())
        if tenant not in tenants
    ]
    for owner, release in secrets:
        if owner not in instances or (release is not None and (owner, release) not in releases):
            found.append(Leftover(provider, owner, "files of secrets", release))
    return tuple(sorted(found, key=lambda item: (item.owner, item.release or 0)))


def _tenants_of(plane: str, networks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    rows = ((str((row.get("Labels") or {}).get(LABEL_TENANT, "")), row) for row in networks)
    return {
        tenant: str(row["Name"])
        for tenant, row in rows
        if row["Name"] == network_name(plane, tenant)
    }
