"""Routers by type."""

from __future__ import annotations

from collections.abc import Callable

from ctrlplane_gitops.diagnostics import did_you_mean
from ctrlplane_gitops.errors import UsageError, explain_missing
from ctrlplane_gitops.network.router import Router, RouterSettings


def _build_memory(settings: RouterSettings) -> Router:
    from ctrlplane_gitops.network.memory import MemoryRouter

    return MemoryRouter(settings)


def _build_gateway(settings: RouterSettings) -> Router:
    from ctrlplane_gitops.network.gateway.router import GatewayRouter

    return GatewayRouter(settings)


def _build_haproxy(settings: RouterSettings) -> Router:
    from ctrlplane_gitops.network.haproxy.router import HaproxyRouter

    return HaproxyRouter(settings)


def _build_traefik(settings: RouterSettings) -> Router:
    from ctrlplane_gitops.network.traefik.router import TraefikRouter

    return TraefikRouter(settings)


_BUILDERS: dict[str, Callable[[RouterSettings], Router]] = {
    "gateway": _build_gateway,
    "haproxy": _build_haproxy,
    "memory": _build_memory,
    "traefik": _build_traefik,
}

# Where the package a router needs is an extra of ours.
_EXTRAS = {"gateway": "kubernetes"}
ROUTER_TYPES = tuple(sorted(_BUILDERS))


def build_router(settings: RouterSettings) -> Router:
    """The router of ``settings.type``; UsageError with the closest known type for another, and for
    one whose package is not installed."""
    builder = _BUILDERS.get(settings.type)
    if builder is None:
        raise UsageError(
            f"the router has the unknown type {settings.type!r}",
            hint=did_you_mean(settings.type, ROUTER_TYPES),
        )
    try:
        return builder(settings)
    except ModuleNotFoundError as missing:
        who = f"the router {settings.type!r}"
        raise explain_missing(who, missing, _EXTRAS.get(settings.type, settings.type)) from None
