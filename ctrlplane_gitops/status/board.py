"""The read model: everything the API and the pages show, as values of ``status/row.py``.

``Board`` has a method per noun. ``list_*`` give a ``Listing`` (``items``, ``next``: the cursor of
the next page); ``get_*`` give one value, None where there is none. ``Where`` narrows a list; its
``scope`` are the tenants the one who asks may see, and nothing of any other is ever shown.

Nothing here looks at a provider: lists cost what they show, from what was seen last (``Live``, at
``observed_at``) and what is recorded. StoreError, SourceError when it is not to be had yet. Safe to
use from several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.health.view import InstanceHealth
from ctrlplane_gitops.state.desired import DesiredInstance, DesiredState
from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key, tenant_key
from ctrlplane_gitops.state.recorded import RecordedResource
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.status.detail import Known, build_detail, build_rollout
from ctrlplane_gitops.status.history import (
    LogWhere,
    list_audit,
    list_events,
    read_events_after,
    read_shift,
)
from ctrlplane_gitops.status.instance import (
    instance_row,
    provider_of,
    release_row,
)
from ctrlplane_gitops.status.label import has_labels, parse_labels
from ctrlplane_gitops.status.live import Live
from ctrlplane_gitops.status.message import MessageWhere, list_messages
from ctrlplane_gitops.status.paging import (
    Listing,
    Page,
    decode_cursor,
    encode_cursor,
    take_page,
)
from ctrlplane_gitops.status.passing import LastPlan, show_plan, tell_plan
from ctrlplane_gitops.status.resource import deployment_row, route_row, secret_row, tenant_row
from ctrlplane_gitops.status.row import (
    AuditRow,
    DeliveryRow,
    DeploymentRow,
    EventRow,
    HealthRow,
    InstanceDetail,
    InstanceRow,
    MessageRow,
    PlanRow,
    ReleaseRow,
    RolloutRow,
    RouteRow,
    SecretRow,
    TelemetryRow,
    TenantRow,
    WorkerRow,
)
from ctrlplane_gitops.status.view import InstancePhase
from ctrlplane_gitops.status.vital import (
    ReadSeries,
    list_deliveries,
    list_health,
    show_health,
    show_telemetry,
)
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import struct

_FIRST = Page()
_BLOCK = 500


@struct
class Where:
    """What a list is narrowed to; "" says nothing. ``scope`` None: every tenant may be seen.
    ``label`` is ``name=value`` or ``name``, several joined by commas: all of them."""

    scope: frozenset[str] | None = None
    tenant: str = ""
    instance: str = ""
    phase: str = ""
    provider: str = ""
    label: str = ""
    state: str = ""

    def tenants(self) -> frozenset[str] | None:
        """Whose rows are asked for and may be seen; None: everybody's."""
        if not self.tenant:
            return self.scope
        asked = frozenset({self.tenant})
        return asked if self.scope is None else asked & self.scope


@struct
class Sources:
    """Where it all comes from. Each is called by many threads. ``read_desired`` is what Git says
    (None: not known yet), ``read_live`` what was seen last (None: nobody has looked yet),
    ``read_store`` a store for reading, ``read_plan`` the last plan, ``read_workers`` the workers by
    name. ``read_health`` is how an instance is for the one who probes it, None where it is nobody
    here; ``read_series`` what it used."""

    read_desired: Callable[[], DesiredState | None]
    read_live: Callable[[], Live | None]
    read_store: Callable[[], Store]
    now: Callable[[], datetime]
    read_plan: Callable[[], LastPlan | None] = lambda: None
    read_workers: Callable[[], Sequence[WorkerRow]] = tuple
    read_health: Callable[[ResourceKey], InstanceHealth | None] = lambda key: None
    read_series: ReadSeries = lambda key, window: None


