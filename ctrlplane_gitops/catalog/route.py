"""Routes of all tenants together: a host and path lead to one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ctrlplane_gitops.catalog.finding import caution, fault
from ctrlplane_gitops.catalog.index import TenantSpecs
from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.specs.document import Document


def check_collisions(tenants: Mapping[str, TenantSpecs]) -> Iterator[Diagnostic]:
    """One error per host and path that an earlier document (by path, then place) already has."""
    taken: dict[tuple[str, str], Document] = {}
    for document in _routes(tenants):
        path = document.spec["path"].rstrip("/") or "/"
        for place, host in enumerate(document.spec["hosts"]):
            first = taken.setdefault((host.lower(), path), document)
            if first is document:
                continue
            yield fault(
                document,
                "route-conflict",
                f"{host}{path} is routed by {first.key} at {first.origin} and again by"
                f" {document.key} at {document.origin}",
                "hosts",
                place,
                hint="a host and path lead to one instance: change or remove one of them",
            )


def warn_unserved(plane: Document, tenants: Mapping[str, TenantSpecs]) -> Iterator[Diagnostic]:
    """One warning in all, at the router or else at the first route."""
    first = next(iter(_routes(tenants)), None)
    has_router = bool(plane.spec.get("router"))
    if not has_router and first is None:
        return
    place = plane if has_router or first is None else first
    yield caution(
        place,
        "routes-not-served",
        "routes are checked and recorded, but this version moves no traffic",
        *(("router",) if has_router else ()),
        hint="point your own proxy at the replicas",
    )


def _routes(tenants: Mapping[str, TenantSpecs]) -> list[Document]:
    found = [document for specs in tenants.values() for document in specs.routes.values()]
    return sorted(found, key=lambda item: (item.path, item.index))
