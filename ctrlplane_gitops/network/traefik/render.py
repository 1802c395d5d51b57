"""A route table as Traefik's configuration; JSON, which is YAML. Pure.

Names tell whose they are: ``<plane>.<tenant>.<route>.<variant or ->`` is the router and its
weighted service, ``....v<release>`` the service of one release below it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ctrlplane_gitops.network.certificate import Pem
from ctrlplane_gitops.network.options import EntryPoint
from ctrlplane_gitops.network.traefik.config import API_ENTRY_POINT
from ctrlplane_gitops.state.traffic import Backend, Member, RouteEntry

NOTE = "note"
SENTINEL = "-sentinel"
_TRIES = 3
_SENTINEL_PRIORITY = 1_000_000


def slug_of(plane: str, entry: RouteEntry) -> str:
    return f"{plane}.{entry.key.tenant}.{entry.key.name}.{entry.variant or '-'}"


def sentinel_file(plane: str) -> str:
    """Traefik reads a directory in the order of the names, and this one comes before those of the
    plane's routes: who sees its new generation has seen everything written before it."""
    return f"{plane}.{SENTINEL}.yml"


def sentinel_host(plane: str, generation: str) -> str:
    """A name nobody owns (RFC 2606); only a router that has the generation answers to it."""
    return f"{generation}.{plane}.ctrlplane.invalid"


def dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def render_static(points: tuple[EntryPoint, ...], api_port: int, directory: str) -> dict[str, Any]:
    """What Traefik is started with. It calls nobody, keeps no access log, and answers at a
    loopback port with its API and its counts."""
    addresses = {point.name: {"address": point.address} for point in points}
    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "WARN", "noColor": True},
        "api": {"insecure": True, "dashboard": False, "disableDashboardAd": True},
        "entryPoints": addresses | {API_ENTRY_POINT: {"address": f"127.0.0.1:{api_port}"}},
        "metrics": {"prometheus": {"entryPoint": API_ENTRY_POINT, "addServicesLabels": True}},
        "providers": {
            "providersThrottleDuration": "50ms",
            "file": {"directory": directory, "watch": True},
        },
        "serversTransport": {"forwardingTimeouts": {"dialTimeout": "5s"}},
    }


def render_sentinel(plane: str, generation: str, tls_by_name: Mapping[str, bool]) -> dict[str, Any]:
    """A router that is always there, for Traefik ignores an empty configuration and would go on
    with the routes before. It carries the generation, and answers 418 at every entry point."""
    routers: dict[str, Any] = {}
    for name, is_tls in tls_by_name.items():
        router = {
            "rule": f"Host(`{sentinel_host(plane, generation)}`)",
            "entryPoints": [name],
            "service": "noop@internal",
            "priority": _SENTINEL_PRIORITY,
        }
        routers[f"{plane}.{SENTINEL}.{name}"] = router | ({"tls": {}} if is_tls else {})
    return {"http": {"routers": routers}}


def render_entry(plane: str, entry: RouteEntry, *, is_tls: bool, pem: Pem | None) -> dict[str, Any]:
    """One file: routers, a service per release under a weighted one, middlewares, certificate."""
    slug = slug_of(plane, entry)
    middlewares: dict[str, Any] = {
        # A member that cannot be connected to costs no request: health is forgotten for an
        # interval after each change. What reached a member is never sent again.
        f"{slug}.retry": {"retry": {"attempts": _TRIES}},
    }
    if entry.strip_prefix and entry.path != "/":
        middlewares[f"{slug}.strip"] = {"stripPrefix": {"prefixes": [entry.path]}}
    common: dict[str, Any] = {
        "entryPoints": [entry.entry_point],
        "middlewares": sorted(middlewares),
    } | ({"tls": {}} if is_tls else {})
    rule, priority = render_rule(entry), 10 + 2 * len(entry.path)
    routers = {slug: common | {"rule": rule, "service": slug, "priority": priority}}
    if entry.header is not None:
        match = f"Header(`{entry.header.name}`, `{entry.header.value}`)"
        routers[f"{slug}.header"] = common | {
            "rule": f"{rule} && {match}",
            "service": f"{slug}.v{entry.header.release}",
            "priority": priority + 1,
        }
    # Used by no router: it only tells whoever reads the API what Traefik has no words for.
    middlewares[f"{slug}.{NOTE}"] = {
        "headers": {"customResponseHeaders": {NOTE: json.dumps(render_note(entry))}}
    }
    http = {"routers": routers, "middlewares": middlewares, "services": _services(slug, entry)}
    if pem is None:
        return {"http": http}
    return {
        "http": http,
        "tls": {"certificates": [{"certFile": pem.chain, "keyFile": pem.key}]},
    }


def render_rule(entry: RouteEntry) -> str:
    """
    >>> from ctrlplane_gitops.state.key import parse_address
    >>> key = parse_address("route/acme/web")
    >>> render_rule(RouteEntry(key, key, ("a.test", "b.test"), "/api", ()))
    '(Host(`a.test`) || Host(`b.test`)) && (Path(`/api`) || PathPrefix(`/api/`))'
    """
    hosts = " || ".join(f"Host(`{host}`)" for host in entry.hosts)
    if entry.path == "/":
        return f"({hosts})"
    return f"({hosts}) && (Path(`{entry.path}`) || PathPrefix(`{entry.path}/`))"


def render_note(entry: RouteEntry) -> dict[str, Any]:
    return {
        "instance": entry.instance.address,
        # Of no effect at the root, but what was asked for.
        "stripPrefix": entry.strip_prefix,
        "certificate": None if entry.certificate is None else entry.certificate.address,
        "replicas": {
            f"v{item.release}": {server_url(member): member.replica for member in item.members}
            for item in entry.backends
        },
    }


def server_url(member: Member) -> str:
    host = f"[{member.host}]" if ":" in member.host else member.host
    return f"http://{host}:{member.port}"


def _services(slug: str, entry: RouteEntry) -> dict[str, Any]:
    children = [
        {"name": f"{slug}.v{item.release}", "weight": item.weight} for item in entry.backends
    ]
    weighted: dict[str, Any] = {"services": children}
    if entry.is_sticky:
        weighted["sticky"] = _sticky(slug, "release")
    services: dict[str, Any] = {slug: {"weighted": weighted}}
    for item in entry.backends:
        services[f"{slug}.v{item.release}"] = {"loadBalancer": _balancer(slug, entry, item)}
    return services


def _balancer(slug: str, entry: RouteEntry, item: Backend) -> dict[str, Any]:
    balancer: dict[str, Any] = {
        "servers": [{"url": server_url(member)} for member in item.members],
        "passHostHeader": True,
    }
    if entry.is_sticky:
        balancer["sticky"] = _sticky(slug, "replica")
    if entry.health is not None:
        balancer["healthCheck"] = {
            "path": entry.health.path,
            "interval": f"{round(entry.health.interval.total_seconds() * 1000)}ms",
            "timeout": f"{round(entry.health.timeout.total_seconds() * 1000)}ms",
        }
    return balancer


def _sticky(slug: str, what: str) -> dict[str, Any]:
    """The name differs by route, so that two on one host do not take each other's for theirs."""
    digest = hashlib.blake2b(f"{slug}/{what}".encode(), digest_size=5).hexdigest()
    return {"cookie": {"name": f"ctrlplane-{digest}", "httpOnly": True, "sameSite": "lax"}}
