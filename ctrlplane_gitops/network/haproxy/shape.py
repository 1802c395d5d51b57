"""What of a route table only a reload can change. Everything else is changed in place.

A route has a few *sets* (backends ``a``, ``b``, ``c``) with *servers* (``s1``, ``s2``, ...) in
each, more than it needs: a release takes a free set, a member a free server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ctrlplane_gitops.network.codec import encode_entry
from ctrlplane_gitops.network.options import EntryPoint
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.traffic import RouteEntry, RouteTable
from ctrlplane_gitops.value import struct

SET_NAMES = "abcdefghijklmnopqrstuvwxyz"
_MIN_SETS = 3
_MIN_SERVERS = 4


@struct
class RouteShape:
    """One route's. ``strip`` is the prefix taken off, empty for none. ``header`` is name and
    value; ``health`` path, interval and timeout in milliseconds."""

    entry_point: str
    sets: int
    servers: int
    strip: str = ""
    is_sticky: bool = False
    header: tuple[str, str] | None = None
    health: tuple[str, int, int] | None = None


@struct
class Shape:
    """``points`` are name, address and TLS of each entry point. ``certificates`` are file names by
    entry point, and ``certificate_digest`` changes when one of them does."""

    points: tuple[tuple[str, str, bool], ...] = ()
    routes: Mapping[str, RouteShape] | None = None
    certificates: Mapping[str, tuple[str, ...]] | None = None
    certificate_digest: str = ""


def slug_of(plane: str, entry: RouteEntry) -> str:
    return f"{plane}.{entry.key.tenant}.{entry.key.name}.{entry.variant or '-'}"


def pem_file(certificate: ResourceKey) -> str:
    """The name of the file that holds it."""
    of = ".issued" if certificate.kind is Kind.CERTIFICATE else ""
    return f"{certificate.tenant}.{certificate.name}{of}.pem"


def build_shape(
    plane: str,
    points: tuple[EntryPoint, ...],
    table: RouteTable,
    needed: Mapping[str, tuple[int, int]],
    certificate_digest: str,
) -> Shape:
    """``needed``: how many sets, and servers in each, the seats of a route take."""
    certificates: dict[str, set[str]] = {point.name: set() for point in points if point.is_tls}
    for entry in table.entries:
        if entry.certificate is not None:
            name = pem_file(entry.certificate)
            certificates[entry.entry_point].add(name)
    return Shape(
        tuple((point.name, point.address, point.is_tls) for point in points),
        {
            slug: _shape_of(entry, *needed.get(slug, (0, 0)))
            for slug, entry in sorted((slug_of(plane, entry), entry) for entry in table.entries)
        },
        {name: tuple(sorted(found)) for name, found in sorted(certificates.items())},
        certificate_digest,
    )


def sets_of(entry: RouteEntry) -> int:
    """Enough for one release more than it has."""
    return max(_MIN_SETS, len(entry.backends) + 1)


def _shape_of(entry: RouteEntry, sets: int, servers: int) -> RouteShape:
    raw = encode_entry(entry)
    fullest = max(len(item.members) for item in entry.backends)
    return RouteShape(
        entry.entry_point,
        max(sets_of(entry), sets),
        # Room for a rollout of as many again.
        max(_MIN_SERVERS, 2 * fullest, servers),
        entry.path if entry.strip_prefix and entry.path != "/" else "",
        entry.is_sticky,
        None if entry.header is None else (entry.header.name, entry.header.value),
        None if raw["health"] is None else tuple(raw["health"]),
    )


def covers(loaded: Shape, wanted: Shape) -> bool:
    """Whether a router that was loaded with one shape can serve another without a reload: it has
    at least the routes, sets and servers.

    >>> small, large = RouteShape("web", 3, 4), RouteShape("web", 3, 8)
    >>> covers(Shape(routes={"x": large, "y": small}), Shape(routes={"x": small}))
    True
    >>> covers(Shape(routes={"x": small}), Shape(routes={"x": large}))
    False
    """
    loaded_routes, wanted_routes = loaded.routes or {}, wanted.routes or {}
    return (
        (loaded.points, loaded.certificates, loaded.certificate_digest)
        == (wanted.points, wanted.certificates, wanted.certificate_digest)
        and loaded_routes.keys() >= wanted_routes.keys()
        and all(_covers(loaded_routes[slug], route) for slug, route in wanted_routes.items())
    )


def _covers(loaded: RouteShape, wanted: RouteShape) -> bool:
    is_large = loaded.sets >= wanted.sets and loaded.servers >= wanted.servers
    rules = ("entry_point", "strip", "is_sticky", "header", "health")
    return is_large and all(getattr(loaded, name) == getattr(wanted, name) for name in rules)


def encode_shape(shape: Shape) -> str:
    return json.dumps(asdict(shape), separators=(",", ":"), sort_keys=True)


def decode_shape(text: str) -> Shape:
    """
    >>> shape = Shape((("web", ":80", False),), {"x": RouteShape("web", 3, 4, header=("A", "b"))})
    >>> decode_shape(encode_shape(shape)) == shape
    True
    """
    raw = json.loads(text)
    routes = {slug: _decode_route(item) for slug, item in (raw["routes"] or {}).items()}
    certificates = raw["certificates"]
    return Shape(
        tuple((name, address, is_tls) for name, address, is_tls in raw["points"]),
        routes,
        None
        if certificates is None
        else {name: tuple(found) for name, found in certificates.items()},
        raw["certificate_digest"],
    )


def _decode_route(raw: Mapping[str, Any]) -> RouteShape:
    header, health = raw["header"], raw["health"]
    return RouteShape(
        raw["entry_point"],
        raw["sets"],
        raw["servers"],
        raw["strip"],
        raw["is_sticky"],
        None if header is None else (header[0], header[1]),
        None if health is None else (health[0], health[1], health[2]),
    )
