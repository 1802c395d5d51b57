"""A store in memory: for tests, and for trying something out. It forgets everything at exit."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from ctrlplane_gitops.errors import LockError
from ctrlplane_gitops.state.desired import DesiredResource
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.log import (
    AuditFilter,
    EventFilter,
    LoggedEntry,
    LoggedEvent,
    Page,
    is_entry_asked,
    is_event_asked,
)
from ctrlplane_gitops.state.recorded import (
    AuditEntry,
    Event,
    Intent,
    Order,
    RecordBatch,
    RecordedInstance,
    RecordedResource,
    RecordedState,
)
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.store.base import Fence, LeaseInfo
from ctrlplane_gitops.store.delivery_memory import MemoryDeliveries
from ctrlplane_gitops.store.health import MemoryHealth
from ctrlplane_gitops.store.outbox_memory import MemoryOutbox
from ctrlplane_gitops.store.retained import BATCH, Retained
from ctrlplane_gitops.store.watcher import Watch, Watchers
from ctrlplane_gitops.value import struct

_Row = TypeVar("_Row", LoggedEvent, LoggedEntry)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Tables:
    plane_id: str | None = None
    resources: dict[ResourceKey, RecordedResource] = field(default_factory=dict)
    instances: dict[ResourceKey, RecordedInstance] = field(default_factory=dict)
    releases: dict[tuple[ResourceKey, int], Release] = field(default_factory=dict)
    orders: dict[ResourceKey, Order] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    intents: dict[str, Intent] = field(default_factory=dict)
    events: list[LoggedEvent] = field(default_factory=list)
    audit: list[LoggedEntry] = field(default_factory=list)


class MemoryStore:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._tables = _Tables()
        self._leases: dict[str, LeaseInfo] = {}
        self.deliveries = MemoryDeliveries()
        self.outbox = MemoryOutbox()
        self.retained = Retained(
            _Aged(self._prune_events),
            _Aged(self._prune_audit),
            _Aged(self._prune_intents),
            self,
            self,
        )
        self._watchers = Watchers()
        self.health = MemoryHealth(self.add_events)

    def load_state(
        self,
        tenants: Collection[str] | None = None,
        known: Mapping[ResourceKey, DesiredResource] | None = None,
    ) -> RecordedState:
        def is_asked(key: ResourceKey) -> bool:
            return tenants is None or not key.tenant or key.tenant in tenants

        with self._lock:
            tables = self._tables
            releases: dict[ResourceKey, list[Release]] = {}
            for (key, _), release in sorted(tables.releases.items()):
                if is_asked(key):
                    releases.setdefault(key, []).append(release)
            return RecordedState(
                tables.plane_id,
                {key: item for key, item in tables.resources.items() if is_asked(key)},
                {key: item for key, item in tables.instances.items() if is_asked(key)},
                {key: tuple(items) for key, items in releases.items()},
                {key: item for key, item in tables.orders.items() if is_asked(key)},
            )

    def read_resources(
        self,
        kind: Kind,
        tenants: Collection[str] | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 100,
    ) -> Sequence[RecordedResource]:
        with self._lock:
            found = [
                item
                for key, item in self._tables.resources.items()
                if key.kind is kind
                and (tenants is None or key.tenant in tenants)
                and (after is None or (key.tenant, key.name) > after)
            ]
        return sorted(found, key=lambda item: item.key)[: max(limit, 0)]

    def read_releases(
        self,
        tenants: Collection[str] | None = None,
        after: tuple[str, str, int] | None = None,
        limit: int = 100,
        instance: str | None = None,
    ) -> Sequence[Release]:
        def place_of(release: Release) -> tuple[str, str, int]:
            return (release.instance.tenant, release.instance.name, -release.number)

        begin = None if after is None else (after[0], after[1], -after[2])
        with self._lock:
            found = [
                item
                for (key, _), item in self._tables.releases.items()
                if (tenants is None or key.tenant in tenants)
                and instance in (None, key.name)
                and (begin is None or place_of(item) > begin)
            ]
        return sorted(found, key=place_of)[: max(limit, 0)]

    def record(self, batch: RecordBatch, fence: Fence) -> None:
        with self._lock:
            _check_fence(self._leases.get(fence.lease), fence)
            tables = self._tables
            tables.plane_id = batch.plane_id or tables.plane_id
            tables.resources.update({item.key: item for item in batch.resources})
            tables.instances.update({item.key: item for item in batch.instances})
            tables.releases.update({(item.instance, item.number): item for item in batch.releases})
            tables.blobs.update(batch.blobs)
            tables.intents.update({item.id: item for item in batch.intents})
            self._append(batch.events, batch.audit)
            for key in batch.removed_resources:
                tables.resources.pop(key, None)
            for key in batch.removed_instances:
                tables.instances.pop(key, None)
            for number in batch.removed_releases:
                tables.releases.pop(number, None)
            for key in batch.removed_orders:
                tables.orders.pop(key, None)

    def give_order(self, order: Order, event: Event, audit: AuditEntry) -> None:
        with self._lock:
            self._tables.orders[order.instance] = order
            self._append((event,), (audit,))

    def write_audit(self, entry: AuditEntry) -> None:
        with self._lock:
            self._append((), (entry,))

    def _append(self, events: Sequence[Event], audit: Sequence[AuditEntry]) -> None:
        """Told while nobody else may write, so that everybody hears of events in their order."""
        tables = self._tables
        last = tables.events[-1].number if tables.events else 0
        logged = [LoggedEvent(n, item) for n, item in enumerate(events, last + 1)]
        tables.events += logged
        last = tables.audit[-1].number if tables.audit else 0
        tables.audit += [LoggedEntry(n, item) for n, item in enumerate(audit, last + 1)]
        self._watchers.tell(logged)

    def _prune_events(self, before: datetime) -> int:
        with self._lock:
            rows = self._tables.events
            old = [row for row in rows[:-1] if row.event.at < before][:BATCH]
            self._tables.events = [row for row in rows if row not in old]
            return len(old)

    def _prune_audit(self, before: datetime) -> int:
        with self._lock:
            rows = self._tables.audit
            old = [row for row in rows[:-1] if row.entry.at < before][:BATCH]
            self._tables.audit = [row for row in rows if row not in old]
            return len(old)

    def _prune_intents(self, before: datetime) -> int:
        with self._lock:
            rows = self._tables.intents
            closed = sorted((x.closed_at, id) for id, x in rows.items() if x.closed_at is not None)
            old = [id for at, id in closed[:-1] if at < before][:BATCH]
            for id in old:
                del rows[id]
            return len(old)

    def count_releases(self) -> Mapping[ResourceKey, int]:
        with self._lock:
            return Counter(key for key, _ in self._tables.releases)

    def find_unlisted(self) -> Sequence[ResourceKey]:
        with self._lock:
            tables = self._tables
            known = {*tables.instances, *tables.orders, *(key for key, _ in tables.releases)}
            return sorted(known - tables.resources.keys())

    def has_unused(self) -> bool:
        with self._lock:
            return bool(self._find_unused())

    def _find_unused(self) -> set[str]:
        releases = self._tables.releases.values()
        used = {file.digest for release in releases for file in release.template.files}
        return self._tables.blobs.keys() - used

    def drop_unused(self, fence: Fence) -> int:
        with self._lock:
            _check_fence(self._leases.get(fence.lease), fence)
            unused = self._find_unused()
            for digest in unused:
                del self._tables.blobs[digest]
            return len(unused)

    def add_events(self, events: Sequence[Event]) -> None:
        with self._lock:
            self._append(events, ())

    def read_orders(self) -> Mapping[ResourceKey, Order]:
        with self._lock:
            return dict(self._tables.orders)

    def read_blob(self, digest: str) -> bytes | None:
        with self._lock:
            return self._tables.blobs.get(digest)

    def read_events(
        self, where: EventFilter | None = None, page: Page | None = None
    ) -> Sequence[LoggedEvent]:
        with self._lock:
            rows = tuple(self._tables.events)
        where = where or EventFilter()
        return _take([row for row in rows if is_event_asked(where, row.event)], page)

    def read_events_after(
        self, number: int, limit: int = 100, where: EventFilter | None = None
    ) -> Sequence[LoggedEvent]:
        return self.read_events(where, Page(limit, after=number, is_oldest_first=True))

    def last_event(self) -> int:
        with self._lock:
            return self._tables.events[-1].number if self._tables.events else 0

    def watch_events(self, watch: Watch) -> Callable[[], None]:
        return self._watchers.add(watch)

    def read_audit(
        self, where: AuditFilter | None = None, page: Page | None = None
    ) -> Sequence[LoggedEntry]:
        with self._lock:
            rows = tuple(self._tables.audit)
        where = where or AuditFilter()
        return _take([row for row in rows if is_entry_asked(where, row.entry)], page)

    def read_open_intents(self) -> Sequence[Intent]:
        with self._lock:
            found = [item for item in self._tables.intents.values() if item.closed_at is None]
        return sorted(found, key=lambda item: (item.at, item.id))

    def acquire(self, lease: str, holder: str, ttl: timedelta, now: datetime) -> Fence | None:
        with self._lock:
            known = self._leases.get(lease)
            if known is not None and known.holder != holder and known.expires_at > now:
                return None
            number = (known.number if known else 0) + 1
            self._leases[lease] = LeaseInfo(lease, holder, number, now + ttl)
            return Fence(lease, holder, number)

    def refresh(self, fence: Fence, ttl: timedelta, now: datetime) -> bool:
        with self._lock:
            known = self._leases.get(fence.lease)
            if known is None or not _is_current(known, fence):
                return False
            self._leases[fence.lease] = replace(known, expires_at=now + ttl)
            return True

    def release(self, fence: Fence) -> None:
        with self._lock:
            known = self._leases.get(fence.lease)
            if known is not None and _is_current(known, fence):
                self._leases[fence.lease] = replace(known, holder="", expires_at=_LONG_AGO)

    def break_lease(self, lease: str, number: int) -> bool:
        with self._lock:
            known = self._leases.get(lease)
            if known is None or known.number != number:
                return False
            self._leases[lease] = replace(known, holder="", expires_at=_LONG_AGO)
            return True

    def read_lease(self, lease: str) -> LeaseInfo | None:
        with self._lock:
            known = self._leases.get(lease)
            return known if known is not None and known.holder else None

    def close(self) -> None:
        """Nothing is open."""


def _take(rows: Sequence[_Row], page: Page | None) -> list[_Row]:
    """A page of rows that are in order."""
    page = page or Page()
    first = 0 if page.after is None else page.after + 1
    found = [
        row
        for row in (rows if page.is_oldest_first else reversed(rows))
        if row.number >= first and (page.before is None or row.number < page.before)
    ]
    return found[: max(page.limit, 0)]


@struct
class _Aged:
    prune: Callable[[datetime], int]


def _is_current(known: LeaseInfo, fence: Fence) -> bool:
    return (known.holder, known.number) == (fence.holder, fence.number)


def _check_fence(known: LeaseInfo | None, fence: Fence) -> None:
    if known is None or not _is_current(known, fence):
        raise LockError(
            f"the lease {fence.lease!r} was lost to another process",
            hint="run it again: what was done is recorded or will be found",
        )
