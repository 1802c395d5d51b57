"""What the analysis of a canary needs of other documents."""

from __future__ import annotations

from collections.abc import Iterator

from ctrlplane_gitops.catalog.finding import fault
from ctrlplane_gitops.catalog.index import Scope, TenantSpecs
from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.specs.document import Document


def check_analysis(document: Document, specs: TenantSpecs, scope: Scope) -> Iterator[Diagnostic]:
    """A router counts only what it routes: without a route there would never be any data."""
    canary = document.spec["strategy"].get("canary") or {}
    checks = (canary.get("analysis") or {}).get("checks", ())
    if not checks:
        return
    name = document.spec["instance"]
    is_routed = any(route.spec["instance"] == name for route in specs.routes.values())
    if is_routed and scope.plane.router is not None:
        return
    if specs.name in scope.suspects or not scope.is_complete:
        return  # it may stand in a document that could not be read
    missing = f"no route leads to instance {name!r}" if scope.plane.router else "there is none"
    for place, check in enumerate(checks):
        if check["type"] == "router":
            yield fault(
                document,
                "no-route",
                f"check {check['name']!r} measures requests by the router, and {missing}",
                *("strategy", "canary", "analysis", "checks", place, "type"),
                hint=("add a Route" if scope.plane.router else "add spec.router to ctrlplane.yaml")
                + ", or measure by prometheus, http or command",
            )
