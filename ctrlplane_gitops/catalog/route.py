"""Routes: a host and path lead to one place, through an entry point the router has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ctrlplane_gitops.catalog.finding import caution, fault, suggest
from ctrlplane_gitops.catalog.index import TenantSpecs
from ctrlplane_gitops.catalog.refs import AUTO_CERTIFICATE
from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import (
    ControlPlane,
    DesiredRoute,
    HealthCheck,
    ProbeType,
    RouterConfig,
)
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.traffic import RouteHealth

_PLAIN, _SECURE = "web", "websecure"
# What a type of router cannot do, by the field of a route that asks for it.
_LACKS = {"gateway": {"sticky": "Gateway API keeps no client with a replica"}}
# How an entry point is written.
_PLAIN_POINT = {"gateway": "the name of a listener of the Gateway"}
_SECURE_POINT = {"gateway": "{port: 443, tls: true}"}
# What every router takes for a good answer by itself.
_GOOD_STATUSES = (200, 399)


def build_routes(
    instance: Document, specs: TenantSpecs, plane: ControlPlane, health: tuple[HealthCheck, ...]
) -> tuple[DesiredRoute, ...]:
    """The routes to an instance, sorted by name; none where nobody serves them."""
    if plane.router is None or not specs.routes:
        return ()
    ports = [item["name"] for item in instance.spec["ports"]]
    return tuple(
        _build_route(document, document.spec.get("port") or ports[0], health)
        for _, document in sorted(specs.routes.items())
        if document.spec["instance"] == instance.name
    )


def _build_route(document: Document, port: str, health: tuple[HealthCheck, ...]) -> DesiredRoute:
    spec, tenant, header = document.spec, document.tenant, document.spec.get("canaryHeader")
    return DesiredRoute(
        ResourceKey(Kind.ROUTE, tenant, document.name),
        tuple(sorted(set(spec["hosts"]))),
        spec["path"],
        port,
        entry_point_of(spec),
        spec["stripPrefix"],
        _certificate_of(document),
        spec["sticky"],
        (header["name"], header["value"]) if header else None,
        tuple(sorted(set(spec["previewHosts"]))),
        next(filter(None, (_route_health(check, port) for check in health)), None),
    )


def _certificate_of(document: Document) -> ResourceKey | None:
    """A secret, or what is issued for this route."""
    tls = document.spec.get("tls")
    if not tls:
        return None
    if tls["certificate"] == AUTO_CERTIFICATE:
        return ResourceKey(Kind.CERTIFICATE, document.tenant, document.name)
    return ResourceKey(Kind.SECRET, document.tenant, tls["certificate"])


def _route_health(check: HealthCheck, port: str) -> RouteHealth | None:
    """The check as a router can do it between two passes, if it can."""
    if check.type is not ProbeType.HTTP or check.port != port or check.statuses != _GOOD_STATUSES:
        return None
    return RouteHealth(check.path, check.interval, check.timeout)


def entry_point_of(spec: Mapping[str, Any]) -> str:
    """
    >>> entry_point_of({"tls": {"certificate": "site"}}), entry_point_of({"entryPoint": "edge"})
    ('websecure', 'edge')
    """
    return spec.get("entryPoint") or (_SECURE if spec.get("tls") else _PLAIN)


def check_served(specs: TenantSpecs, plane: ControlPlane) -> Iterator[Diagnostic]:
    """What the router must have for a tenant's routes."""
    if plane.router is None:
        return
    points = _entry_points(plane.router)
    lacks = _LACKS.get(plane.router.type, {})
    for document in specs.routes.values():
        yield from _check_entry_point(document, points, plane.router)
        for field, reason in lacks.items():
            if document.spec.get(field):
                yield fault(
                    document,
                    "router-lacks",
                    f"the router {plane.router.type!r} has no capability {field!r}: {reason}",
                    field,
                    hint=f"leave out {field}, or use another router",
                )


