"""What a provider's type asks of an instance and its deployment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ctrlplane_gitops.catalog.finding import caution, fault
from ctrlplane_gitops.catalog.index import Scope, TenantSpecs
from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import StrategyType
from ctrlplane_gitops.state.template import SecretType

_PROCESS, _MEMORY, _KUBERNETES = "process", "memory", "kubernetes"
_USUAL_STATUSES = "200-399"
# Where somebody else may decide how many replicas there are.
AUTOSCALING = frozenset({_KUBERNETES, _MEMORY})
_MOVING = (StrategyType.BLUE_GREEN, StrategyType.CANARY)


class _Target(NamedTuple):
    """Something that gets a path in a replica, and where the specs say so."""

    what: str
    path: str
    field: tuple[str | int, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple([part for part in self.path.split("/") if part not in ("", ".")])


def check_deployment_runtime(
    document: Document, specs: TenantSpecs, scope: Scope
) -> Iterator[Diagnostic]:
    """Image or command are what the provider can run, and a strategy that moves traffic has some
    to move."""
    strategy = document.spec["strategy"]["type"]
    if strategy in _MOVING and not _is_routed(document, specs, scope):
        yield caution(
            document,
            "no-traffic",
            f"strategy {strategy} moves no requests: no route leads to"
            f" instance/{document.tenant}/{document.spec['instance']}"
            + ("" if scope.plane.router else ", and there is no router"),
            "strategy",
            "type",
            hint="add a Route"
            + ("" if scope.plane.router else ", and spec.router to ctrlplane.yaml"),
        )
    instance = specs.instances.get(document.spec["instance"])
    kind = None if instance is None else scope.type_of(instance)
    if kind is not None:
        yield from _check_program(document, kind)


def _is_routed(document: Document, specs: TenantSpecs, scope: Scope) -> bool:
    name = document.spec["instance"]
    routes = specs.routes.values()
    return scope.plane.router is not None and any(it.spec["instance"] == name for it in routes)


def check_paths(document: Document, specs: TenantSpecs, scope: Scope) -> Iterator[Diagnostic]:
    """Volumes, files and secrets that are files: below the working directory, in containers
    absolute paths as well, and never two in one place."""
    targets = list(_targets(document, specs))
    if not targets:
        return
    kind = scope.type_of(document)
    for target in targets:
        if kind == _PROCESS or (kind not in (None, _MEMORY) and not target.path.startswith("/")):
            yield from _check_relative(document, target)
    yield from _check_overlaps(document, targets, is_nesting_allowed=kind != _PROCESS)


def check_replicas(document: Document, scope: Scope) -> Iterator[Diagnostic]:
    """An autoscaler is something of the provider's."""
    kind = scope.type_of(document)
    if kind is not None and kind not in AUTOSCALING and not isinstance(
        document.spec["replicas"], int
    ):  # fmt: skip
        yield fault(
            document,
            "no-autoscaler",
            f"provider {scope.provider_of(document)!r} ({kind}) has no capability 'autoscaling',"
            " so nobody would decide how many replicas there are",
            "replicas",
            hint="say how many run: replicas: 2",
        )


def check_probes(document: Document, scope: Scope) -> Iterator[Diagnostic]:
    """Where somebody else probes, the checks are those it can make: the kubelet makes one of each
    container, and takes the statuses it takes."""
    if scope.type_of(document) != _KUBERNETES:
        return
    checks = document.spec["health"]
    for place, check in enumerate(checks):
        if place:
            yield fault(
                document,
                "too-many-checks",
                f"Kubernetes makes one health check of each replica, and there are {len(checks)}",
                "health",
                place,
                hint="have one check say it all",
            )
        if check["type"] == "http" and check["statuses"] != _USUAL_STATUSES:
            yield fault(
                document,
                "fixed-statuses",
                f"Kubernetes takes the statuses {_USUAL_STATUSES}, not {check['statuses']}",
                "health",
                place,
                "statuses",
                hint="leave it out",
            )


def _check_program(document: Document, kind: str) -> Iterator[Diagnostic]:
    image, command = document.spec.get("image"), document.spec["command"]
    if kind == _PROCESS:
        # An image beside the command is for the day the instance moves to containers.
        if not command:
            yield fault(
                document,
                "command-required",
                "a process provider needs `command`",
                hint="say what to run, for example command: [./server, --port, $(PORT)]"
                + ("; an image is for container providers" if image else ""),
            )
    elif kind == _MEMORY:
        if not image and not command:
            yield fault(document, "image-required", "it needs `image` or `command`")
    elif not image:
        yield fault(document, "image-required", f"a {kind} provider needs `image`")


def _check_relative(document: Document, target: _Target) -> Iterator[Diagnostic]:
    if target.path.startswith("/"):
        yield fault(
            document,
            "absolute-path",
            f"{target.what} path {target.path!r} is absolute",
            *target.field,
            hint="paths of process replicas are relative to their working directory",
        )
    elif ".." in target.parts or not target.parts:
        yield fault(
            document,
            "path-outside",
            f"{target.what} path {target.path!r} leaves the working directory",
            *target.field,
            hint="use a path below the replica's working directory",
        )


def _check_overlaps(
    document: Document, targets: Sequence[_Target], *, is_nesting_allowed: bool
) -> Iterator[Diagnostic]:
    """A file within a volume is fine in a container, where mounts nest, but not for a process,
    whose volumes are links to directories that outlive it."""
    seen: dict[tuple[str, ...], _Target] = {}
    inside: dict[tuple[str, ...], _Target] = {}  # what lies in a folder, by the folder
    for target in targets:
        parts = target.parts
        folders = () if is_nesting_allowed else [parts[:size] for size in range(1, len(parts))]
        earlier = seen.get(parts) or inside.get(parts)
        for folder in folders:
            earlier = earlier or seen.get(folder)
            inside.setdefault(folder, target)
        if earlier is not None:
            yield fault(
                document,
                "path-conflict",
                f"{target.what} path {target.path!r} overlaps the {earlier.what} path"
                f" {earlier.path!r}",
                *target.field,
                hint="give each its own place",
            )
        seen.setdefault(parts, target)


def _targets(document: Document, specs: TenantSpecs) -> Iterator[_Target]:
    spec = document.spec
    for place, item in enumerate(spec["volumes"]):
        yield _Target("volume", item["path"], ("volumes", place, "path"))
    for place, item in enumerate(spec["files"]):
        yield _Target("file", item["path"], ("files", place, "path"))
    for place, name in enumerate(spec["secrets"]):
        secret = specs.secrets.get(name)
        if secret is not None and secret.spec["type"] == SecretType.FILE:
            yield _Target("secret", secret.spec.get("path") or "", ("secrets", place))
