"""The log of events and the audit as they are read: rows with their numbers, filters and pages."""

from __future__ import annotations

from datetime import datetime

from ctrlplane_gitops.state.key import Kind
from ctrlplane_gitops.state.recorded import AuditEntry, Event
from ctrlplane_gitops.value import field, struct


@struct
class LoggedEvent:
    """``number`` grows with every event that is written, and is what a reader goes on from."""

    number: int
    event: Event


@struct
class LoggedEntry:
    """The same for an entry of the audit."""

    number: int
    entry: AuditEntry


@struct
class LogFilter:
    """What both logs can be asked for; "" and None say nothing. ``address`` matches itself,
    ``below`` every address that begins with it (``instance/acme/``); ``tenant`` is the tenant of
    the address, so it leaves out what belongs to none. ``since`` is included, ``until`` is not."""

    tenant: str = ""
    kind: str = ""
    address: str | None = None
    below: str = ""
    since: datetime | None = None
    until: datetime | None = None


@struct
class EventFilter:
    """``type_prefix`` is how the type begins: ``rollout.``."""

    log: LogFilter = field(default_factory=LogFilter)
    type_prefix: str = ""


@struct
class AuditFilter:
    """``actor``, ``action`` and ``commit`` match themselves; ``outcome`` is how the outcome
    begins."""

    log: LogFilter = field(default_factory=LogFilter)
    actor: str = ""
    action: str = ""
    outcome: str = ""
    commit: str = ""


@struct
class Page:
    """The newest ``limit`` rows, newest first, or the oldest, oldest first; of those with a number
    between ``after`` and ``before`` (neither included). The next page goes on from the number of
    the last row, whatever is written meanwhile."""

    limit: int = 100
    before: int | None = None
    after: int | None = None
    is_oldest_first: bool = False


def tenant_of(address: str) -> str:
    """The tenant an address belongs to, "" for none.

    >>> tenant_of("instance/acme/web"), tenant_of("tenant/acme"), tenant_of("controlplane/prod")
    ('acme', 'acme', '')
    """
    kind, _, rest = address.partition("/")
    return "" if kind == Kind.CONTROL_PLANE else rest.partition("/")[0]


def is_event_asked(where: EventFilter, event: Event) -> bool:
    return event.type.startswith(where.type_prefix) and _is_asked(
        where.log, event.address, event.at
    )


def is_entry_asked(where: AuditFilter, entry: AuditEntry) -> bool:
    return (
        where.actor in ("", entry.actor)
        and where.action in ("", entry.action)
        and where.commit in ("", entry.commit)
        and entry.outcome.startswith(where.outcome)
        and _is_asked(where.log, entry.address, entry.at)
    )


def _is_asked(where: LogFilter, address: str, at: datetime) -> bool:
    return (
        where.address in (None, address)
        and address.startswith(where.below)
        and where.kind in ("", address.partition("/")[0])
        and where.tenant in ("", tenant_of(address))
        and (where.since is None or at >= where.since)
        and (where.until is None or at < where.until)
    )
