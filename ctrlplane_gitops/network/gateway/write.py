"""Writing a route table into a cluster: only what differs, the new before the old goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ctrlplane_gitops.cluster.api import Api
from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.resource import HTTP_ROUTE, SERVICE
from ctrlplane_gitops.network.gateway.certify import Certifier, is_passing
from ctrlplane_gitops.network.gateway.config import GatewayConfig
from ctrlplane_gitops.network.gateway.listener import (
    LABEL_TENANT,
    Shown,
    find_trouble,
    listener_names,
)
from ctrlplane_gitops.network.gateway.put import plane_of, put_object
from ctrlplane_gitops.network.gateway.read import Seen
from ctrlplane_gitops.network.gateway.render import (
    NOBODY,
    NOTE,
    Placement,
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
from ctrlplane_gitops.value import struct

_T = TypeVar("_T")
Held = Mapping[tuple[str, str], Seen]


@dataclass(slots=True)
class Written:
    """``refused`` are entries that could not be written, and why: nobody else's affair.
    ``homeless`` have no replica yet, and no namespace they could be in."""

    refused: dict[ResourceKey, str] = field(default_factory=dict)
    homeless: tuple[RouteEntry, ...] = ()
    touched: set[tuple[str, str]] = field(default_factory=set)


@struct
class _Draft:
    """An entry, and where it is to be: also where its placement does not say so."""

    entry: RouteEntry
    placement: Placement
    namespace: str

    @property
    def place(self) -> tuple[str, str]:
        return self.namespace, route_name(self.entry)

    @property
    def shown(self) -> Shown | None:
        return None if self.entry.certificate is None else Shown(self.entry, self.namespace)


class TableWriter:
    """``held`` is what is there. ``certifier`` is None where nothing is shown by listeners of ours,
    and nothing was."""

    def __init__(
        self,
        api: Api,
        settings: RouterSettings,
        config: GatewayConfig,
        held: Held,
        certifier: Certifier | None,
    ) -> None:
        self._api, self._settings, self._config = api, settings, config
        self._held, self._certifier = held, certifier
        self._written = Written()
        self._homes = {(it.labels.get(LABEL_TENANT), it.name): it.namespace for it in held.values()}

    def write(self, table: RouteTable, refused: Mapping[ResourceKey, str]) -> Written:
        """``refused`` are entries that cannot be told, and why. ProviderError where the API server
        cannot be asked now."""
        self._written.refused.update(refused)
        drafts = [self._draft(entry) for entry in table.entries if entry.key not in refused]
        ready = self._certify([draft for draft in drafts if draft is not None])
        ready = [draft for draft in ready if self._attempt(draft, self._write) is not None]
        spots = {draft.place for draft in ready}
        # What was served before of who is refused is better than nothing.
        left = [
            item
            for item in self._held.values()
            if item.place not in spots and item.meant and item.meant.key in self._written.refused
        ]
        for spot in sorted(self._held.keys() - spots - {item.place for item in left}):
            with self._settings.effect(f"delete:HTTPRoute:{spot[0]}/{spot[1]}"):
                self._api.delete(HTTP_ROUTE, *spot, uid=self._held[spot].uid)
        if self._certifier is not None:
            shown = [draft.shown for draft in ready if draft.shown is not None]
            self._certifier.clear(shown, [item.shown for item in left if item.shown is not None])
        return self._written

    def _draft(self, entry: RouteEntry) -> _Draft | None:
        try:
            if trouble := find_trouble(self._settings.plane, self._config, entry):
                raise UnservableError(trouble)
            placement = place(entry)
        except UnservableError as reason:
            self._written.refused[entry.key] = str(reason)
            return None
        # Where nobody answers yet, nothing says where that will be; the usual place is tried.
        tenant, name = entry.key.tenant, route_name(entry)
        home = self._homes.get((tenant, name), f"{self._settings.plane}-{tenant}")
        return _Draft(entry, placement, placement.namespace or home)

    def _attempt(self, draft: _Draft, act: Callable[[_Draft], _T]) -> _T | None:
        """What comes of it; None where the entry is refused, or there is no place for it yet."""
        key = draft.entry.key
        try:
            return act(draft)
        except UnservableError as reason:
            self._written.refused[key] = str(reason)
        except ApiError as error:
            if error.is_absent and draft.placement.namespace is None:
                self._written.homeless = (*self._written.homeless, draft.entry)
            elif is_passing(error):
                raise
            else:
                self._written.refused[key] = error.message
        return None

    def _certify(self, drafts: list[_Draft]) -> list[_Draft]:
        """Those whose certificate is shown, or that have none."""
        certifier = self._certifier
        if certifier is None:
            return drafts
        ready = []
        for draft in drafts:
            has_changed = draft.shown is not None and self._attempt(draft, self._show)
            if has_changed is not None:
                ready.append(draft)
            if has_changed:
                self._written.touched.add(draft.place)
        refused, names = certifier.listen([it.shown for it in ready if it.shown is not None])
        self._written.refused.update(refused)
        ready = [draft for draft in ready if draft.entry.key not in refused]
        self._written.touched |= {
            draft.place
            for draft in ready
            if not names.isdisjoint(listener_names(self._settings.plane, draft.entry))
        }
        return ready

    def _show(self, draft: _Draft) -> bool:
        assert self._certifier is not None and draft.shown is not None
        return self._certifier.show(draft.shown)

    def _write(self, draft: _Draft) -> bool:
        """Whether it had to be written."""
        settings, spot = self._settings, draft.place
        wanted = render_route(
            settings.plane, self._config, draft.entry, draft.placement, draft.namespace
        )
        there = self._held.get(spot)
        if there is not None and _is_same(there, wanted):
            return False
        if has_nobody(wanted["spec"]):
            self._ensure_nobody(draft)
        put_object(self._api, settings, HTTP_ROUTE, wanted, is_ours=there is not None)
        self._written.touched.add(spot)
        return True

    def _ensure_nobody(self, draft: _Draft) -> None:
        api, settings, namespace = self._api, self._settings, draft.namespace
        found = api.get(SERVICE, namespace, NOBODY)
        if found is None:
            with settings.effect(f"apply:Service:{namespace}/{NOBODY}"):
                api.apply(SERVICE, render_nobody(settings.plane, draft.entry.key.tenant, namespace))
        elif plane_of(found) != settings.plane:
            raise UnservableError(f"Service {namespace}/{NOBODY} is not ours: rename or remove it")


def _is_same(there: Seen, wanted: Mapping[str, Any]) -> bool:
    labels, note = wanted["metadata"]["labels"], wanted["metadata"]["annotations"][NOTE]
    is_labelled = all(there.labels.get(name) == value for name, value in labels.items())
    return is_labelled and there.note == note and bool(there.spec == wanted["spec"])
