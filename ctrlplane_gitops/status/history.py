"""Pages of the log of events and of the audit, for those who may see some tenants alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.state.log import (
    AuditFilter,
    EventFilter,
    LogFilter,
    LoggedEntry,
    LoggedEvent,
    tenant_of,
)
from ctrlplane_gitops.state.log import Page as LogPage
from ctrlplane_gitops.status.paging import Listing, Page, parse_number
from ctrlplane_gitops.status.row import AuditRow, EventRow, Share
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import struct

_Row = TypeVar("_Row", LoggedEvent, LoggedEntry)


@struct
class LogWhere:
    """What a log is narrowed to; "" and None say nothing. ``scope`` None: every tenant may be seen,
    and what belongs to none. ``type`` is how a type begins. ``since`` is included, ``until`` is
    not."""

    scope: frozenset[str] | None = None
    tenant: str = ""
    type: str = ""
    kind: str = ""
    address: str = ""
    actor: str = ""
    action: str = ""
    outcome: str = ""
    commit: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def filters(self) -> tuple[LogFilter, ...]:
        """One for each tenant that is asked for and may be seen; one for all where that is
        everybody. None at all where nothing may be seen."""
        if self.scope is None:
            return (self._filter(self.tenant),)
        names = self.scope if not self.tenant else self.scope & {self.tenant}
        return tuple(self._filter(name) for name in sorted(names))

    def _filter(self, tenant: str) -> LogFilter:
        return LogFilter(
            tenant, self.kind, self.address or None, since=self.since, until=self.until
        )


def list_events(store: Store, where: LogWhere, page: Page) -> Listing[EventRow]:
    """The newest first."""

    def read(log: LogFilter, asked: LogPage) -> Sequence[LoggedEvent]:
        return store.read_events(EventFilter(log, where.type), asked)

    return _list(read, where, page).map(event_row)


def list_audit(store: Store, where: LogWhere, page: Page) -> Listing[AuditRow]:
    """The newest first."""

    def read(log: LogFilter, asked: LogPage) -> Sequence[LoggedEntry]:
        return store.read_audit(
            AuditFilter(log, where.actor, where.action, where.outcome, where.commit), asked
        )

    return _list(read, where, page).map(audit_row)


def read_events_after(
    store: Store, where: LogWhere, number: int, limit: int = 100
) -> tuple[EventRow, ...]:
    """What was written after the event of this number, oldest first."""
    found = [
        item
        for log in where.filters()
        for item in store.read_events_after(number, limit, EventFilter(log, where.type))
    ]
    found.sort(key=lambda item: item.number)
    return tuple(event_row(item) for item in found[:limit])


def read_shift(store: Store, address: str, after: datetime | None) -> tuple[Share, ...] | None:
    """How the requests of an instance were shared out last, where that was after a look at the
    router; None where it was not."""
    log = LogFilter(address=address, since=after)
    found = store.read_events(EventFilter(log, EventType.TRAFFIC_SHIFTED), LogPage(1))
    if not found:
        return None
    shares = found[0].event.data.items()
    return tuple(
        Share(int(release.removeprefix("v")), int(percent))
        for release, percent in shares
        if release.startswith("v") and release[1:].isdecimal() and percent.isdecimal()
    )


def _list(
    read: Callable[[LogFilter, LogPage], Sequence[_Row]], where: LogWhere, page: Page
) -> Listing[_Row]:
    asked = LogPage(limit=page.limit + 1, before=parse_number(page.cursor))
    found = [item for log in where.filters() for item in read(log, asked)]
    found.sort(key=lambda item: -item.number)
    items = tuple(found[: page.limit])
    return Listing(items, str(items[-1].number) if len(found) > page.limit else None)


def event_row(item: LoggedEvent) -> EventRow:
    event = item.event
    return EventRow(
        item.number,
        event.id,
        event.at,
        event.type,
        event.address,
        tenant_of(event.address),
        event.message,
        dict(event.data),
    )


def audit_row(item: LoggedEntry) -> AuditRow:
    entry = item.entry
    return AuditRow(
        item.number,
        entry.id,
        entry.at,
        entry.actor,
        entry.action,
        entry.address,
        tenant_of(entry.address),
        entry.commit,
        entry.outcome,
    )