def _check_entry_point(
    document: Document, points: Mapping[str, bool], router: RouterConfig
) -> Iterator[Diagnostic]:
    name, is_tls = entry_point_of(document.spec), bool(document.spec.get("tls"))
    field = ("entryPoint",) if document.spec.get("entryPoint") else ()
    secure = _SECURE_POINT.get(router.type, "{address: ..., tls: true}")
    if name not in points:
        yield fault(
            document,
            "unknown-entry-point",
            f"the router has no entry point {name!r}",
            *field,
            hint=(suggest(name, points) if field else None)
            or "add it to spec.router.entryPoints, with"
            f" {secure if is_tls else _PLAIN_POINT.get(router.type, 'an address such as :8080')}",
        )
    elif is_tls and not points[name]:
        yield fault(
            document,
            "entry-point-without-tls",
            f"the entry point {name!r} does not speak TLS",
            "tls",
            hint=f"write {name}: {secure} in spec.router.entryPoints",
        )
    elif router.type == "gateway":
        yield from _check_listener(document, name, router)


def _check_listener(document: Document, name: str, router: RouterConfig) -> Iterator[Diagnostic]:
    """A Gateway's own listener has its own certificate, and one of ours shows a route's."""
    is_tls, points = bool(document.spec.get("tls")), router.options.get("entryPoints")
    point = points.get(name) if isinstance(points, Mapping) else None
    is_ours = isinstance(point, Mapping) and "port" in point
    if is_tls and not is_ours:
        yield fault(
            document,
            "router-lacks",
            f"the certificate at the entry point {name!r} is that of the Gateway's own listener",
            "tls",
            hint=f"leave out tls, or write {name}: {_SECURE_POINT['gateway']} in"
            " spec.router.entryPoints, and the listeners there are ours",
        )
    elif is_ours and not is_tls:
        yield fault(
            document,
            "router-lacks",
            f"the listeners at the entry point {name!r} are those of routes with tls",
            "entryPoint",
            hint="add tls, or another entryPoint",
        )


def _entry_points(router: RouterConfig) -> Mapping[str, bool]:
    """By name, whether each speaks TLS. What is written wrongly there the router itself says."""
    raw = router.options.get("entryPoints")
    if not isinstance(raw, Mapping):
        return {_PLAIN: False} if router.type != "memory" else {_PLAIN: False, _SECURE: True}
    return {
        str(name): isinstance(value, Mapping) and value.get("tls") is True
        for name, value in raw.items()
    }


def check_collisions(tenants: Mapping[str, TenantSpecs]) -> Iterator[Diagnostic]:
    """One error per host and path that an earlier document (by path, then place) already has."""
    taken: dict[tuple[str, str, str], Document] = {}
    for document in _routes(tenants):
        spec, point = document.spec, entry_point_of(document.spec)
        places = [("hosts", place, host) for place, host in enumerate(spec["hosts"])]
        places += [("previewHosts", place, host) for place, host in enumerate(spec["previewHosts"])]
        for field, place, host in places:
            first = taken.setdefault((point, host, spec["path"]), document)
            if first is document:
                continue
            yield fault(
                document,
                "route-conflict",
                f"{host}{spec['path']} is routed by {first.key} at {first.origin} and again by"
                f" {document.key} at {document.origin}",
                field,
                place,
                hint="a host and path lead to one instance: change or remove one of them",
            )


def warn_unserved(plane: ControlPlane, tenants: Mapping[str, TenantSpecs]) -> Iterator[Diagnostic]:
    """One warning in all, at the first route."""
    first = None if plane.router is not None else next(iter(_routes(tenants)), None)
    if first is not None:
        yield caution(
            first,
            "routes-not-served",
            "there is no router, so routes are checked and recorded but not served",
            hint="add spec.router to ctrlplane.yaml, or point your own proxy at the replicas",
        )


def _routes(tenants: Mapping[str, TenantSpecs]) -> list[Document]:
    found = [document for specs in tenants.values() for document in specs.routes.values()]
    return sorted(found, key=lambda item: (item.path, item.index))
