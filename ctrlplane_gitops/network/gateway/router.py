"""HTTPRoutes of one control plane at somebody's Gateway."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
from ctrlplane_gitops.network.gateway.config import NAME, parse_config
from ctrlplane_gitops.network.gateway.read import Seen, read_route
from ctrlplane_gitops.network.gateway.render import LABEL_PLANE
from ctrlplane_gitops.network.router import LiveReport, RouterSettings
from ctrlplane_gitops.network.table import describe, fingerprint, require_sound
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
    ``homeless`` those without a replica, whose namespace is not there yet. ``touched`` are the
    HTTPRoutes that were written and must be confirmed."""

    generation: str
    table: RouteTable
    refused: Mapping[ResourceKey, str]
    homeless: tuple[RouteEntry, ...] = ()
    touched: frozenset[tuple[str, str]] = frozenset()


class GatewayRouter:
    """Everything we say lies in the cluster, so whoever looks next sees it. What the Gateway sends
    requests to are Services, which leave out by themselves who is not ready."""

    def __init__(self, settings: RouterSettings) -> None:
        if find_spec("urllib3") is None:
            raise ModuleNotFoundError("no module named 'urllib3'", name="urllib3")
        self.name = NAME
        self.capabilities = frozenset({RouterCapability.HITLESS})
        self._settings = settings
        self._config = parse_config(settings.options)
        self._api: Api | None = None
        self._told: _Told | None = None

    def observe(self) -> RouterState:
        try:
            seen = self._read()
        except CtrlplaneError as error:
            generation = self._told.generation if self._told else ""
            text = f"{error.message}; {error.hint}" if error.hint else error.message
            return RouterState(generation=generation, gap=text)
        table = self._table_of(seen)
        refused = self._told.refused if self._told else {}
        faults = [f"{key}: {reason}" for key, reason in refused.items()]
        faults += [fault for item in seen for fault in _faults_of(item)]
        told = self._told
        is_told = told is not None and told.table == table and not told.refused
        generation = told.generation if told is not None and is_told else fingerprint(table)
        is_live = not faults and all(item.is_judged and item.is_as_written for item in seen)
        return RouterState(table, generation, is_live, faults=tuple(sorted(set(faults))))

    def apply(self, table: RouteTable, certificates: Mapping[ResourceKey, SecretValue]) -> str:
        from ctrlplane_gitops.network.gateway.write import write_routes

        require_sound(table, self._config.tls_by_name, certificates, is_shared=True)
        written = write_routes(
            self._connected(),
            self._settings,
            self._config,
            table,
            {it.place: it for it in self._read()},
        )
        generation, before = fingerprint(table), self._told
        # What was written before and is not confirmed yet is still to be confirmed.
        touched = frozenset(written.touched) | (before.touched if before else frozenset())
        self._told = _Told(generation, table, written.refused, written.homeless, touched)
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

    def _read(self) -> list[Seen]:
        """All HTTPRoutes of the control plane, in one list call."""
        from ctrlplane_gitops.cluster.resource import HTTP_ROUTE

        labels = {LABEL_PLANE: self._settings.plane}
        return self._connected().read_all(
            HTTP_ROUTE, labels, lambda raw: read_route(self._config, raw)
        )

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
        seen = self._read() if told is None else self._look_at(told.touched)
        if told is None and fingerprint(self._table_of(seen)) != generation:
            return LiveReport(False, "the HTTPRoutes are of another generation")
        refused = dict(told.refused) if told is not None else {}
        waits = []
        for item in seen:
            if item.entry is None:
                continue
            if item.refusal is not None:
                refused.setdefault(item.entry.key, self._words(item))
            elif item.waits_for:
                waits.append(f"{describe(item.entry)}: {item.waits_for}")
            elif item.missing and not is_over:
                # It may be a new one. One that somebody has removed comes back with the next scale,
                # which must not wait for it here.
                waits.append(f"{describe(item.entry)}: {item.missing}")
        if waits:
            return LiveReport(False, "; ".join(waits), refused)
        if told is not None:
            self._told = replace(told, touched=frozenset())
        return LiveReport(True, refused=refused)

    def _look_at(self, places: Collection[tuple[str, str]]) -> list[Seen]:
        """These HTTPRoutes, one by one where they are few; who is gone is not among them. Somebody
        is asked in any case: a cluster that does not answer serves nothing that is known."""
        from ctrlplane_gitops.cluster.resource import HTTP_ROUTE

        if not 0 < len(places) <= _FEW:
            return [item for item in self._read() if item.place in places]
        found = (self._connected().get(HTTP_ROUTE, *place) for place in sorted(places))
        return [read_route(self._config, raw) for raw in found if raw is not None]

    def _words(self, item: Seen) -> str:
        return f"Gateway {self._config.namespace}/{self._config.name} refuses it: {item.refusal}"


def _faults_of(item: Seen) -> list[str]:
    name = f"HTTPRoute {item.namespace}/{item.name}"
    who = f" (set by {', '.join(item.strangers)})" if item.strangers else ""
    if item.entry is None:
        return [f"{name}: what it says is not as we write it{who}"]
    found = [] if item.is_as_written else [f"{name}: it was changed{who}"]
    for reason in filter(None, (item.refusal, item.missing)):
        found.append(f"{describe(item.entry)}: {reason}")
    return found
