"""The store in one SQLite file: WAL, every transaction on disk before it counts."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.state.desired import DesiredResource
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.recorded import (
    AuditEntry,
    Event,
    Intent,
    Order,
    RecordBatch,
    RecordedResource,
    RecordedState,
)
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.store import lease as leases
from ctrlplane_gitops.store.base import Fence, LeaseInfo
from ctrlplane_gitops.store.codec import decode_time
from ctrlplane_gitops.store.connection import (
    open_for_reading,
    open_for_writing,
    translating,
    writing_to,
)
from ctrlplane_gitops.store.delivery_sqlite import SqliteDeliveries
from ctrlplane_gitops.store.listing import select_releases, select_resources
from ctrlplane_gitops.store.rows import (
    load_orders,
    load_state,
    write_batch,
    write_history,
    write_order,
)

if TYPE_CHECKING:  # who only looks at the state reads no history
    from ctrlplane_gitops.state.log import (
        AuditFilter,
        EventFilter,
        LoggedEntry,
        LoggedEvent,
        Page,
    )
    from ctrlplane_gitops.store.health import SqliteHealth
    from ctrlplane_gitops.store.outbox_sqlite import SqliteOutbox
    from ctrlplane_gitops.store.retained import Retained
    from ctrlplane_gitops.store.watcher import Watch, Watchers

_EMPTY = RecordedState()


class SqliteStore:
    """A file at ``path``, created when missing. ``is_read_only``: a missing file reads as empty,
    nothing is created or changed, writing is a ``StoreError``, and a state that nobody has changed
    is not read again. Safe to use from several threads; several processes may have it open, one of
    them writing at a time."""

    def __init__(self, path: Path, *, is_read_only: bool = False) -> None:
        self._path = path
        self._is_read_only = is_read_only
        self._lock = threading.RLock()
        self._is_trimmed = False
        self._is_closed = False
        self._watchers: Watchers | None = None
        self._outbox: SqliteOutbox | None = None
        self._loaded: tuple[object, RecordedState] | None = None
        self._connection = open_for_reading(path) if is_read_only else open_for_writing(path)
        self.deliveries = SqliteDeliveries(path, is_read_only=is_read_only)

    @property
    def outbox(self) -> SqliteOutbox:
        """Made when it is first needed: few commands tell anybody anything."""
        from ctrlplane_gitops.store.outbox_sqlite import SqliteOutbox

        with self._lock:
            if self._outbox is None:
                self._check_open()
                self._outbox = SqliteOutbox(self._path, is_read_only=self._is_read_only)
            return self._outbox

    @property
    def health(self) -> SqliteHealth:
        from ctrlplane_gitops.store.health import SqliteHealth

        return SqliteHealth(self._reading, self._writing, self._log)

    @property
    def retained(self) -> Retained:
        from ctrlplane_gitops.store.retained import build_retained

        return build_retained(self._reading, self._writing)

    def load_state(
        self,
        tenants: Collection[str] | None = None,
        known: Mapping[ResourceKey, DesiredResource] | None = None,
    ) -> RecordedState:
        with self._reading() as connection:
            if connection is None:
                return _EMPTY
            if tenants is None and not self._is_read_only:
                # Too much to have for longer than it is asked for.
                return load_state(connection, tenants, known or {})
            # It moves with every transaction of somebody else; what we write ourselves drops it.
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            asked = (version, None if tenants is None else frozenset(tenants))
            if self._loaded is None or self._loaded[0] != asked:
                self._loaded = (asked, load_state(connection, tenants, known or {}))
            return self._loaded[1]

    def read_resources(
        self,
        kind: Kind,
        tenants: Collection[str] | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 100,
    ) -> Sequence[RecordedResource]:
        with self._reading() as connection:
            if connection is None:
                return []
            return select_resources(connection, kind, tenants, after, limit)

    def read_releases(
        self,
        tenants: Collection[str] | None = None,
        after: tuple[str, str, int] | None = None,
        limit: int = 100,
        instance: str | None = None,
    ) -> Sequence[Release]:
        with self._reading() as connection:
            if connection is None:
                return []
            return select_releases(connection, tenants, after, limit, instance)

    def record(self, batch: RecordBatch, fence: Fence) -> None:
        # Told while nobody else may write, so that everybody hears of events in their order.
        with self._lock:
            with self._writing() as connection:
                leases.check_fence(connection, fence)
                events = write_batch(connection, batch)
                if not self._is_trimmed:
                    self._is_trimmed = True
                    for statement in _TRIM:
                        connection.execute(statement)
            self._tell(events)

    def give_order(self, order: Order, event: Event, audit: AuditEntry) -> None:
        with self._lock:
            with self._writing() as connection:
                write_order(connection, order)
                history = RecordBatch(events=(event,), audit=(audit,))
                events = write_history(connection, history)
            self._tell(events)

    def add_events(self, events: Sequence[Event]) -> None:
        if not events:
            return
        with self._lock:
            with self._writing() as connection:
                logged = write_history(connection, RecordBatch(events=tuple(events)))
            self._tell(logged)

    def write_audit(self, entry: AuditEntry) -> None:
        with self._lock, self._writing() as connection:
            write_history(connection, RecordBatch(audit=(entry,)))

    def read_orders(self) -> Mapping[ResourceKey, Order]:
        with self._reading() as connection:
            return {} if connection is None else load_orders(connection)

    def read_blob(self, digest: str) -> bytes | None:
        rows = self._select("SELECT content FROM blobs WHERE digest = ?", (digest,))
        return rows[0][0] if rows else None

    def read_events(
        self, where: EventFilter | None = None, page: Page | None = None
    ) -> Sequence[LoggedEvent]:
        from ctrlplane_gitops.store.history import select_events

        with self._reading() as connection:
            return [] if connection is None else select_events(connection, where, page)

    def read_events_after(
        self, number: int, limit: int = 100, where: EventFilter | None = None
    ) -> Sequence[LoggedEvent]:
        from ctrlplane_gitops.state.log import Page

        return self.read_events(where, Page(limit, after=number, is_oldest_first=True))

    def last_event(self) -> int:
        from ctrlplane_gitops.store.history import last_event

        with self._reading() as connection:
            return 0 if connection is None else last_event(connection)

    def watch_events(self, watch: Watch) -> Callable[[], None]:
        return self._find_watchers().add(watch)

    def read_audit(
        self, where: AuditFilter | None = None, page: Page | None = None
    ) -> Sequence[LoggedEntry]:
        from ctrlplane_gitops.store.history import select_audit

        with self._reading() as connection:
            return [] if connection is None else select_audit(connection, where, page)

    def read_open_intents(self) -> Sequence[Intent]:
        rows = self._select("SELECT id, at, address, action FROM open_intents ORDER BY at, id", ())
        return [Intent(id, decode_time(at), address, action) for id, at, address, action in rows]

    def acquire(self, lease: str, holder: str, ttl: timedelta, now: datetime) -> Fence | None:
        with self._writing() as connection:
            return leases.acquire(connection, lease, holder, ttl, now)

    def refresh(self, fence: Fence, ttl: timedelta, now: datetime) -> bool:
        with self._writing() as connection:
            return leases.refresh(connection, fence, ttl, now)

    def release(self, fence: Fence) -> None:
        with self._writing() as connection:
            leases.release(connection, fence)

    def break_lease(self, lease: str, number: int) -> bool:
        with self._writing() as connection:
            return leases.break_lease(connection, lease, number)

    def read_lease(self, lease: str) -> LeaseInfo | None:
        with self._reading() as connection:
            return None if connection is None else leases.read(connection, lease)

    def close(self) -> None:
        """Twice is once."""
        self.deliveries.close()
        with self._lock:
            if self._outbox is not None:
                self._outbox.close()
        with self._lock, translating(self._path):
            connection, self._connection = self._connection, None
            self._is_closed = True
            if connection is not None:
                connection.close()

    def _find_watchers(self) -> Watchers:
        from ctrlplane_gitops.store.watcher import Watchers

        with self._lock:
            self._watchers = self._watchers or Watchers()
            return self._watchers

    def _log(self, write: Callable[[sqlite3.Connection], Sequence[LoggedEvent]]) -> None:
        """A transaction that writes events. They are told while nobody else may write, so that
        everybody hears of events in their order."""
        with self._lock:
            with self._writing() as connection:
                events = write(connection)
            self._tell(events)

    def _tell(self, events: Sequence[LoggedEvent]) -> None:
        if self._watchers is not None:
            self._watchers.tell(events)

    def _select(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._reading() as connection:
            return [] if connection is None else connection.execute(statement, values).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        with self._lock, translating(self._path):
            self._check_open()
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self._lock:
            self._check_open()
            connection = self._connection
            if connection is None or self._is_read_only:
                raise StoreError(f"the store {self._path} is open for reading only")
            self._loaded = None
            with translating(self._path), writing_to(self._path, connection):
                yield connection

    def _check_open(self) -> None:
        """An empty answer would mean that everything is to be adopted."""
        if self._is_closed:
            raise StoreError(f"the store {self._path} is closed")


# What is kept even where nobody clears away by age: the newest 100,000 events, the newest 1,000
# closed intents, and the contents that a kept release uses. Of events, which a `serve` may have
# gathered for weeks, not all at once: whoever opens the store is in a hurry.
_TRIM = (
    "DELETE FROM events WHERE number <= "
    "(SELECT min(max(number) - 100000, min(number) + 1999) FROM events)",
    "DELETE FROM closed_intents WHERE number <= (SELECT max(number) - 1000 FROM closed_intents)",
    "DELETE FROM blobs WHERE digest NOT IN "
    "(SELECT json_extract(file.value, '$[1]') "
    "FROM releases, json_each(releases.template, '$.files') AS file)",
)
