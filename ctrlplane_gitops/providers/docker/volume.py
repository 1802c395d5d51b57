"""Named volumes: they outlive releases and instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import docker
from docker.errors import NotFound

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.container import owner_labels
from ctrlplane_gitops.providers.docker.translate import label_filter, volume_name
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.template import ReleaseTemplate


def ensure_volumes(
    client: docker.APIClient,
    effects: Effects,
    plane: str,
    instance: ResourceKey,
    template: ReleaseTemplate,
) -> dict[str, str]:
    """The volumes' names by path; ProviderError for a stranger of that name."""
    labels = owner_labels(plane, instance.tenant, instance.name)
    found = {}
    for volume in template.volumes:
        name = volume_name(plane, instance, volume.name)
        row = _find(client, name)
        if row is None:
            with effects.made(f"volume:{name}"):
                row = client.create_volume(name, labels=labels)
        if not labels.items() <= (row.get("Labels") or {}).items():
            raise ProviderError(f"volume {name!r} exists and is not ours")
        found[volume.path] = name
    return found


def remove_volumes(
    client: docker.APIClient, effects: Effects, plane: str, instance: ResourceKey
) -> None:
    labels = owner_labels(plane, instance.tenant, instance.name)
    # None where there is none, not an empty list.
    for row in client.volumes(filters=label_filter(labels))["Volumes"] or []:
        with effects.made(f"remove-volume:{row['Name']}"):
            try:
                client.remove_volume(row["Name"])
            except NotFound:
                continue


def _find(client: docker.APIClient, name: str) -> Mapping[str, Any] | None:
    try:
        row: dict[str, Any] = client.inspect_volume(name)
    except NotFound:
        return None
    return row
