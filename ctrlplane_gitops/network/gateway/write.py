"""Writing a route table into a cluster: only what differs, the new before the old goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ctrlplane_gitops.cluster.api import Api
from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.owner import is_of_person, manager_of
from ctrlplane_gitops.cluster.resource import HTTP_ROUTE, SERVICE
from ctrlplane_gitops.network.gateway.config import GatewayConfig
from ctrlplane_gitops.network.gateway.read import Seen
from ctrlplane_gitops.network.gateway.render import (
    LABEL_PLANE,
    NOBODY,
    NOTE,
    UnservableError,
    has_nobody,
    place,
    render_nobody,
    render_route,
    route_name,
)
from ctrlplane_gitops.network.router import RouterSettings
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import RouteEntry, RouteTable

# What is said of the whole server, and not of one object.
_NOT_NOW = (401, 408, 410, 429)
Held = Mapping[tuple[str, str], Seen]


@dataclass(slots=True)
class Written:
    """``refused`` are entries that could not be written, and why: nobody else's affair.
    ``homeless`` have no replica yet, and no namespace they could be in."""

    refused: dict[ResourceKey, str] = field(default_factory=dict)
    homeless: tuple[RouteEntry, ...] = ()
    touched: set[tuple[str, str]] = field(default_factory=set)


def write_routes(
    api: Api, settings: RouterSettings, config: GatewayConfig, table: RouteTable, held: Held
) -> Written:
    """``held`` is what is there. ProviderError where the API server cannot be asked now."""
    written, kept = Written(), set[tuple[str, str]]()
    homes = {(it.labels.get("ctrlplane.dev/tenant"), it.name): it.namespace for it in held.values()}
    for entry in table.entries:
        home = homes.get((entry.key.tenant, route_name(entry)))
        try:
            found = _write_entry(api, settings, config, entry, home, held, written)
        except UnservableError as reason:
            written.refused[entry.key] = str(reason)
        except ApiError as error:
            if error.status in _NOT_NOW or (error.status >= 500 and error.is_retryable):
                raise
            written.refused[entry.key] = error.message
        else:
            kept |= found
            continue
        # What was served of it before is better than nothing.
        kept |= {it.place for it in held.values() if it.entry and it.entry.key == entry.key}
    for spot in sorted(held.keys() - kept):
        with settings.effect(f"delete:{spot[0]}/{spot[1]}"):
            api.delete(HTTP_ROUTE, *spot, uid=held[spot].uid)
    return written


def _write_entry(
    api: Api,
    settings: RouterSettings,
    config: GatewayConfig,
    entry: RouteEntry,
    home: str | None,
    held: Held,
    written: Written,
) -> set[tuple[str, str]]:
    """The HTTPRoute that must stay; none where there is no place for it yet."""
    placement = place(entry)
    # Where nobody answers yet, nothing says where that will be; the usual place is tried.
    namespace = placement.namespace or home or f"{settings.plane}-{entry.key.tenant}"
    wanted = render_route(settings.plane, config, entry, placement, namespace)
    spot = namespace, str(wanted["metadata"]["name"])
    there = held.get(spot)
    if there is not None and _is_same(there, wanted):
        return {spot}
    try:
        if has_nobody(wanted["spec"]):
            _ensure_nobody(api, settings, entry, namespace)
        _apply(api, settings, wanted, is_ours=there is not None)
    except ApiError as error:
        if not error.is_absent or placement.namespace is not None:
            raise
        written.homeless = (*written.homeless, entry)
        return set()
    written.touched.add(spot)
    return {spot}


def _is_same(there: Seen, wanted: Mapping[str, Any]) -> bool:
    labels, note = wanted["metadata"]["labels"], wanted["metadata"]["annotations"][NOTE]
    is_labelled = all(there.labels.get(name) == value for name, value in labels.items())
    return is_labelled and there.note == note and bool(there.spec == wanted["spec"])


def _apply(api: Api, settings: RouterSettings, wanted: dict[str, Any], *, is_ours: bool) -> None:
    """What is ours and was changed by hand is taken back: who that was is a fault of the router's
    state until then, so every plan names it. What a controller holds, or is not ours, is left."""
    metadata = wanted["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    if not is_ours:
        found = api.get(HTTP_ROUTE, namespace, name)
        if found is not None and _plane_of(found) != settings.plane:
            raise UnservableError(
                f"HTTPRoute {namespace}/{name} is there and is not ours: rename or remove it"
            )
    with settings.effect(f"apply:{namespace}/{name}"):
        try:
            api.apply(HTTP_ROUTE, wanted)
        except ApiError as error:
            if not error.owners:
                raise
            for field, message in error.owners.items():
                manager = manager_of(message)
                if not is_of_person(manager):
                    text = f"{field.lstrip('.')} of HTTPRoute {namespace}/{name} is held by"
                    raise UnservableError(f"{text} {manager}, so it is left alone") from None
            api.apply(HTTP_ROUTE, wanted, is_forced=True)


def _ensure_nobody(api: Api, settings: RouterSettings, entry: RouteEntry, namespace: str) -> None:
    found = api.get(SERVICE, namespace, NOBODY)
    if found is None:
        with settings.effect(f"apply:{namespace}/{NOBODY}"):
            api.apply(SERVICE, render_nobody(settings.plane, entry.key.tenant, namespace))
    elif _plane_of(found) != settings.plane:
        raise UnservableError(f"Service {namespace}/{NOBODY} is not ours: rename or remove it")


def _plane_of(found: Mapping[str, Any]) -> str | None:
    labels: Mapping[str, str] = found["metadata"].get("labels") or {}
    return labels.get(LABEL_PLANE)
