"""Which instance comes before which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from ctrlplane_gitops.catalog.finding import caution, fault, suggest, suggest_among
from ctrlplane_gitops.catalog.index import Scope, TenantSpecs
from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.key import Kind, ResourceKey, parse_address


@lru_cache(maxsize=65536)
def parse_dependency(text: str) -> ResourceKey | None:
    """The instance an address names; None when it is no instance's address.

    >>> parse_dependency("route/acme/web") is None
    True
    """
    try:
        key = parse_address(text)
    except ValueError:
        return None
    return key if key.kind is Kind.INSTANCE else None


def check_dependencies(scope: Scope) -> Iterator[Diagnostic]:
    """Dependencies that lead nowhere, on what runs nothing, or in a circle."""
    starts: dict[ResourceKey, Document] = {}
    for specs in scope.tenants.values():
        for document in specs.instances.values():
            if document.spec["dependsOn"]:
                starts[document.key] = document
                yield from _check_one(document, scope)
    order = sorted(starts, key=lambda key: (starts[key].path, starts[key].index))
    seen: set[ResourceKey] = set()
    for key in order:
        if key not in seen:
            yield from _find_cycles(key, starts, seen)


def resolve_dependencies(
    document: Document, scope: Scope, frozen: Mapping[str, str]
) -> tuple[ResourceKey, ...]:
    """The instances that come first, sorted; without those that are frozen or not there."""
    if not document.spec["dependsOn"]:
        return ()
    keys = {parse_dependency(text) for text in document.spec["dependsOn"]}
    return tuple(sorted(key for key in keys if key and _is_usable(key, scope, frozen)))


def warn_frozen(
    document: Document, scope: Scope, frozen: Mapping[str, str]
) -> Iterator[Diagnostic]:
    """Dependencies that this pass does not look after."""
    for place, text in enumerate(document.spec["dependsOn"]):
        key = parse_dependency(text)
        if key is not None and not _is_usable(key, scope, frozen):
            yield caution(
                document,
                "frozen-dependency",
                f"{document.key} depends on {key}, whose specs have errors",
                "dependsOn",
                place,
                hint="it is not waited for until they are mended",
            )


def _is_usable(key: ResourceKey, scope: Scope, frozen: Mapping[str, str]) -> bool:
    specs = scope.tenants.get(key.tenant)
    return key.tenant not in frozen and specs is not None and key.name in specs.instances


def _check_one(document: Document, scope: Scope) -> Iterator[Diagnostic]:
    for place, text in enumerate(document.spec["dependsOn"]):
        key = parse_dependency(text)
        if key is None:
            yield fault(
                document,
                "invalid-address",
                f"{text!r} is not an instance's address",
                "dependsOn",
                place,
                hint="write it as instance/TENANT/NAME",
            )
            continue
        specs = scope.tenants.get(key.tenant)
        if specs is None or key.name not in specs.instances:
            if not _may_be_unreadable(document, key, scope):
                yield fault(
                    document,
                    "unknown-instance",
                    f"there is no {key}",
                    "dependsOn",
                    place,
                    hint=_hint(key, specs, scope),
                )
        elif key.name not in specs.serving:
            yield caution(
                document,
                "idle-dependency",
                f"{document.key} depends on {key}, which has no deployment",
                "dependsOn",
                place,
                hint=f"add a document of kind Deployment with `instance: {key.name}`",
            )


def _may_be_unreadable(document: Document, key: ResourceKey, scope: Scope) -> bool:
    """Whether the missing instance may stand in what did not pass. Another tenant's broken file
    must not freeze this one."""
    if key.address in scope.broken:
        return True
    if key.tenant == document.tenant:
        return False
    return key.tenant in scope.suspects or not scope.is_complete


def _hint(key: ResourceKey, specs: TenantSpecs | None, scope: Scope) -> str:
    if specs is None:
        return suggest_among(key.tenant, scope.names)
    return suggest(key.name, specs.instances)


def _find_cycles(
    start: ResourceKey, starts: Mapping[ResourceKey, Document], seen: set[ResourceKey]
) -> Iterator[Diagnostic]:
    """Depth first. Each edge back to an instance on the way closes a circle and is an error of
    the document it starts from: without those edges, whatever their tenants, none is left."""
    way: dict[ResourceKey, Iterator[tuple[int, ResourceKey]]] = {}
    seen.add(start)
    way[start] = _edges(starts[start])
    while way:
        here = next(reversed(way))
        for place, key in way[here]:
            if key in way:
                path = list(way)
                circle = [*path[path.index(key) :], key]
                yield fault(
                    starts[here],
                    "dependency-cycle",
                    "instances wait for each other: " + " -> ".join(map(str, circle)),
                    "dependsOn",
                    place,
                    hint="remove one of these dependencies",
                )
            elif key in starts and key not in seen:
                seen.add(key)
                way[key] = _edges(starts[key])
                break
        else:
            del way[here]


def _edges(document: Document) -> Iterator[tuple[int, ResourceKey]]:
    for place, text in enumerate(document.spec["dependsOn"]):
        key = parse_dependency(text)
        if key is not None:
            yield place, key
