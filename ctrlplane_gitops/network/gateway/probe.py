"""Asking entry points what they serve: a Gateway says that it has accepted a route, not that it is
what requests meet."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from ctrlplane_gitops.errors import UnreachableError
from ctrlplane_gitops.network.gateway.config import GatewayConfig
from ctrlplane_gitops.network.gateway.read import Seen
from ctrlplane_gitops.network.gateway.render import probe_path
from ctrlplane_gitops.network.options import EntryPoint
from ctrlplane_gitops.network.table import describe
from ctrlplane_gitops.network.wire import call
from ctrlplane_gitops.state.traffic import RouteEntry

# Each over a connection of its own: several may answer at one address.
_TIMES = 3
# Any name will do where all names below another are meant.
_ANY = "ctrlplane-gitops"


def find_unserved(config: GatewayConfig, seen: Collection[Seen]) -> list[str]:
    """Of each HTTPRoute that is not met yet as it is written, what is met; in words."""
    found = []
    for item in seen:
        if item.entry is not None and item.is_as_written:
            point = config.listeners[item.entry.entry_point].probe
            if point is not None and (text := _ask(point, item.entry, _mark_of(item))):
                found.append(f"{describe(item.entry)}: {text}")
    return found


def _mark_of(item: Seen) -> str:
    redirect = item.spec["rules"][0]["filters"][0]["requestRedirect"]
    return str(redirect["hostname"])


def _ask(point: EntryPoint, entry: RouteEntry, mark: str) -> str:
    """What is wrong; "" for nothing."""
    for host in entry.hosts:
        name = host.replace("*", _ANY, 1)
        for _ in range(_TIMES):
            try:
                answer = call(point, probe_path(entry), name)
            except UnreachableError as error:
                return error.message
            if urlsplit(answer.location).hostname != mark:
                return f"entry point {point.name!r} does not serve it yet as {host}"
    return ""
