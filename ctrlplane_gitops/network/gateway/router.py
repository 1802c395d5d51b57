"""HTTPRoutes of one control plane at somebody's Gateway."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import (
    CapabilityError,
    CtrlplaneError,
    ProviderError,
    UnreachableError,
)
from ctrlplane_gitops.network.certificate import complete_certificates
from ctrlplane_gitops.network.gateway.config import NAME, parse_config
from ctrlplane_gitops.network.gateway.listener import LABEL_PLANE, Place, read_pem
from ctrlplane_gitops.network.gateway.probe import find_unserved
from ctrlplane_gitops.network.gateway.read import (
    Seen,
    add_stock,
    find_faults,
    judge_shown,
    read_route,
)
from ctrlplane_gitops.network.gateway.stock import (
    Stock,
    find_leftovers,
    read_gateway,
    read_stock,
)
from ctrlplane_gitops.network.router import LiveReport, RouterSettings
from ctrlplane_gitops.network.table import (
    describe,
    digest_certificates,
    fingerprint,
    fingerprint_shown,
    require_sound,
)
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import (
    Member,
    RouteEntry,
    RouterCapability,
    RouterState,
    RouteTable,
    TrafficCount,
)
from ctrlplane_gitops.value import replace, struct

if TYPE_CHECKING:
    from ctrlplane_gitops.cluster.api import Api

_FIRST_POLL_S, _LONGEST_POLL_S = 0.05, 0.5
_ALIAS = "router"
# So many are read one by one quicker than all there are.
_FEW = 20


@struct
class _Told:
    """What this object has told last. ``refused`` are entries nobody can be told, by key;
    ``digests`` are of the certificates; ``homeless`` those without a replica, whose namespace is
    not there yet. ``touched`` are the HTTPRoutes that were written and must be confirmed."""

    generation: str
    refused: Mapping[ResourceKey, str]
    digests: Mapping[ResourceKey, str]
    homeless: tuple[RouteEntry, ...] = ()
    touched: frozenset[Place] = frozenset()


@struct
class _Look:
    """All HTTPRoutes, and where they show certificates (``has_stock``) what there is of those.
    ``leftovers`` are what nobody needs any more."""

    routes: tuple[Seen, ...]
    stock: Stock = Stock()
    leftovers: frozenset[str] = frozenset()
    has_stock: bool = False


class GatewayRouter:
    """Everything we say lies in the cluster, so whoever looks next sees it. What the Gateway sends
    requests to are Services, which leave out by themselves who is not ready."""

    def __init__(self, settings: RouterSettings) -> None:
        if find_spec("urllib3") is None:
            raise ModuleNotFoundError("no module named 'urllib3'", name="urllib3")
        self.name = NAME
        self._settings = settings
        self._config = parse_config(settings.options)
        self.capabilities = frozenset({RouterCapability.HITLESS})
        if self._config.has_listeners:
            self.capabilities |= {RouterCapability.CERTIFICATES}
        self._api: Api | None = None
        self._told: _Told | None = None

    def observe(self) -> RouterState:
        try:
            look = self._look()
        except CtrlplaneError as error:
            generation = self._told.generation if self._told else ""
            text = f"{error.message}; {error.hint}" if error.hint else error.message
            return RouterState(generation=generation, gap=text)
        refused = self._told.refused if self._told else {}
        faults = [f"{key}: {reason}" for key, reason in refused.items()]
        faults += [fault for item in look.routes for fault in find_faults(item)]
        is_live = not faults and not look.leftovers and all(item.is_live for item in look.routes)
        table = self._table_of(look.routes)
        generation = self._name(table, look.stock)
        refusals = tuple(sorted(set(faults)))
        return RouterState(table, generation, is_live, faults=refusals, is_lasting=True)

    def _name(self, table: RouteTable, stock: Stock) -> str:
        """Its generation. Who is nowhere yet has no Secret either."""
        told = self._told.digests if self._told else {}
        return fingerprint_shown(table, {**told, **stock.digests()})

    def apply(self, table: RouteTable, certificates: Mapping[ResourceKey, SecretValue]) -> str:
        from ctrlplane_gitops.network.gateway.certify import Certifier
        from ctrlplane_gitops.network.gateway.write import TableWriter

        look = self._look()
        table, refused = _as_meant(table, look.routes), dict[ResourceKey, str]()
        complete = complete_certificates(table, certificates, self._finds_held(look.stock))
        for entry in table.entries:
            if entry.certificate not in (None, *complete) and _is_held(entry, look.routes):
                refused[entry.key] = f"{entry.certificate} is damaged here, and has no value now"
        sound = RouteTable(tuple(it for it in table.entries if it.key not in refused))
        require_sound(sound, self._config.tls_by_name, complete, is_shared=True)
        certifier = None
        if self._config.has_listeners or look.has_stock:
            certifier = Certifier(
                self._connected(), self._settings, self._config, look.stock, complete
            )
        held = {item.place: item for item in look.routes}
        writer = TableWriter(self._connected(), self._settings, self._config, held, certifier)
        written = writer.write(table, refused)
        generation, before = fingerprint(table, complete), self._told
        # What was written before and is not confirmed yet is still to be confirmed.
        touched = frozenset(written.touched) | (before.touched if before else frozenset())
        self._told = _Told(
            generation,
            written.refused,
            digest_certificates(complete),
            written.homeless,
            touched,
        )
        return generation

    def wait_live(self, generation: str, timeout: timedelta) -> LiveReport:
        deadline, pause_s = monotonic_s() + timeout.total_seconds(), _FIRST_POLL_S
        while True:
            is_over = monotonic_s() > deadline
            try:
                report = self._report(generation, is_over=is_over)
            except ProviderError as error:
                report = LiveReport(False, error.message)
            if report.is_live or is_over:
                return report
            sleep(pause_s)
            pause_s = min(_LONGEST_POLL_S, pause_s * 1.5)

    def count_in_flight(self, members: Collection[Member]) -> int | None:
        """Gateway API has no such figure."""
        return None

    def count_traffic(self) -> Mapping[tuple[ResourceKey, int], TrafficCount]:
        raise CapabilityError(
            f"router ({NAME}) has no capability {RouterCapability.COUNTS.value!r}",
            hint="measure what your Gateway counts with a check of type prometheus",
        )

    def ensure_running(self) -> bool:
        from ctrlplane_gitops.cluster.resource import GATEWAY

        namespace, name = self._config.namespace, self._config.name
        if self._connected().get(GATEWAY, namespace, name) is None:
            raise UnreachableError(f"the cluster has no Gateway {namespace}/{name}")
        return False

    def stop(self) -> None:
        """It is not ours."""

    def close(self) -> None:
        if self._api is not None:
            self._api.connection.close()
            self._api = None

    def _connected(self) -> Api:
        if self._api is None:
            # What it takes to ask is loaded by whoever asks.
            from ctrlplane_gitops.cluster.access import find_access
            from ctrlplane_gitops.cluster.api import Api
            from ctrlplane_gitops.cluster.connection import Connection

            self._api = Api(Connection(find_access(_ALIAS, self._settings.environ)))
        return self._api

    def _look(self) -> _Look:
        """All there is of the control plane: HTTPRoutes in one list call, and what they show in
        three more where they may show anything."""
        from ctrlplane_gitops.cluster.resource import HTTP_ROUTE

        plane, config = self._settings.plane, self._config
        labels = {LABEL_PLANE: plane}
        routes = self._connected().read_all(
            HTTP_ROUTE, labels, lambda raw: read_route(plane, config, raw)
        )
        if not config.has_listeners and not any(item.shown for item in routes):
            return _Look(tuple(routes))
        stock = read_stock(self._connected(), plane, config)
        shown = [it.shown for it in routes if it.shown is not None and it.is_certified(config)]
        leftovers = find_leftovers(plane, config, shown, stock)
        routes = add_stock(plane, config, routes, stock)
        return _Look(tuple(routes), stock, frozenset(leftovers), has_stock=True)

    def _finds_held(self, stock: Stock) -> Callable[[ResourceKey], str | None]:
        """Finds a certificate in a Secret of ours that nobody else has written into."""

        def find(key: ResourceKey) -> str | None:
            from ctrlplane_gitops.cluster.resource import SECRET

            for place, item in stock.secrets.items():
                if item.certificate == key and not item.strangers:
                    found = self._connected().get(SECRET, *place)
                    return read_pem(found) if found is not None else None
            return None

        return find

    def _table_of(self, seen: Collection[Seen]) -> RouteTable:
        homeless = self._told.homeless if self._told else ()
        found = {(it.key, it.variant): it for it in homeless}
        found |= {(it.entry.key, it.entry.variant): it.entry for it in seen if it.entry is not None}
        return RouteTable(tuple(found[place] for place in sorted(found)))

    def _report(self, generation: str, *, is_over: bool) -> LiveReport:
        """An entry that is refused is that route's affair; whatever else was written must be
        confirmed. What was not touched was confirmed before."""
        told = self._told
        if told is not None and told.generation != generation:
            return LiveReport(False, f"generation {told.generation} was written since")
        if told is not None:
            seen = self._look_at(told.touched)
        else:
            look = self._look()
            seen = look.routes
            if self._name(self._table_of(seen), look.stock) != generation:
                return LiveReport(False, "the HTTPRoutes are of another generation")
        refused = dict(told.refused) if told is not None else {}
        waits = []
        for item in seen:
            if item.entry is None:
                continue
            said = item.verdict
            if said.refusal is not None or (said.early and is_over and not said.waits_for):
                reason = said.refusal or said.early
                refused.setdefault(item.entry.key, self._words(reason))
            elif said.waits_for or said.early:
                waits.append(f"{describe(item.entry)}: {said.waits_for or said.early}")
            elif said.missing and not is_over:
                # It may be a new one. One that somebody has removed comes back with the next scale,
                # which must not wait for it here.
                waits.append(f"{describe(item.entry)}: {said.missing}")
        served = [item for item in seen if item.entry and item.entry.key not in refused]
        waits = waits or find_unserved(self._config, served)
        if waits:
            return LiveReport(False, "; ".join(waits), refused)
        if told is not None:
            self._told = replace(told, touched=frozenset())
        return LiveReport(True, refused=refused)

    def _look_at(self, places: Collection[Place]) -> Collection[Seen]:
        """These HTTPRoutes, one by one where they are few; who is gone is not among them. Somebody
        is asked in any case: a cluster that does not answer serves nothing that is known."""
        from ctrlplane_gitops.cluster.resource import HTTP_ROUTE

        plane, config = self._settings.plane, self._config
        if not 0 < len(places) <= _FEW:
            return [item for item in self._look().routes if item.place in places]
        found = (self._connected().get(HTTP_ROUTE, *place) for place in sorted(places))
        routes = [read_route(plane, config, raw) for raw in found if raw is not None]
        if not any(item.is_certified(config) for item in routes):
            return routes
        stock = read_gateway(self._connected(), plane, config)
        return [judge_shown(plane, config, item, stock) for item in routes]

    def _words(self, reason: str) -> str:
        return f"Gateway {self._config.namespace}/{self._config.name} refuses it: {reason}"


def _as_meant(table: RouteTable, seen: Collection[Seen]) -> RouteTable:
    """Who says of a damaged entry what is seen of it means it as it was written."""
    meant = {it.entry: it.meant for it in seen if it.damage and it.entry and it.meant}
    return RouteTable(
        tuple(
            replace(entry, certificate=meant[entry].certificate) if entry in meant else entry
            for entry in table.entries
        )
    )


def _is_held(entry: RouteEntry, seen: Collection[Seen]) -> bool:
    """Whether it was shown with this certificate, which is damaged."""
    return any(
        it.damage
        and it.meant
        and (it.meant.key, it.meant.certificate) == (entry.key, entry.certificate)
        for it in seen
    )