class Board:
    """See above."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._sorted: tuple[object, object, list[ResourceKey]] = (None, None, [])

    def list_instances(self, where: Where, page: Page = _FIRST) -> Listing[InstanceRow]:
        """Filters: tenant, phase, provider, label."""
        desired, live = self._require_desired().instances, self._sources.read_live()
        tenants, labels = where.tenants(), parse_labels(where.label)

        def is_asked(key: ResourceKey) -> bool:
            if tenants is not None and key.tenant not in tenants:
                return False
            wanted, status = desired.get(key), live.instances.get(key) if live else None
            phase = (status.phase if status else InstancePhase.UNKNOWN).value
            return (
                where.phase in ("", phase)
                and where.provider in ("", provider_of(status, wanted))
                and (not labels or has_labels(_attributes_of(wanted), labels))
            )

        keys = filter(is_asked, self._sort_keys(desired, live))
        found = take_page(keys, lambda key: (key.tenant, key.name), page, 2)
        return found.map(lambda key: instance_row(key, desired.get(key), live))

    def list_phases(self, where: Where) -> tuple[tuple[ResourceKey, str], ...]:
        """Every instance with its phase, in order, cheaply. Filter: tenant."""
        desired, live = self._require_desired().instances, self._sources.read_live()
        tenants, unknown = where.tenants(), InstancePhase.UNKNOWN
        seen = live.instances if live else {}
        return tuple(
            (key, (seen[key].phase if key in seen else unknown).value)
            for key in self._sort_keys(desired, live)
            if tenants is None or key.tenant in tenants
        )

    def read_instances(self, keys: Iterable[ResourceKey]) -> tuple[InstanceRow, ...]:
        """The rows of these instances, in their order."""
        desired, live = self._require_desired().instances, self._sources.read_live()
        return tuple(instance_row(key, desired.get(key), live) for key in keys)

    def get_instance(self, tenant: str, name: str) -> InstanceDetail | None:
        """Everything about one: its rollout and releases as they are recorded now, its replicas
        as they were seen last."""
        return build_detail(self._look_up(tenant, name))

    def get_rollout(self, tenant: str, name: str) -> RolloutRow | None:
        """Where the rollout of an instance stands now."""
        known = self._look_up(tenant, name)
        return build_rollout(known) if known.is_there else None

    def _look_up(self, tenant: str, name: str) -> Known:
        key, store = instance_key(tenant, name), self._sources.read_store()
        wanted = self._require_desired().instances.get(key)
        return Known(
            key,
            wanted,
            store.load_state([tenant]),
            self._sources.read_live(),
            lambda since: read_shift(store, key.address, since),
        )

    def list_tenants(self, where: Where, page: Page = _FIRST) -> Listing[TenantRow]:
        """Filters: tenant, label. What is recorded of each, with what its specs add up to."""
        found = self._list(Kind.TENANT, where, page)
        names = [item.key.tenant for item in found.items]
        owned = self._group_owned(names)
        desired, live = self._require_desired(), self._sources.read_live()
        return found.map(
            lambda item: tenant_row(
                item, owned.get(item.key.tenant, ()), desired.frozen.get(item.key.tenant, ""), live
            )
        )

    def get_tenant(self, name: str) -> TenantRow | None:
        recorded = self._sources.read_store().load_state([name])
        known = recorded.resources.get(tenant_key(name))
        if known is None:
            return None
        owned = [item for key, item in recorded.resources.items() if key.tenant == name]
        frozen = self._require_desired().frozen.get(name, "")
        return tenant_row(known, owned, frozen, self._sources.read_live())

    def list_deployments(self, where: Where, page: Page = _FIRST) -> Listing[DeploymentRow]:
        """Filters: tenant, instance, label."""
        return self._list(Kind.DEPLOYMENT, where, page).map(deployment_row)

    def get_deployment(self, tenant: str, name: str) -> DeploymentRow | None:
        found = self._get(ResourceKey(Kind.DEPLOYMENT, tenant, name))
        return None if found is None else deployment_row(found)

    def list_routes(self, where: Where, page: Page = _FIRST) -> Listing[RouteRow]:
        """Filters: tenant, instance, label."""
        live = self._sources.read_live()
        return self._list(Kind.ROUTE, where, page).map(lambda item: route_row(item, live))

    def get_route(self, tenant: str, name: str) -> RouteRow | None:
        found = self._get(ResourceKey(Kind.ROUTE, tenant, name))
        return None if found is None else route_row(found, self._sources.read_live())

    def list_secrets(self, where: Where, page: Page = _FIRST) -> Listing[SecretRow]:
        """Filters: tenant, label. Metadata alone."""
        found = self._list(Kind.SECRET, where, page)
        owned = self._group_owned(dict.fromkeys(item.key.tenant for item in found.items))
        return found.map(lambda item: secret_row(item, owned.get(item.key.tenant, ())))

    def get_secret(self, tenant: str, name: str) -> SecretRow | None:
        found = self._get(ResourceKey(Kind.SECRET, tenant, name))
        return None if found is None else secret_row(found, self._group_owned([tenant])[tenant])

    def list_releases(self, where: Where, page: Page = _FIRST) -> Listing[ReleaseRow]:
        """Filters: tenant, instance, state. Each instance's newest first."""
        store = self._sources.read_store()
        found: list[Release] = []
        after = _decode_release(page.cursor) if page.cursor else None
        while len(found) <= page.limit:
            block = store.read_releases(where.tenants(), after, _BLOCK, where.instance or None)
            found.extend(item for item in block if where.state in ("", item.state.value))
            if len(block) < _BLOCK:
                break
            after = _place_of(block[-1])
        items = found[: page.limit]
        places = store.load_state({item.instance.tenant for item in items}).instances
        rows = tuple(release_row(item, places.get(item.instance)) for item in items)
        more = len(found) > page.limit
        return Listing(rows, _encode_release(items[-1]) if more else None)

    def get_release(self, tenant: str, name: str, number: int) -> ReleaseRow | None:
        key = instance_key(tenant, name)
        recorded = self._sources.read_store().load_state([tenant])
        known = recorded.instances.get(key)
        rows = (release_row(item, known) for item in recorded.releases.get(key, ()))
        return next((row for row in rows if row.release == number), None)

    def list_events(self, where: LogWhere, page: Page = _FIRST) -> Listing[EventRow]:
        """The newest first. Filters: tenant, type, kind, address, since, until."""
        return list_events(self._sources.read_store(), where, page)

    def list_audit(self, where: LogWhere, page: Page = _FIRST) -> Listing[AuditRow]:
        """The newest first. Filters: those of events but the type; actor, action, outcome."""
        return list_audit(self._sources.read_store(), where, page)

    def list_messages(self, where: MessageWhere, page: Page = _FIRST) -> Listing[MessageRow]:
        """The newest first. Filters: subscription, state, address."""
        return list_messages(self._sources.read_store(), where, page)

    def list_health(self, where: Where, page: Page = _FIRST) -> Listing[HealthRow]:
        """Filters: tenant, state."""
        store, now = self._sources.read_store(), self._sources.now()
        return list_health(store, where.tenants(), where.state, page, now)

    def get_health(self, tenant: str, name: str) -> Mapping[str, Any] | None:
        """How an instance is, its uptime and what held before."""
        known = self._look_up(tenant, name)
        if not known.is_there:
            return None
        live, store = self._sources.read_health(known.key), self._sources.read_store()
        return show_health(store, known.key, live, self._sources.now())

    def get_telemetry(self, tenant: str, name: str, window: timedelta) -> TelemetryRow | None:
        """What an instance used lately; None where nobody measures, or knows of it."""
        known = self._look_up(tenant, name)
        found = self._sources.read_series(known.key, window) if known.is_there else None
        return None if found is None else show_telemetry(known.key, *found)

    def list_deliveries(
        self, sender: str, outcome: str, page: Page = _FIRST
    ) -> Listing[DeliveryRow]:
        """The newest first; of a sender and with an outcome, "" for any."""
        return list_deliveries(self._sources.read_store(), sender, outcome, page)

    def read_events_after(
        self, where: LogWhere, number: int, limit: int = 100
    ) -> tuple[EventRow, ...]:
        """For who follows: what was written after the event of this number, oldest first."""
        return read_events_after(self._sources.read_store(), where, number, limit)

    def last_event(self) -> int:
        """The number of the newest event, 0 before the first."""
        return self._sources.read_store().last_event()

    def list_workers(self) -> Sequence[WorkerRow]:
        """By name."""
        return self._sources.read_workers()

    def get_plan(self, scope: frozenset[str] | None) -> PlanRow | None:
        """What the last pass would do, or does; None before the first."""
        last = self._sources.read_plan()
        if last is None:
            return None
        shown = show_plan(last, scope)
        return PlanRow(last.made_at, last.plan.header.commit, last.outcome, shown)

    def read_plan_text(self, scope: frozenset[str] | None) -> str:
        """The same as ``plan`` prints it; "" before the first."""
        last = self._sources.read_plan()
        return "" if last is None else tell_plan(last, scope)

    def _require_desired(self) -> DesiredState:
        found = self._sources.read_desired()
        if found is None:
            raise SourceError("the specs have not been read yet", is_retryable=True)
        return found

    def _sort_keys(
        self, desired: Mapping[ResourceKey, DesiredInstance], live: Live | None
    ) -> list[ResourceKey]:
        """Put in order once, for as long as nothing new is known."""
        known = self._sorted
        if known[0] is desired and known[1] is live:
            return known[2]
        keys = desired.keys() | (live.instances.keys() if live else set())
        found = sorted(keys, key=lambda key: (key.tenant, key.name))
        self._sorted = (desired, live, found)
        return found

    def _list(self, kind: Kind, where: Where, page: Page) -> Listing[RecordedResource]:
        labels = parse_labels(where.label)
        after = decode_cursor(page.cursor, 2) if page.cursor else None
        rows = (
            item
            for item in self._walk(kind, where.tenants(), after)
            if (not labels or has_labels(item.attributes, labels))
            and (not where.instance or item.attributes.get("instance") == where.instance)
        )
        return take_page(rows, lambda item: (item.key.tenant, item.key.name), page, 2)

    def _walk(
        self, kind: Kind, tenants: Collection[str] | None, after: tuple[str, ...] | None
    ) -> Iterator[RecordedResource]:
        store = self._sources.read_store()
        while True:
            place = None if after is None else (after[0], after[1])
            block = store.read_resources(kind, tenants, place, _BLOCK)
            yield from block
            if len(block) < _BLOCK:
                return
            after = (block[-1].key.tenant, block[-1].key.name)

    def _get(self, key: ResourceKey) -> RecordedResource | None:
        return self._sources.read_store().load_state([key.tenant]).resources.get(key)

    def _group_owned(self, tenants: Iterable[str]) -> dict[str, list[RecordedResource]]:
        """What is recorded of these tenants."""
        names = list(tenants)
        found: dict[str, list[RecordedResource]] = {name: [] for name in names}
        if names:
            for key, item in self._sources.read_store().load_state(names).resources.items():
                if key.tenant in found:
                    found[key.tenant].append(item)
        return found


def _attributes_of(wanted: DesiredInstance | None) -> Mapping[str, object]:
    return wanted.resource.attributes if wanted else {}


def _place_of(release: Release) -> tuple[str, str, int]:
    return (release.instance.tenant, release.instance.name, release.number)


def _encode_release(release: Release) -> str:
    tenant, name, number = _place_of(release)
    return encode_cursor((tenant, name, str(number)))


def _decode_release(cursor: str) -> tuple[str, str, int]:
    tenant, name, number = decode_cursor(cursor, 3)
    return (tenant, name, int(number)) if number.isdecimal() else (tenant, name, 0)
