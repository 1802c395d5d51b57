"""A Deployment that somebody else made, in the words of a release. Pure.

It cannot be taken over as it is: its name and its selector say whose it is and cannot be changed,
and its pods would have to be made anew to carry our labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ctrlplane_gitops.providers.adopting import Foreign
from ctrlplane_gitops.providers.base import LABEL_PLANE
from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.state.template import Port
from ctrlplane_gitops.units import parse_bytes, parse_cpu

_BESIDE = "its name and selector cannot be changed, so the first release is started beside it"


def describe_deployment(found: Mapping[str, Any]) -> Foreign:
    metadata, spec = found["metadata"], found["spec"]["template"]["spec"]
    container = spec["containers"][0]
    env, references = _env(container)
    return Foreign(
        f"{metadata['namespace']}/{metadata['name']}",
        str(metadata["uid"]),
        str(container["image"]),
        tuple(container.get("args") or ()),
        env,
        tuple(_ports(container)),
        _limits(container),
        int(found["spec"].get("replicas", 1)),
        tuple(_health(container)),
        references,
        tuple(_find_obstacles(found, spec, container)),
        tuple(_find_notes(spec, container)),
    )


def _env(container: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Values, and of those that are kept in Secrets where."""
    values, references = {}, {}
    for item in container.get("env") or ():
        secret = (item.get("valueFrom") or {}).get("secretKeyRef")
        if secret is not None:
            references[item["name"]] = f"the key {secret['key']!r} of Secret {secret['name']!r}"
        elif "valueFrom" not in item:
            values[item["name"]] = str(item.get("value", ""))
    return values, references


def _ports(container: Mapping[str, Any]) -> Iterator[Port]:
    for item in container.get("ports") or ():
        if item.get("protocol", "TCP") == "TCP":
            number = int(item["containerPort"])
            yield Port(str(item.get("name") or f"port-{number}"), number)


def _limits(container: Mapping[str, Any]) -> Resources:
    limits = (container.get("resources") or {}).get("limits") or {}
    cpu, memory = limits.get("cpu"), limits.get("memory")
    return Resources(
        None if cpu is None else parse_cpu(str(cpu)),
        None if memory is None else parse_bytes(str(memory)),
    )


def _health(container: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The readiness probe, where it is one of HTTP at a port that has a name here."""
    ask = (container.get("readinessProbe") or {}).get("httpGet")
    port = None if ask is None else _port_name(container, ask.get("port"))
    if ask is not None and port is not None:
        yield {"name": "ready", "type": "http", "port": port, "path": ask.get("path") or "/"}


def _port_name(container: Mapping[str, Any], wanted: Any) -> str | None:
    return next((it.name for it in _ports(container) if wanted in (it.name, it.port)), None)


def _find_obstacles(
    found: Mapping[str, Any], spec: Mapping[str, Any], container: Mapping[str, Any]
) -> Iterator[str]:
    labels = found["metadata"].get("labels") or {}
    if LABEL_PLANE in labels:
        yield f"it is a replica set of the control plane {labels[LABEL_PLANE]!r}"
    if len(spec["containers"]) > 1 or spec.get("initContainers"):
        yield "its pods have several containers, and specs have one"
    if container.get("command"):
        yield "its command takes the place of the image's entrypoint, which specs cannot say"
    if container.get("envFrom"):
        yield "envFrom: specs name each variable"
    for item in container.get("env") or ():
        kinds = set(item.get("valueFrom") or {}) - {"secretKeyRef"}
        if kinds:
            yield f"{item['name']} is from {min(kinds)}, which specs cannot say"
    for volume in spec.get("volumes") or ():
        kind = min((name for name in volume if name != "name"), default="a volume")
        yield f"volume {volume['name']} ({kind}): an instance begins with volumes of its own"
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"it has {field}, which specs cannot ask for"


def _find_notes(spec: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[str]:
    yield _BESIDE
    if container.get("workingDir"):
        yield f"its working directory is {container['workingDir']}; ours is the image's"
    probes = [name for name in ("startupProbe", "livenessProbe") if container.get(name)]
    if container.get("readinessProbe") and not tuple(_health(container)):
        probes.append("readinessProbe")
    if probes:
        yield f"not described: {', '.join(probes)}; see health"
    if spec.get("imagePullSecrets"):
        yield "its registry wants a password: add a Secret of type registry"
    if spec.get("serviceAccountName") not in (None, "default"):
        yield f"it ran as {spec['serviceAccountName']}; ours has an account without rights"
