"""Writing what routes show: a Secret for each certificate, and listeners of ours at the Gateway."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ctrlplane_gitops.cluster.api import Api
from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.owner import FIELD_MANAGER
from ctrlplane_gitops.cluster.resource import GATEWAY, REFERENCE_GRANT, SECRET, ResourceType
from ctrlplane_gitops.network.certificate import parse_pem
from ctrlplane_gitops.network.gateway.config import GatewayConfig
from ctrlplane_gitops.network.gateway.listener import (
    Place,
    Refusals,
    Shown,
    needs_grant,
    refuse_shown,
    render_gateway,
    render_grant,
    render_listeners,
    render_secret,
    sort_out_listeners,
    spot_of,
)
from ctrlplane_gitops.network.gateway.put import apply_fields, put_object
from ctrlplane_gitops.network.gateway.render import UnservableError
from ctrlplane_gitops.network.gateway.stock import Stock
from ctrlplane_gitops.network.router import RouterSettings
from ctrlplane_gitops.network.table import digest_certificates
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import ResourceKey

Listeners = Mapping[str, Mapping[str, Any]]


class Certifier:
    """For one write: ``show`` each entry, ``listen`` for all, and when the routes are written
    ``clear`` what nobody needs any more. ``certificates`` are complete."""

    def __init__(
        self,
        api: Api,
        settings: RouterSettings,
        config: GatewayConfig,
        stock: Stock,
        certificates: Mapping[ResourceKey, SecretValue],
    ) -> None:
        self._api, self._settings, self._config = api, settings, config
        self._stock = stock
        self._certificates = certificates
        self._digests = digest_certificates(certificates)
        self._written: set[Place] = set()
        self._listeners: Listeners = stock.listeners

    def show(self, shown: Shown) -> bool:
        """Its Secret, and the right of the Gateway to read it; True where one was changed.
        UnservableError, ApiError."""
        place, plane = shown.secret, self._settings.plane
        has_changed = place in self._written
        seen, digest = self._stock.secrets.get(place), self._digests[shown.certificate]
        if not has_changed and (
            seen is None
            or seen.strangers
            or (seen.certificate, seen.digest) != (shown.certificate, digest)
        ):
            pem = parse_pem(self._certificates[shown.certificate])
            secret = render_secret(plane, shown, pem, digest)
            put_object(self._api, self._settings, SECRET, secret, is_ours=seen is not None)
            self._written.add(place)
            has_changed = True
        if needs_grant(self._config, place):
            grant, there = render_grant(plane, self._config, shown), self._stock.grants.get(place)
            if there is None or there.spec != grant["spec"]:
                is_ours = there is not None
                put_object(self._api, self._settings, REFERENCE_GRANT, grant, is_ours=is_ours)
                has_changed = True
        return has_changed

    def listen(self, shown: Collection[Shown]) -> tuple[Refusals, set[str]]:
        """The listeners of all of these, beside those there are: nobody is cut off before his route
        is another one. Why some are refused, by route, and the names of those that changed."""
        plane, ours = self._settings.plane, self._stock.listeners
        wanted = render_listeners(plane, self._config, shown)
        spots = {spot_of(item) for item in wanted.values()}
        kept = {name: item for name, item in ours.items() if spot_of(item) not in spots}
        others = (*self._stock.others, *kept.values())
        found, refused = sort_out_listeners(ours, wanted, others)
        changed = {name for name, item in found.items() if ours.get(name) != item}
        if changed:
            try:
                self._apply({**kept, **found})
            except (ApiError, UnservableError) as error:
                if isinstance(error, ApiError) and is_passing(error):
                    raise
                refused |= dict.fromkeys(changed, self._explain(error))
                changed = set()
        return refuse_shown(plane, shown, refused), changed

    def clear(self, shown: Collection[Shown], kept: Collection[Shown]) -> None:
        """``kept`` are shown as they were before, for they could not be told otherwise."""
        if self._stock.listeners.keys() | self._listeners.keys():
            self._clear_listeners(shown, kept)
        places = {item.secret for item in (*shown, *kept)}
        grants = {place for place in places if needs_grant(self._config, place)}
        for place, grant in sorted(self._stock.grants.items()):
            if place not in grants:
                self._delete(REFERENCE_GRANT, place, grant.uid)
        for place, secret in sorted(self._stock.secrets.items()):
            if place not in places:
                self._delete(SECRET, place, secret.uid)

    def _clear_listeners(self, shown: Collection[Shown], kept: Collection[Shown]) -> None:
        needed = render_listeners(self._settings.plane, self._config, (*shown, *kept))
        left = {name: item for name, item in self._listeners.items() if name in needed}
        if left.keys() != self._listeners.keys():
            self._apply(left)

    def _apply(self, listeners: Listeners) -> None:
        """Ours and no more: what we leave out of them is taken away, and of others' nothing."""
        gateway = render_gateway(self._config, listeners)
        manager = f"{FIELD_MANAGER}.{self._settings.plane}"
        apply_fields(self._api, self._settings, GATEWAY, gateway, manager=manager)
        self._listeners = listeners

    def _explain(self, error: Exception) -> str:
        where = f"Gateway {self._config.namespace}/{self._config.name}"
        if isinstance(error, ApiError) and error.status == 403:
            return f"{where} has none, and we may not add it: {error.message}"
        if not self._stock.is_there:
            return f"the cluster has no {where}"
        return error.message if isinstance(error, ApiError) else str(error)

    def _delete(self, kind: ResourceType, place: Place, uid: str) -> None:
        with self._settings.effect(f"delete:{kind.kind}:{place[0]}/{place[1]}"):
            self._api.delete(kind, *place, uid=uid)


def is_passing(error: ApiError) -> bool:
    """Whether it is said of the server as it is now, and not of one object."""
    return error.status in _NOT_NOW or (error.status >= 500 and error.is_retryable)


_NOT_NOW = (401, 408, 410, 429)
