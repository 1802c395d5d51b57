"""One network per tenant, where containers find each other by instance name."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import docker
from docker.errors import APIError, NotFound

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.container import owner_labels
from ctrlplane_gitops.providers.docker.translate import label_filter, network_name
from ctrlplane_gitops.providers.effects import Effects


def ensure_network(
    client: docker.APIClient, effects: Effects, plane: str, tenant: str, making: threading.Lock
) -> str:
    """The tenant's network, made where missing; ProviderError for a stranger of that name.

    Several instances of a tenant may want it at once, and the engine's own check for duplicates
    lets networks of one name through that are made at the same moment, so they are made one by one
    under ``making``. Where there are two nevertheless, no container could start in either: those
    that are empty are removed but for one."""
    name, labels = network_name(plane, tenant), owner_labels(plane, tenant)
    if len(_find(client, name, labels)) == 1:
        return name
    with making:
        found = _find(client, name, labels)
        if not found:
            with effects.made(f"network:{name}"):
                try:
                    client.create_network(
                        name, driver="bridge", labels=labels, check_duplicate=True
                    )
                except APIError as error:
                    # Another process was quicker.
                    if error.status_code != 409 or not _find(client, name, labels):
                        raise
        _remove_surplus(client, effects, name, found)
    return name


def _remove_surplus(
    client: docker.APIClient, effects: Effects, name: str, found: Sequence[str]
) -> None:
    left = len(found)
    for network in reversed(found):
        if left < 2:
            return
        with effects.made(f"remove-network:{name}"):
            try:
                client.remove_network(network)
            except APIError as error:
                # 403: containers are in it.
                if error.status_code not in (403, 404):
                    raise
                continue
        left -= 1


def remove_network(client: docker.APIClient, effects: Effects, plane: str, tenant: str) -> None:
    for row in client.networks(filters=label_filter(owner_labels(plane, tenant))):
        with effects.made(f"remove-network:{row['Name']}"):
            try:
                client.remove_network(row["Id"])
            except NotFound:
                continue


def _find(client: docker.APIClient, name: str, labels: Mapping[str, str]) -> list[str]:
    """The ids of every network of that name, the oldest first."""
    # The engine's filter finds every network whose name contains this one.
    rows: list[dict[str, Any]] = client.networks(names=[name])
    found = [row for row in rows if row["Name"] == name]
    if any(not labels.items() <= (row.get("Labels") or {}).items() for row in found):
        raise ProviderError(f"network {name!r} exists and is not ours")
    return [row["Id"] for row in sorted(found, key=lambda row: (row["Created"], row["Id"]))]
