"""What Traefik's API says it serves, as a route table. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from ctrlplane_gitops.network.codec import decode_key
from ctrlplane_gitops.network.traefik.render import NOTE, SENTINEL
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import Kind, ResourceKey, parse_address
from ctrlplane_gitops.state.traffic import (
    Backend,
    HeaderRule,
    Member,
    RouteEntry,
    RouteHealth,
    RouteTable,
    TrafficCount,
)
from ctrlplane_gitops.value import struct

_SUFFIX = "@file"
_HOST = re.compile(r"Host\(`([^`]*)`\)")
_PREFIX = re.compile(r"PathPrefix\(`([^`]*)/`\)")
_HEADER = re.compile(r"Header\(`([^`]*)`, `([^`]*)`\)")
_GO_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
_GO_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|µs|ns)")
_SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@struct
class Served:
    """``generation`` is empty when the sentinel is not there (whole)."""

    table: RouteTable
    generation: str
    faults: tuple[str, ...]


def read_served(plane: str, raw: Mapping[str, Any], entry_points: frozenset[str]) -> Served:
    """``raw`` is the answer of ``/api/rawdata``."""
    routers, services = raw.get("routers") or {}, raw.get("services") or {}
    notes = raw.get("middlewares") or {}
    generations: dict[str, str] = {}
    entries: list[RouteEntry] = []
    faults = [*_find_faults(plane, routers), *_find_faults(plane, services)]
    for name, router in routers.items():
        parts = _split(plane, name)
        if parts is not None and parts[0] == SENTINEL and router.get("status") == "enabled":
            generations[parts[1]] = _HOST.findall(router["rule"])[0].partition(".")[0]
        elif parts is not None and len(parts) == 3:
            try:
                entries.append(_read_entry(parts, name, routers, services, notes))
            except (KeyError, ValueError, IndexError, TypeError):
                faults.append(f"{_address(parts)}: what is served of it is not as we write it")
    is_whole = generations.keys() >= entry_points and len(set(generations.values())) == 1
    table = RouteTable(tuple(sorted(entries, key=lambda item: (item.key, item.variant))))
    generation = next(iter(generations.values())) if is_whole else ""
    return Served(table, generation, tuple(sorted(set(faults))))


def read_counts(plane: str, text: str) -> dict[tuple[ResourceKey, int], TrafficCount]:
    """From Prometheus' text: variants of a route are counted together."""
    requests: dict[tuple[ResourceKey, int], int] = {}
    errors: dict[tuple[ResourceKey, int], int] = {}
    seconds: dict[tuple[ResourceKey, int], float] = {}
    for line in text.splitlines():
        sample = _SAMPLE.fullmatch(line) if line.startswith("traefik_service_request") else None
        if sample is None:
            continue
        labels = dict(_LABEL.findall(sample[2]))
        parts = _split(plane, labels.get("service", ""))
        if parts is None or len(parts) != 4 or not parts[3][1:].isdigit():
            continue
        key = ResourceKey(Kind.ROUTE, parts[0], parts[1]), int(parts[3][1:])
        if sample[1] == "traefik_service_requests_total":
            count = int(float(sample[3]))
            requests[key] = requests.get(key, 0) + count
            if labels.get("code", "").startswith("5"):
                errors[key] = errors.get(key, 0) + count
        elif sample[1] == "traefik_service_request_duration_seconds_sum":
            seconds[key] = seconds.get(key, 0.0) + float(sample[3])
    return {
        key: TrafficCount(count, errors.get(key, 0), seconds.get(key, 0.0))
        for key, count in requests.items()
    }


def _split(plane: str, name: str) -> list[str] | None:
    """The parts of a name after the plane's, when it is one of ours."""
    if not name.startswith(f"{plane}.") or not name.endswith(_SUFFIX):
        return None
    return name.removeprefix(f"{plane}.").removesuffix(_SUFFIX).split(".")


