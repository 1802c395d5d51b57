"""Taking over a container that somebody else made; see ``adopted``.

Its marker may be cleared away by ``docker container prune``. So the same labels stand where they
stay as long as the container does: in the options of its place in the tenant's network, which it
joins under the instance's name. Before a replica is started, markers are made again from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docker.errors import APIError

from ctrlplane_gitops.errors import ConflictError, ProviderError
from ctrlplane_gitops.providers.adopting import Adoption, Foreign
from ctrlplane_gitops.providers.base import (
    LABEL_INSTANCE,
    LABEL_PLANE,
    LABEL_RELEASE,
    LABEL_REPLICA,
    LABEL_REVISION,
)
from ctrlplane_gitops.providers.container import owner_labels
from ctrlplane_gitops.providers.docker.foreign import describe_foreign
from ctrlplane_gitops.providers.docker.translate import LABEL_ADOPTS, LABEL_PORTS
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.scaling import replica_name


def find_foreign(client: Any, name: str) -> Foreign:
    found = client.inspect_container(name)
    markers = client.containers(all=True, filters={"label": [f"{LABEL_ADOPTS}={found['Id']}"]})
    owner = next((row["Labels"].get(LABEL_REPLICA, "") for row in markers), "")
    return describe_foreign(found, client.inspect_image(found["Image"]), owner)


def marker_labels(plane: str, adoption: Adoption) -> dict[str, str]:
    instance, number = adoption.instance, adoption.release
    return owner_labels(plane, instance.tenant, instance.name) | {
        LABEL_RELEASE: str(number),
        LABEL_REVISION: adoption.revision,
        LABEL_REPLICA: replica_name(plane, instance, number, 0),
        LABEL_PORTS: ",".join(f"{port.name}={port.port}" for port in adoption.foreign.ports),
        LABEL_ADOPTS: adoption.foreign.id,
    }


def mark(client: Any, network: str, labels: Mapping[str, str], effects: Effects) -> None:
    """Both marks of one container; twice is once. ProviderError when the name of the marker is
    somebody else's."""
    marker, subject = labels[LABEL_REPLICA], labels[LABEL_ADOPTS]
    found = client.inspect_container(subject)
    if network not in found["NetworkSettings"]["Networks"]:
        with effects.made(f"connect:{marker}"):
            client.connect_container_to_network(
                subject, network, aliases=[labels[LABEL_INSTANCE]], driver_opt=dict(labels)
            )
    try:
        with effects.made(f"create:{marker}"):
            client.create_container(
                found["Image"],
                name=marker,
                labels=dict(labels),
                command=["adopted"],
                network_disabled=True,
            )
    except APIError as error:
        if error.status_code != 409:
            raise
        _check_marker(marker, client.inspect_container(marker), labels)


def restore_markers(client: Any, plane: str, network: str, effects: Effects) -> bool:
    """Make the markers anew that running containers of a network have lost; True where some had."""
    is_any = False
    rows = client.containers(filters={"network": [network]})
    ids = [row["Id"] for row in rows if LABEL_PLANE not in (row.get("Labels") or {})]
    for id in ids:
        networks = client.inspect_container(id)["NetworkSettings"]["Networks"]
        labels = (networks.get(network) or {}).get("DriverOpts") or {}
        if labels.get(LABEL_PLANE) != plane or labels.get(LABEL_ADOPTS) != id:
            continue
        if not client.containers(all=True, filters={"label": [f"{LABEL_ADOPTS}={id}"]}):
            mark(client, network, labels, effects)
            is_any = True
    return is_any


def _check_marker(name: str, found: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    """ProviderError unless the container that has the name of a marker is that very one."""
    seen = found["Config"].get("Labels") or {}
    if labels.items() <= seen.items():
        return
    if seen.get(LABEL_PLANE) == labels[LABEL_PLANE]:
        raise ConflictError(f"there is a replica {name} already", hint="status shows it")
    raise ProviderError(
        f"container {name!r} exists and is not ours",
        hint="its labels name another owner; rename or remove it by hand",
    )
