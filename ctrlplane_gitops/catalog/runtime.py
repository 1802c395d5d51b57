"""What a provider's type asks of an instance and its deployment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from ctrlplane_gitops.catalog.finding import fault
from ctrlplane_gitops.catalog.index import Scope, TenantSpecs
from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import StrategyType
from ctrlplane_gitops.state.template import SecretType

_PROCESS, _MEMORY = "process", "memory"
_SUPPORTED = (StrategyType.RECREATE, StrategyType.ROLLING)


class _Target(NamedTuple):
    """Something that gets a path in a replica, and where the specs say so."""

    what: str
    path: str
    field: tuple[str | int, ...]


def check_deployment_runtime(
    document: Document, specs: TenantSpecs, scope: Scope
) -> Iterator[Diagnostic]:
    """The strategy is one of ours, and image or command are what the provider can run."""
    strategy = document.spec["strategy"]["type"]
    if strategy not in _SUPPORTED:
        yield fault(
            document,
            "unsupported-strategy",
            f"strategy {strategy} is not available in this version",
            "strategy",
            "type",
            hint="use rolling or recreate",
        )
    instance = specs.instances.get(document.spec["instance"])
    kind = None if instance is None else scope.type_of(instance)
    if kind is not None:
        yield from _check_program(document, kind)


def check_paths(document: Document, specs: TenantSpecs, scope: Scope) -> Iterator[Diagnostic]:
    """Volumes, files and secrets that are files: absolute in containers, below the working
    directory for processes, and never two in one place."""
    kind = scope.type_of(document)
    seen: dict[PurePosixPath, _Target] = {}
    for target in _targets(document, specs):
        path = PurePosixPath(target.path)
        if kind == _PROCESS:
            yield from _check_relative(document, target, path)
        elif kind not in (None, _MEMORY) and not path.is_absolute():
            yield fault(
                document,
                "relative-path",
                f"{target.what} path {target.path!r} is relative",
                *target.field,
                hint="paths in containers are absolute",
            )
        for other in (path, *(path.parents if kind == _PROCESS else ())):
            if other in seen and (other == path or other.parts):
                yield _overlap(document, target, seen[other])
        if kind == _PROCESS:
            for other, earlier in seen.items():
                if path in other.parents and path.parts:
                    yield _overlap(document, target, earlier)
        seen.setdefault(path, target)


def _check_program(document: Document, kind: str) -> Iterator[Diagnostic]:
    image, command = document.spec.get("image"), document.spec["command"]
    if kind == _PROCESS:
        if image:
            yield fault(
                document,
                "image-not-supported",
                "a process provider runs commands, not images",
                "image",
                hint="give `command` instead, or choose a docker provider for the instance",
            )
        if not command:
            yield fault(
                document,
                "command-required",
                "a process provider needs `command`",
                hint="say what to run, for example command: [./server, --port, $(PORT)]",
            )
    elif kind == _MEMORY:
        if not image and not command:
            yield fault(document, "image-required", "it needs `image` or `command`")
    elif not image:
        yield fault(document, "image-required", f"a {kind} provider needs `image`")


def _check_relative(
    document: Document, target: _Target, path: PurePosixPath
) -> Iterator[Diagnostic]:
    if path.is_absolute():
        yield fault(
            document,
            "absolute-path",
            f"{target.what} path {target.path!r} is absolute",
            *target.field,
            hint="paths of process replicas are relative to their working directory",
        )
    elif ".." in path.parts or not path.parts:
        yield fault(
            document,
            "path-outside",
            f"{target.what} path {target.path!r} leaves the working directory",
            *target.field,
            hint="use a path below the replica's working directory",
        )


def _overlap(document: Document, target: _Target, earlier: _Target) -> Diagnostic:
    return fault(
        document,
        "path-conflict",
        f"{target.what} path {target.path!r} overlaps the {earlier.what} path {earlier.path!r}",
        *target.field,
        hint="give each its own place",
    )


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
