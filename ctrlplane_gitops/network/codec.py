"""Route entries as JSON values and back. The text is hashed, so it must not change by itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ctrlplane_gitops.state.key import ResourceKey, parse_address
from ctrlplane_gitops.state.traffic import (
    Backend,
    HeaderRule,
    Member,
    RouteEntry,
    RouteHealth,
    RouteTable,
)


def encode_entry(entry: RouteEntry) -> dict[str, Any]:
    header, health = entry.header, entry.health
    return {
        "key": entry.key.address,
        "variant": entry.variant,
        "instance": entry.instance.address,
        "hosts": list(entry.hosts),
        "path": entry.path,
        "entryPoint": entry.entry_point,
        "stripPrefix": entry.strip_prefix,
        "certificate": None if entry.certificate is None else entry.certificate.address,
        "sticky": entry.is_sticky,
        "header": None if header is None else [header.name, header.value, header.release],
        "health": None
        if health is None
        else [health.path, _millis(health.interval), _millis(health.timeout)],
        "backends": [
            [item.release, item.weight, [[it.replica, it.host, it.port] for it in item.members]]
            for item in entry.backends
        ],
    }


def decode_entry(raw: Mapping[str, Any]) -> RouteEntry:
    return RouteEntry(
        key=parse_address(raw["key"]),
        instance=parse_address(raw["instance"]),
        hosts=tuple(raw["hosts"]),
        path=raw["path"],
        backends=tuple(
            Backend(release, weight, tuple(Member(*member) for member in members))
            for release, weight, members in raw["backends"]
        ),
        entry_point=raw["entryPoint"],
        strip_prefix=raw["stripPrefix"],
        certificate=decode_key(raw["certificate"]),
        is_sticky=raw["sticky"],
        header=None if raw["header"] is None else HeaderRule(*raw["header"]),
        health=None if raw["health"] is None else _decode_health(*raw["health"]),
        variant=raw["variant"],
    )


def encode_table(table: RouteTable) -> list[dict[str, Any]]:
    return [encode_entry(entry) for entry in table.entries]


def decode_table(raw: list[Mapping[str, Any]]) -> RouteTable:
    """
    >>> decode_table(encode_table(RouteTable())) == RouteTable()
    True
    """
    return RouteTable(tuple(map(decode_entry, raw)))


def decode_key(address: str | None) -> ResourceKey | None:
    return None if address is None else parse_address(address)


def _decode_health(path: str, interval_ms: int, timeout_ms: int) -> RouteHealth:
    return RouteHealth(
        path, timedelta(milliseconds=interval_ms), timedelta(milliseconds=timeout_ms)
    )


def _millis(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)
