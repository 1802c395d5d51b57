"""What ``spec.router`` may say for ``type: gateway``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ctrlplane_gitops.diagnostics import did_you_mean
from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.network.options import check_options
from ctrlplane_gitops.state.desired import Json
from ctrlplane_gitops.value import struct

NAME = "gateway"
_OPTIONS = ("entryPoints", "gateway")
_POINT_OPTIONS = ("listener", "tls")
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_GATEWAY = re.compile(rf"{_LABEL}/{_LABEL}(\.{_LABEL})*")
_NAME = re.compile(_LABEL)


@struct
class Listener:
    """An entry point: a listener of the Gateway, None: all that admit the route."""

    name: str | None
    is_tls: bool = False


@struct
class GatewayConfig:
    """The Gateway is ``namespace/name``; it is somebody else's, and only read."""

    namespace: str
    name: str
    listeners: Mapping[str, Listener]

    @property
    def tls_by_name(self) -> dict[str, bool]:
        return {name: item.is_tls for name, item in self.listeners.items()}


def parse_config(options: Json) -> GatewayConfig:
    """UsageError names an unknown option or a bad value.

    >>> parse_config({"gateway": "infra/public"}).listeners
    {'web': Listener(name=None, is_tls=False)}
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
            hint="for example entryPoints: {web: http, websecure: {listener: https, tls: true}}",
        )
    namespace, _, name = gateway.partition("/")
    points = {str(point): _parse_point(str(point), raw[point]) for point in sorted(raw)}
    return GatewayConfig(namespace, name, points)


def _parse_point(name: str, raw: Any) -> Listener:
    who = f"router ({NAME}): entry point {name!r}"
    if not _NAME.fullmatch(name):
        raise UsageError(f"{who} is not named in small letters, digits and '-'")
    value = raw if isinstance(raw, Mapping) else {"listener": raw}
    for option in value:
        if option not in _POINT_OPTIONS:
            raise UsageError(
                f"{who} has no option {option!r}", hint=did_you_mean(str(option), _POINT_OPTIONS)
            )
    listener, is_tls = value.get("listener"), value.get("tls", False)
    if not isinstance(is_tls, bool):
        raise UsageError(f"{who}: tls is not true or false")
    is_name = isinstance(listener, str) and _NAME.fullmatch(listener)
    if "listener" in value and not is_name:
        raise UsageError(
            f"{who}: {listener!r} is not the name of a listener",
            hint="the Gateway's spec.listeners[].name",
        )
    return Listener(listener, is_tls)