def read_certificate(text: str, entry: RouteEntry) -> SecretValue | None:
    """The certificate an entry has by its file, where it is the one the entry names."""
    try:
        written = json.loads(text)
        (pem,) = written["tls"]["certificates"]
        notes = written["http"]["middlewares"].items()
        (note,) = [item["headers"]["customResponseHeaders"][NOTE]
                   for name, item in notes if name.endswith(f".{NOTE}")]  # fmt: skip
        key, value = json.loads(note)["certificate"], pem["certFile"] + pem["keyFile"]
    except (ValueError, KeyError, TypeError):
        return None
    is_same = entry.certificate is not None and entry.certificate.address == key
    return SecretValue(value.encode()) if is_same else None


def _address(parts: list[str]) -> str:
    variant = f" ({parts[2]})" if len(parts) > 2 and parts[2] != "-" else ""
    return f"route/{parts[0]}/{parts[1]}{variant}"


def _find_faults(plane: str, items: Mapping[str, Any]) -> Iterator[str]:
    for name, item in items.items():
        parts = _split(plane, name)
        if parts is not None and item.get("status") != "enabled":
            what = "the router" if parts[0] == SENTINEL else _address(parts)
            reason = "; ".join(map(str, item.get("error") or [])) or str(item.get("status"))
            yield f"{what}: {reason}"


def _read_entry(
    parts: list[str],
    name: str,
    routers: Mapping[str, Any],
    services: Mapping[str, Any],
    middlewares: Mapping[str, Any],
) -> RouteEntry:
    router, slug = routers[name], name.removesuffix(_SUFFIX)
    note = json.loads(
        middlewares[f"{slug}.{NOTE}{_SUFFIX}"]["headers"]["customResponseHeaders"][NOTE]
    )
    weighted = services[f"{router['service']}{_SUFFIX}"]["weighted"]
    backends, health = [], None
    for child in weighted["services"]:
        release = child["name"].rpartition(".v")[2]
        balancer = services[f"{child['name']}{_SUFFIX}"]["loadBalancer"]
        names = note["replicas"].get(f"v{release}", {})
        members = [_read_member(server["url"], names) for server in balancer.get("servers") or ()]
        backends.append(Backend(int(release), child["weight"], tuple(sorted(members))))
        health = _read_health(balancer.get("healthCheck")) or health
    prefix = _PREFIX.search(router["rule"])
    return RouteEntry(
        key=ResourceKey(Kind.ROUTE, parts[0], parts[1]),
        instance=parse_address(note["instance"]),
        hosts=tuple(_HOST.findall(router["rule"])),
        path=prefix[1] if prefix else "/",
        backends=tuple(backends),
        entry_point=router["entryPoints"][0],
        strip_prefix=note["stripPrefix"],
        certificate=decode_key(note["certificate"]),
        is_sticky="sticky" in weighted,
        header=_read_header(routers.get(f"{slug}.header{_SUFFIX}")),
        health=health,
        variant="" if parts[2] == "-" else parts[2],
    )


def _read_member(url: str, names: Mapping[str, str]) -> Member:
    parts = urlsplit(url)
    return Member(names.get(url, ""), parts.hostname or "", parts.port or 80)


def _read_header(router: Mapping[str, Any] | None) -> HeaderRule | None:
    if router is None:
        return None
    name, value = _HEADER.findall(router["rule"])[0]
    return HeaderRule(name, value, int(router["service"].rpartition(".v")[2]))


def _read_health(raw: Mapping[str, Any] | None) -> RouteHealth | None:
    if raw is None:
        return None
    return RouteHealth(
        raw["path"], parse_go_duration(raw["interval"]), parse_go_duration(raw["timeout"])
    )


def parse_go_duration(text: str) -> timedelta:
    """
    >>> parse_go_duration("1m1.5s").total_seconds(), parse_go_duration("500ms").total_seconds()
    (61.5, 0.5)
    """
    return timedelta(
        seconds=sum(float(count) * _GO_UNITS[unit] for count, unit in _GO_DURATION.findall(text))
    )
