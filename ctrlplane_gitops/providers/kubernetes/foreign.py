"""A Deployment that somebody else made, in the words of a release. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ctrlplane_gitops.cluster.owner import is_of_person
from ctrlplane_gitops.providers.adopting import Foreign
from ctrlplane_gitops.providers.base import LABEL_PLANE
from ctrlplane_gitops.providers.kubernetes.manifest import fingerprint
from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.state.template import Port
from ctrlplane_gitops.units import parse_bytes, parse_cpu

# What pods, and a container, may have that specs have no field for.
_POD_FIELDS = (
    "affinity", "dnsConfig", "hostAliases", "hostIPC", "hostNetwork", "hostPID", "nodeSelector",
    "priorityClassName", "runtimeClassName", "securityContext", "shareProcessNamespace",
    "tolerations", "topologySpreadConstraints",
)  # fmt: skip
_CONTAINER_FIELDS = ("securityContext", "stdin", "tty", "volumeDevices")
# What is adopted is the release for as long as these stay as they are.
PRINTED = ("image", "command", "args", "env", "ports")


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
        _is_scaled(found["metadata"]),
    )


def print_of(found: Mapping[str, Any]) -> str:
    """Changes with what it runs."""
    container = found["spec"]["template"]["spec"]["containers"][0]
    return fingerprint({name: container.get(name) for name in PRINTED})


def _is_scaled(metadata: Mapping[str, Any]) -> bool:
    """Whether an autoscaler decides how many there are."""
    entries = metadata.get("managedFields") or ()
    return any(
        it.get("subresource") == "scale" and not is_of_person(str(it.get("manager")))
        for it in entries
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
    yield from _find_ownership(found)
    for part in ("initContainers", "containers"):
        extra = (spec.get(part) or ())[1 if part == "containers" else 0 :]
        for item in extra:
            yield f"{part}[{item['name']}]: its pods have several containers, and specs have one"
    if container.get("command"):
        yield "command: it takes the place of the image's entrypoint, which specs cannot say"
    if container.get("envFrom"):
        yield "envFrom: specs name each variable"
    for item in container.get("env") or ():
        kinds = set(item.get("valueFrom") or {}) - {"secretKeyRef"}
        if kinds:
            yield f"env[{item['name']}] is from {min(kinds)}, which specs cannot say"
    for volume in spec.get("volumes") or ():
        kind = min((name for name in volume if name != "name"), default="a volume")
        yield f"volumes[{volume['name']}] ({kind}): an instance begins with volumes of its own"
    for field in _POD_FIELDS:
        if spec.get(field):
            yield f"{field}: specs have no field for it"
    if (container.get("lifecycle") or {}).get("postStart"):
        yield f"containers[{container['name']}].lifecycle.postStart: specs have no field for it"
    for field in _CONTAINER_FIELDS:
        if container.get(field):
            yield f"containers[{container['name']}].{field}: specs have no field for it"


def _find_ownership(found: Mapping[str, Any]) -> Iterator[str]:
    """Why it is not free to be anybody's."""
    metadata, spec = found["metadata"], found["spec"]
    labels = metadata.get("labels") or {}
    if LABEL_PLANE in labels:
        yield f"it is a replica set of the control plane {labels[LABEL_PLANE]!r}"
    for owner in metadata.get("ownerReferences") or ():
        yield f"it is made by {owner['kind']} {owner['name']!r}, which would take it back"
    if spec["selector"].get("matchExpressions"):
        yield "selector.matchExpressions: a Service has no field for it"
    if spec.get("paused"):
        yield "paused: a rollout of its own is held"
    status = found.get("status") or {}
    wanted = spec.get("replicas", 1)
    if status and not status.get("updatedReplicas", 0) == status.get("replicas", 0) == wanted:
        yield "a rollout of its own is under way"


def _find_notes(spec: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[str]:
    if container.get("workingDir"):
        yield f"its working directory is {container['workingDir']}; ours is the image's"
    probes = [name for name in ("startupProbe", "livenessProbe") if container.get(name)]
    if container.get("readinessProbe") and not tuple(_health(container)):
        probes.append("readinessProbe")
    if probes:
        yield f"not described: {', '.join(probes)}; see health"
    resources = container.get("resources") or {}
    if (resources.get("requests") or {}) != (resources.get("limits") or {}):
        yield "its requests are not its limits; the next release asks for what it may use"
    if (container.get("lifecycle") or {}).get("preStop"):
        yield "its preStop is not described; ours answers as before for 3 s"
    if spec.get("imagePullSecrets"):
        yield "its registry wants a password: add a Secret of type registry"
    if spec.get("serviceAccountName") not in (None, "default"):
        yield f"it ran as {spec['serviceAccountName']}; ours has an account without rights"
