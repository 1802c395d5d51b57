"""A container that somebody else made, in the words of a release. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ctrlplane_gitops.providers.adopting import Foreign
from ctrlplane_gitops.providers.base import LABEL_PLANE
from ctrlplane_gitops.providers.docker.limits import inspected_limits
from ctrlplane_gitops.state.template import Port

_USUAL = {80: "http", 443: "https", 3000: "http", 3306: "mysql", 5000: "http", 5432: "postgres",
          6379: "redis", 8000: "http", 8080: "http", 8443: "https"}  # fmt: skip
_OWN_NETWORKS = {"", "default", "bridge"}


def describe_foreign(
    container: Mapping[str, Any], image: Mapping[str, Any], owner: str = ""
) -> Foreign:
    """From two inspects: the container's and its image's. ``owner`` is the replica it has been
    adopted as."""
    config, host = container["Config"], container["HostConfig"]
    built = image.get("Config") or {}
    return Foreign(
        str(container["Name"]).removeprefix("/"),
        str(container["Id"]),
        str(config["Image"]),
        _command(config, built),
        _env(config, built),
        tuple(_ports(container)),
        inspected_limits(host),
        obstacles=tuple(_find_obstacles(container, built, owner)),
        notes=tuple(_find_notes(container, image)),
    )


def _command(config: Mapping[str, Any], built: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs from the image's; ``$`` doubled where it would be taken for a reference."""
    command = list(config.get("Cmd") or ())
    if command == list(built.get("Cmd") or ()):
        return ()
    return tuple(
        part.replace("$", "$$") if "$$" in part or "$(" in part else part for part in command
    )


def _env(config: Mapping[str, Any], built: Mapping[str, Any]) -> dict[str, str]:
    known = set(built.get("Env") or ())
    given = (item for item in config.get("Env") or () if item not in known)
    return {name: value for name, _, value in (item.partition("=") for item in given)}


def _ports(container: Mapping[str, Any]) -> Iterator[Port]:
    """Those that can be reached: published ones, by TCP."""
    taken: set[str] = set()
    for number in sorted(int(port.partition("/")[0]) for port in _published(container)):
        usual = _USUAL.get(number, "")
        name = usual if usual and usual not in taken else f"port-{number}"
        taken.add(name)
        yield Port(name, number)


def _published(container: Mapping[str, Any]) -> list[str]:
    ports: Mapping[str, Any] = (container.get("NetworkSettings") or {}).get("Ports") or {}
    return [port for port, bindings in ports.items() if bindings and port.endswith("/tcp")]


def _find_obstacles(
    container: Mapping[str, Any], built: Mapping[str, Any], owner: str
) -> Iterator[str]:
    config, host = container["Config"], container["HostConfig"]
    labels = config.get("Labels") or {}
    if owner:
        yield f"it has been adopted as {owner}"
    if LABEL_PLANE in labels:
        yield f"it is a replica of the control plane {labels[LABEL_PLANE]!r}"
    if not container["State"].get("Running") or container["State"].get("Paused"):
        yield f"it does not run ({container['State'].get('Status', 'unknown')})"
    for mount in container.get("Mounts") or ():
        source = mount.get("Name") or mount.get("Source") or mount.get("Type")
        yield (
            f"{mount['Destination']} is {source}: the next release would begin with an empty volume"
        )
    for field in ("Entrypoint", "User", "WorkingDir"):
        if (config.get(field) or None) != (built.get(field) or None):
            yield f"its {field} is not the image's, and specs have no field for that"
    for field in ("Privileged", "CapAdd", "Devices"):
        if host.get(field):
            yield f"it has {field}, which specs cannot ask for"
    mode = str(host.get("NetworkMode") or "")
    if mode in ("host", "none") or mode.startswith("container:"):
        yield f"its network is {mode!r}, which specs cannot ask for"
    if host.get("PidMode"):
        yield f"its process namespace is {host['PidMode']!r}, which specs cannot ask for"


def _find_notes(container: Mapping[str, Any], image: Mapping[str, Any]) -> Iterator[str]:
    config, host = container["Config"], container["HostConfig"]
    name = str(config["Image"])
    tags = {*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ()), str(image["Id"])}
    if not tags & {name, f"{name}:latest"}:
        yield f"{name} names another image by now: the next release runs that one"
    ports = (container.get("NetworkSettings") or {}).get("Ports") or {}
    for port in sorted(_published(container), key=lambda text: int(text.partition("/")[0])):
        places = {f"{it.get('HostIp') or '0.0.0.0'}:{it['HostPort']}" for it in ports[port]}
        where = ", ".join(sorted(places))
        yield f"port {port} is at {where}; the next release is at a free one: add a Route"
    hidden = sorted(port for port, bindings in ports.items() if not bindings)
    if hidden:
        yield f"not published, so not in ports: {', '.join(hidden)}"
    networks = sorted(set((container.get("NetworkSettings") or {}).get("Networks") or {}))
    foreign = [item for item in networks if item not in _OWN_NETWORKS]
    if foreign:
        text = f"it is in the network {', '.join(foreign)}"
        yield f"{text}; the next release is in its tenant's alone"
    policy = (host.get("RestartPolicy") or {}).get("Name")
    if policy not in (None, "", "no"):
        yield f"the engine restarts it ({policy}); the next release is as the provider says"
    if host.get("NanoCpus"):
        yield "its cpu limit (--cpus) cannot be changed while it runs: that takes a new release"
