"""``kind: Instance``: a running application of a tenant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field

from ctrlplane_gitops.specs.field import (
    Command,
    Cpu,
    DriftMode,
    Env,
    GrpcService,
    InstanceAddress,
    Mode,
    Name,
    Path,
    PositiveDuration,
    RepoPath,
    Size,
    Statuses,
    UrlPath,
)
from ctrlplane_gitops.specs.later import NumberOr
from ctrlplane_gitops.specs.model import (
    Envelope,
    InstanceMetadata,
    Model,
    Spec,
    exactly_one,
    new,
)
from ctrlplane_gitops.specs.problem import Problem
from ctrlplane_gitops.specs.rule import find_duplicates

_CHECK_FIELDS = {
    "http": frozenset({"port", "path", "statuses"}),
    "tcp": frozenset({"port"}),
    "grpc": frozenset({"port", "service"}),
    "command": frozenset({"command"}),
}
"""The fields of a health check that only some types have."""
_SOME_TYPES = ("port", "path", "statuses", "service", "command")


def _load_autoscaled() -> type[Model]:
    from ctrlplane_gitops.specs.autoscaled import AutoscaledSpec

    return AutoscaledSpec


if TYPE_CHECKING:
    from ctrlplane_gitops.specs.autoscaled import AutoscaledSpec

    ReplicasSpec = int | AutoscaledSpec
else:
    ReplicasSpec = Annotated[Any, NumberOr(1000, _load_autoscaled)]


class ResourceSpec(Model):
    cpu: Cpu | None = Field(
        default=None, description="Limit per replica: 500m, 2. Not limited if left out."
    )
    memory: Size | None = Field(
        default=None, description="Limit per replica: 256Mi. Not limited if left out."
    )


class PortSpec(Model):
    name: Name = Field(description="Name that routes and health checks use.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(
        description="Number the application listens on; a process finds its own in PORT."
    )


class VolumeSpec(Model):
    name: Name = Field(description="Name of the volume; it outlives releases.")
    path: Path = Field(description="Where the replica sees it.")
    size: Size | None = Field(default=None, description="How much it may hold: 1Gi.")


class FileSpec(Model):
    """Exactly one of ``source`` and ``content``."""

    model_config = ConfigDict(json_schema_extra=exactly_one("source", "content"))

    path: Path = Field(description="Where the replica sees the file.")
    source: RepoPath | None = Field(
        default=None, description="File of the repository, from its root."
    )
    content: str | None = Field(default=None, description="The content itself.")
    mode: Mode = Field(default="0644", description="Permissions as octal digits in quotes.")


class CheckSpec(Model):
    name: Name | None = Field(default=None, description="Name of the check; its type if left out.")
    type: Literal["http", "tcp", "grpc", "command"] = Field(description="How the replica is asked.")
    port: Name | None = Field(
        default=None,
        description="Types http, tcp and grpc: name of a port; the first port if left out.",
    )
    path: UrlPath = Field(default="/", description="Type http: the path that is requested.")
    command: Command = Field(
        default_factory=new(list), description="Type command: run in the replica; 0 passes."
    )
    interval: PositiveDuration = Field(default="5s", description="Time between two checks.")
    timeout: PositiveDuration = Field(
        default="2s", description="Time after which a check has failed."
    )
    retries: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3, description="Failures in a row that make a replica unhealthy."
    )
    statuses: Statuses = Field(default="200-399", description="Type http: status codes that pass.")
    service: GrpcService = Field(
        default="",
        description="Type grpc: the service that grpc.health.v1.Health/Check is asked about, over"
        " plain text (no TLS); the whole server if left out.",
    )


class InstanceSpec(Spec):
    provider: Name | None = Field(
        default=None, description="Where it runs: an alias of the control plane's providers."
    )
    replicas: ReplicasSpec = Field(
        default=1,
        description="How many run; or {owner: autoscaler}, where somebody else decides that.",
    )
    resources: ResourceSpec = Field(
        default_factory=new(ResourceSpec), description="Limits per replica."
    )
    ports: list[PortSpec] = Field(
        default_factory=new(list), max_length=100, description="Ports the application listens on."
    )
    env: Env = Field(default_factory=new(dict), description="Environment; the values are strings.")
    secrets: list[Name] = Field(
        default_factory=new(list), description="Names of secrets of the same tenant to hand over."
    )
    volumes: list[VolumeSpec] = Field(
        default_factory=new(list), description="Directories that outlive releases."
    )
    files: list[FileSpec] = Field(
        default_factory=new(list), description="Files shipped into each replica."
    )
    health: list[CheckSpec] = Field(
        default_factory=new(list), description="When a replica counts as ready: all checks pass."
    )
    depends_on: list[InstanceAddress] = Field(
        default_factory=new(list), description="Instances that are brought up before this one."
    )
    drift: DriftMode | None = Field(
        default=None, description="Correct drift or report it; the tenant's if left out."
    )
    protect: bool = Field(default=False, description="Refuse to delete the instance.")

    def find_problems(self) -> Iterator[Problem]:
        yield from find_duplicates([x.name for x in self.ports], ("ports",), "name", "name")
        yield from find_duplicates([x.port for x in self.ports], ("ports",), "number", "port")
        yield from find_duplicates(self.secrets, ("secrets",), "secret")
        yield from find_duplicates([x.name for x in self.volumes], ("volumes",), "name", "name")
        yield from find_duplicates([x.path for x in self.volumes], ("volumes",), "path", "path")
        yield from find_duplicates([x.path for x in self.files], ("files",), "path", "path")
        names = [check.name or check.type for check in self.health]
        yield from find_duplicates(names, ("health",), "name", "name")
        yield from find_duplicates(self.depends_on, ("dependsOn",), "address")
        for index, file in enumerate(self.files):
            yield from _check_file(file, index)
        for index, check in enumerate(self.health):
            yield from _check_health(check, index)

    def normalise(self) -> dict[str, Any]:
        spec = super().normalise()
        for check in spec["health"]:
            check.setdefault("name", check["type"])
            if "port" in _CHECK_FIELDS[check["type"]] and spec["ports"]:
                check.setdefault("port", spec["ports"][0]["name"])
            if "service" not in _CHECK_FIELDS[check["type"]]:
                # Newer than the rest: a default would be a change of every check on record.
                del check["service"]
        return spec


def _check_health(check: CheckSpec, index: int) -> Iterator[Problem]:
    where = f"spec.health[{index}]"
    for name in _SOME_TYPES:
        if name in check.model_fields_set and name not in _CHECK_FIELDS[check.type]:
            summary = f"{where}.{name} has no meaning for a check of type {check.type}"
            yield Problem("unused-key", summary, "remove it", ("health", index, name))
    if check.type == "command" and not check.command:
        summary = f"{where}.command is required for a check of type command"
        yield Problem("missing-key", summary, field=("health", index, "command"))


def _check_file(file: FileSpec, index: int) -> Iterator[Problem]:
    given = [name for name in ("source", "content") if getattr(file, name) is not None]
    if len(given) != 1:
        state = "both" if given else "none"
        summary = f"spec.files[{index}] needs exactly one of source and content, and has {state}"
        yield Problem("wrong-choice", summary, field=("files", index))


class InstanceDocument(Envelope):
    """A running application of a tenant."""

    kind: Literal["Instance"] = Field(description="A running application of a tenant.")
    metadata: InstanceMetadata = Field(description="Tenant, name, labels and annotations.")
    spec: InstanceSpec = Field(
        default_factory=new(InstanceSpec), description="How and where it runs."
    )
