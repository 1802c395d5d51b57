"""From a release to what a process needs, and back to what is observed. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ctrlplane_gitops.clock import parse_rfc3339
from ctrlplane_gitops.errors import CapabilityError, ProviderError
from ctrlplane_gitops.providers.base import (
    LABEL_INSTANCE,
    LABEL_PLANE,
    LABEL_RELEASE,
    LABEL_REPLICA,
    LABEL_REVISION,
    LABEL_TENANT,
)
from ctrlplane_gitops.providers.process.port import LOOPBACK
from ctrlplane_gitops.providers.scaling import replica_name
from ctrlplane_gitops.state.action import Material, ScaleReplicaSet
from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.state.expand import expand
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import Endpoint, ObservedReplica, ReplicaPhase
from ctrlplane_gitops.state.template import ReleaseTemplate, SecretType
from ctrlplane_gitops.value import field, struct

TAG_ROOT = "CTRLPLANE_ROOT"
# Only in the keeper's own environment: the id of the start it looks after.
TAG_KEEPER = "CTRLPLANE_KEEPER"
_TAGS = {
    "CTRLPLANE_PLANE": LABEL_PLANE,
    "CTRLPLANE_TENANT": LABEL_TENANT,
    "CTRLPLANE_INSTANCE": LABEL_INSTANCE,
    "CTRLPLANE_RELEASE": LABEL_RELEASE,
    "CTRLPLANE_REVISION": LABEL_REVISION,
    "CTRLPLANE_REPLICA": LABEL_REPLICA,
}
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
_SECRET_REFERENCE = re.compile(r"(?<!\$)(?:\$\$)*\$\(([^)]+)\)")


@struct
class ReplicaSpec:
    """What ``replica.json`` says: everything about a replica but its secrets. ``groups`` are its
    control groups by controller; ``is_watched``: the keeper sees to memory although it has one."""

    id: str
    name: str
    index: int
    labels: Mapping[str, str]
    command: tuple[str, ...]
    ports: Mapping[str, int]
    resources: Resources = field(default_factory=Resources)
    groups: Mapping[str, str] = field(default_factory=dict)
    is_watched: bool = False

    @property
    def release(self) -> int:
        return int(self.labels[LABEL_RELEASE])


def owner_labels(plane: str, action: ScaleReplicaSet, index: int) -> dict[str, str]:
    number = action.release.number
    return {
        LABEL_PLANE: plane,
        LABEL_TENANT: action.instance.tenant,
        LABEL_INSTANCE: action.instance.name,
        LABEL_RELEASE: str(number),
        LABEL_REVISION: action.release.revision,
        LABEL_REPLICA: replica_name(plane, action.instance, number, index),
    }


def build_spec(
    plane: str,
    action: ScaleReplicaSet,
    index: int,
    generation: str,
    ports: Mapping[str, int],
    groups: Mapping[str, str],
) -> ReplicaSpec:
    labels = owner_labels(plane, action, index)
    return ReplicaSpec(
        generation,
        labels[LABEL_REPLICA],
        index,
        labels,
        action.release.template.command,
        ports,
        action.resources,
        groups,
    )


def encode_spec(spec: ReplicaSpec) -> dict[str, Any]:
    """JSON for ``replica.json``."""
    limits = {
        "cpu_millicores": spec.resources.cpu_millicores,
        "memory_bytes": spec.resources.memory_bytes,
    }
    return {
        "id": spec.id,
        "name": spec.name,
        "index": spec.index,
        "labels": dict(spec.labels),
        "revision": spec.labels[LABEL_REVISION],
        "command": list(spec.command),
        "ports": dict(spec.ports),
        "limits": limits,
        "groups": dict(spec.groups),
        "is_watched": spec.is_watched,
    }


def decode_spec(raw: Any) -> ReplicaSpec:
    """The inverse; ValueError for anything that is not a whole ``replica.json``."""
    try:
        labels = {str(key): str(value) for key, value in raw["labels"].items()}
        int(labels[LABEL_RELEASE])
        if not set(_TAGS.values()) <= set(labels):
            raise ValueError("labels are missing")
        return ReplicaSpec(
            str(raw["id"]),
            str(raw["name"]),
            int(raw["index"]),
            labels,
            tuple(map(str, raw["command"])),
            {str(name): int(number) for name, number in raw["ports"].items()},
            Resources(raw["limits"]["cpu_millicores"], raw["limits"]["memory_bytes"]),
            {str(name): str(group) for name, group in raw["groups"].items()},
            bool(raw["is_watched"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a replica.json: {error!r}") from None


def build_tags(root: str, labels: Mapping[str, str]) -> dict[str, str]:
    """The owner labels as environment variables, and the directory they belong to."""
    return {TAG_ROOT: root} | {tag: labels[label] for tag, label in _TAGS.items()}


def parse_tags(environ: Mapping[str, str]) -> dict[str, str] | None:
    """The owner labels of a tagged environment; None when one is missing."""
    if not all(tag in environ for tag in _TAGS):
        return None
    return {label: environ[tag] for tag, label in _TAGS.items()}


def build_environment(
    template: ReleaseTemplate,
    ports: Mapping[str, int],
    inherited: Mapping[str, str],
    tags: Mapping[str, str],
) -> dict[str, str]:
    """The application's environment without secrets: little of ours, ports, then its own.

    >>> from ctrlplane_gitops.state.template import Port
    >>> template = ReleaseTemplate("local", ports=(Port("http-api", 80),), env={"A": "b"})
    >>> build_environment(template, {"http-api": 4000}, {"PATH": "/bin", "SHLVL": "1"}, {})
    {'PATH': '/bin', 'PORT': '4000', 'PORT_HTTP_API': '4000', 'A': 'b'}
    """
    environment = {"PATH": os.defpath}
    environment.update((name, inherited[name]) for name in _INHERITED if name in inherited)
    environment.update(tags)
    if template.ports:
        environment["PORT"] = str(ports[template.ports[0].name])
    for port in template.ports:
        environment[f"PORT_{port.name.upper().replace('-', '_')}"] = str(ports[port.name])
    return environment | dict(template.env)


def secret_environment(template: ReleaseTemplate, material: Material) -> dict[str, str]:
    """Variables that carry secrets; ProviderError for a value no variable can hold."""
    found = {}
    for mount in template.secrets:
        if mount.type is SecretType.ENV:
            value = material.secrets[mount.secret].reveal()
            if b"\0" in value:
                raise ProviderError(f"{mount.secret} holds a NUL byte: mount it as a file")
            found[mount.target] = value.decode("utf-8", "surrogateescape")
    return found


def expand_command(command: tuple[str, ...], environment: Mapping[str, str]) -> list[str]:
    """The arguments; ``environment`` must hold no secret, for arguments are seen by everybody."""
    return [expand(part, environment) for part in command]


def check_template(template: ReleaseTemplate, instance: ResourceKey) -> None:
    """ProviderError for what can never start as a process."""
    if template.image is not None:
        raise CapabilityError(
            f"{instance}: a process provider has no capability 'images'",
            hint="give the deployment a `command`, or the instance a provider that runs images",
        )
    if not template.command:
        raise ProviderError(f"{instance}: the deployment has no `command` to run")
    _check_paths(template, instance)
    secret_names = {
        mount.target for mount in template.secrets if mount.type is SecretType.ENV
    } - set(template.env)
    for part in template.command:
        for name in _SECRET_REFERENCE.findall(part):
            if name in secret_names:
                raise ProviderError(
                    f"{instance}: the command uses $({name}), a secret, and arguments are public",
                    hint=f"read {name} from the environment inside the program",
                )


def _check_paths(template: ReleaseTemplate, instance: ResourceKey) -> None:
    targets = [("volume", volume.path) for volume in template.volumes]
    targets += [("file", file.path) for file in template.files]
    targets += [("secret", s.target) for s in template.secrets if s.type is SecretType.FILE]
    seen: dict[PurePosixPath, str] = {}
    for what, text in targets:
        path = PurePosixPath(text)
        if path.is_absolute():
            raise ProviderError(
                f"{instance}: {what} path {text!r} is absolute",
                hint="paths of process replicas are relative to their working directory",
            )
        if ".." in path.parts or not path.parts or "\0" in text:
            raise ProviderError(f"{instance}: {what} path {text!r} leaves the working directory")
        for other in seen:
            if path == other or other in path.parents or path in other.parents:
                raise ProviderError(
                    f"{instance}: {what} path {text!r} overlaps {seen[other]} path {str(other)!r}"
                )
        seen[path] = what


def build_observed(
    spec: ReplicaSpec,
    state: Mapping[str, Any],
    phase: ReplicaPhase,
    reason: str,
    in_force: Resources,
) -> ObservedReplica:
    """One replica as observed. ``state`` is ``state.json`` or empty."""
    try:
        started_at = parse_rfc3339(state["started_at"])
    except (KeyError, ValueError, TypeError):
        started_at = None
    exit_code = state.get("exit_code")
    return ObservedReplica(
        spec.name,
        spec.id,
        spec.index,
        phase,
        tuple(Endpoint(name, LOOPBACK, number) for name, number in spec.ports.items()),
        started_at,
        in_force,
        exit_code if isinstance(exit_code, int) else None,
        reason,
    )
