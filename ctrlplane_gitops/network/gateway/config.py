"""What ``spec.router`` may say for ``type: gateway``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.network.options import EntryPoint, check_options, parse_entry_point
from ctrlplane_gitops.network.table import is_host
from ctrlplane_gitops.state.desired import Json
from ctrlplane_gitops.value import struct

NAME = "gateway"
_OPTIONS = ("entryPoints", "gateway")
_POINT_OPTIONS = ("listener", "port", "tls", "probe")
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_GATEWAY = re.compile(rf"{_LABEL}/{_LABEL}(\.{_LABEL})*")
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")


@struct
class Listener:
    """An entry point: a listener of the Gateway, ``name`` None: all that admit the route. With a
    ``port`` its listeners are ours: one for each host that a route shows a certificate at.
    ``probe`` is where it can be asked what it serves; None: what the Gateway says is believed."""

    name: str | None
    is_tls: bool = False
    port: int | None = None
    probe: EntryPoint | None = None


@struct
class GatewayConfig:
    """The Gateway is ``namespace/name``; it is somebody else's, and only read but for listeners of
    ours."""

    namespace: str
    name: str
    listeners: Mapping[str, Listener]

    @property
    def tls_by_name(self) -> dict[str, bool]:
        return {name: item.is_tls for name, item in self.listeners.items()}

    @property
    def has_listeners(self) -> bool:
        """Whether there may be listeners of ours."""
        return any(item.port is not None for item in self.listeners.values())


def parse_config(options: Json) -> GatewayConfig:
    """UsageError names an unknown option or a bad value.

    >>> parse_config({"gateway": "infra/public"}).listeners
    {'web': Listener(name=None, is_tls=False, port=None, probe=None)}
    """
    check_options(NAME, options, _OPTIONS)
    gateway = options.get("gateway")
    if not isinstance(gateway, str) or not _GATEWAY.fullmatch(gateway):
        raise UsageError(
            f"router ({NAME}): gateway is {'missing' if gateway is None else 'no Gateway'}",
            hint="say which of the cluster's Gateways is meant: gateway: <namespace>/<name>",
        )
    raw = options.get("entryPoints", {"web": {}})
    if not isinstance(raw, Mapping) or not raw:
        raise UsageError(
            f"router ({NAME}): entryPoints is not a map of names to listeners",
            hint="for example entryPoints: {web: http, websecure: {port: 443, tls: true}}",
        )
    namespace, _, name = gateway.partition("/")
    points = {str(point): _parse_point(str(point), raw[point]) for point in sorted(raw)}
    return GatewayConfig(namespace, name, points)


def _parse_point(name: str, raw: Any) -> Listener:
    value, is_tls = parse_entry_point(NAME, name, raw, "listener", _POINT_OPTIONS)
    who = f"router ({NAME}): entry point {name!r}"
    listener, port = value.get("listener"), value.get("port")
    is_name = isinstance(listener, str) and len(listener) <= 253 and _NAME.fullmatch(listener)
    if "listener" in value and not is_name:
        raise UsageError(
            f"{who}: {listener!r} is not the name of a listener",
            hint="the Gateway's spec.listeners[].name",
        )
    probe = _parse_probe(who, name, value["probe"], is_tls) if "probe" in value else None
    if "port" not in value:
        return Listener(listener, is_tls, probe=probe)
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise UsageError(f"{who}: {port!r} is not a port")
    if listener is not None or not is_tls:
        raise UsageError(
            f"{who}: port is for listeners of ours, which show the certificates of routes",
            hint=f"write {name}: {{port: {port}, tls: true}}, or {name}: <name of a listener>",
        )
    return Listener(None, True, port, probe)


def _parse_probe(who: str, name: str, raw: Any, is_tls: bool) -> EntryPoint:
    try:
        parts = urlsplit(str(raw))
        host, port = parts.hostname or "", parts.port or (443 if is_tls else 80)
    except ValueError:
        host, port, parts = "", 0, urlsplit("")
    is_plain = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username)
    scheme = "https" if is_tls else "http"
    if parts.scheme != scheme or not is_plain or not is_host(host):
        raise UsageError(
            f"{who}: probe {raw!r} is not where it can be asked",
            hint=f"the address that requests reach it at, for example {scheme}://203.0.113.7",
        )
    return EntryPoint(name, host, port, is_tls)
