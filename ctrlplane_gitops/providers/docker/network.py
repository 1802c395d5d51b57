"""One network per tenant, where containers find each other by instance name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import docker
from docker.errors import APIError, NotFound

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.docker.effects import Effects
from ctrlplane_gitops.providers.docker.translate import label_filter, network_name, owner_labels


def ensure_network(client: docker.APIClient, effects: Effects, plane: str, tenant: str) -> str:
    """The tenant's network, made where missing; ProviderError for a stranger of that name."""
    name, labels = network_name(plane, tenant), owner_labels(plane, tenant)
    if not _is_there(client, name, labels):
        with effects.made(f"network:{name}"):
            try:
                client.create_network(name, driver="bridge", labels=labels, check_duplicate=True)
            except APIError as error:
                # Another instance of the tenant was quicker.
                if error.status_code != 409 or not _is_there(client, name, labels):
                    raise
    return name


def remove_network(client: docker.APIClient, effects: Effects, plane: str, tenant: str) -> None:
    for row in client.networks(filters=label_filter(owner_labels(plane, tenant))):
        with effects.made(f"remove-network:{row['Name']}"):
            try:
                client.remove_network(row["Id"])
            except NotFound:
                continue


def _is_there(client: docker.APIClient, name: str, labels: Mapping[str, str]) -> bool:
    # The engine's filter finds every network whose name contains this one.
    rows: list[dict[str, Any]] = client.networks(names=[name])
    for row in rows:
        if row["Name"] == name:
            if not labels.items() <= (row.get("Labels") or {}).items():
                raise ProviderError(f"network {name!r} exists and is not ours")
            return True
    return False
