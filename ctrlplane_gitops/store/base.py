"""The store's protocol. Only this package writes it; every write carries the fence of a lease."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

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
from ctrlplane_gitops.store.delivery import Deliveries
from ctrlplane_gitops.value import struct

if TYPE_CHECKING:  # who only looks at the state reads no history
    from ctrlplane_gitops.state.log import (
        AuditFilter,
        EventFilter,
        LoggedEntry,
        LoggedEvent,
        Page,
    )
    from ctrlplane_gitops.store.health import HealthStore
    from ctrlplane_gitops.store.outbox import Outbox
    from ctrlplane_gitops.store.retained import Retained
    from ctrlplane_gitops.store.watcher import Watch


@struct
class Fence:
    """Proof of a lease. ``number`` grows with every acquisition; a write with an older number than
    the lease's current one is refused with ``LockError``."""

    lease: str
    holder: str
    number: int


@struct
class LeaseInfo:
    lease: str
    holder: str
    number: int
    expires_at: datetime


class Store(Protocol):
    """All methods raise ``StoreError`` when the store cannot be read or written."""

    @property
    def deliveries(self) -> Deliveries: ...

    @property
    def outbox(self) -> Outbox: ...

    @property
    def retained(self) -> Retained:
        """What is cleared away by age."""
        ...

    @property
    def health(self) -> HealthStore:
        """How instances are and were. Written without a fence."""
        ...

    def load_state(
        self,
        tenants: Collection[str] | None = None,
        known: Mapping[ResourceKey, DesiredResource] | None = None,
    ) -> RecordedState:
        """Everything recorded, as of one moment; or what belongs to these tenants, and what
        belongs to none. ``known`` changes nothing of it: what is equal (by its fingerprint) may
        share its parts, so that it need not be read, nor be there twice."""
        ...

    def read_resources(
        self,
        kind: Kind,
        tenants: Collection[str] | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 100,
    ) -> Sequence[RecordedResource]:
        """What is recorded of a kind, of these tenants (None: of all), sorted by tenant and name:
        at most ``limit`` that come after the place ``after``. Cheap however much there is."""
        ...

    def read_releases(
        self,
        tenants: Collection[str] | None = None,
        after: tuple[str, str, int] | None = None,
        limit: int = 100,
        instance: str | None = None,
    ) -> Sequence[Release]:
        """The same of releases (of the instances of this name), sorted by tenant, instance and
        number, each instance's newest first. A place is (tenant, instance, number)."""
        ...

    def record(self, batch: RecordBatch, fence: Fence) -> None:
        """Write the batch in one transaction; LockError when the fence is not current."""
        ...

    def give_order(self, order: Order, event: Event, audit: AuditEntry) -> None:
        """Put an order in the place of the one there is for the instance, with its event and audit
        entry, in one transaction. Without a fence: it is for whoever holds the lease."""
        ...

    def add_events(self, events: Sequence[Event]) -> None:
        """Write down what happened, in one transaction. Without a fence: it changes nothing that
        runs. No events are no write."""
        ...

    def write_audit(self, entry: AuditEntry) -> None:
        """Who did what that changes nothing of the record. Without a fence."""
        ...

    def read_orders(self) -> Mapping[ResourceKey, Order]:
        """The orders as they are now, cheaply: a rollout under way asks again and again."""
        ...

    def read_blob(self, digest: str) -> bytes | None: ...

    def read_events(
        self, where: EventFilter | None = None, page: Page | None = None
    ) -> Sequence[LoggedEvent]:
        """Events in the order they were written or the other way round; the newest hundred if
        nothing else is asked for."""
        ...

    def read_events_after(
        self, number: int, limit: int = 100, where: EventFilter | None = None
    ) -> Sequence[LoggedEvent]:
        """What was written after the event of this number, oldest first, for who follows the log:
        cheap where there is nothing new. A follower begins at ``last_event``."""
        ...

    def last_event(self) -> int:
        """The number of the newest event, 0 before the first."""
        ...

    def watch_events(self, watch: Watch) -> Callable[[], None]:
        """Tell of events once they are written through this very object, in their order, until
        what is returned is called. The writer waits meanwhile: put them aside, or wake somebody.
        What others write into the same store is not told of."""
        ...

    def read_audit(
        self, where: AuditFilter | None = None, page: Page | None = None
    ) -> Sequence[LoggedEntry]:
        """The audit, in the same way."""
        ...

    def read_open_intents(self) -> Sequence[Intent]: ...

    def acquire(self, lease: str, holder: str, ttl: timedelta, now: datetime) -> Fence | None:
        """The lease if it is free, expired or already the holder's; None if another has it."""
        ...

    def refresh(self, fence: Fence, ttl: timedelta, now: datetime) -> bool:
        """False when the lease is no longer ours."""
        ...

    def release(self, fence: Fence) -> None:
        """Give the lease up; nothing happens when it is no longer ours. The number is kept, so the
        next acquisition still gets a higher one."""
        ...

    def break_lease(self, lease: str, number: int) -> bool:
        """Expire the lease if its number is still ``number`` (its holder is known to be dead)."""
        ...

    def read_lease(self, lease: str) -> LeaseInfo | None: ...

    def close(self) -> None: ...
