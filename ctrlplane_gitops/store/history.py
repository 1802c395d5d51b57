"""Events and the audit in SQLite: a log each, whose rows are numbered as they are written.

There is no index beside the number: the logs are bounded, and one would have to be kept up to date
by every step of every rollout, in pages all over the file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from ctrlplane_gitops.state.key import Kind
from ctrlplane_gitops.state.log import (
    AuditFilter,
    EventFilter,
    LogFilter,
    LoggedEntry,
    LoggedEvent,
    Page,
)
from ctrlplane_gitops.state.recorded import AuditEntry, Event
from ctrlplane_gitops.store.bulk import pack_rows, rows_of
from ctrlplane_gitops.store.codec import decode_time, encode_json, encode_time

_KIND = "substr(address || '/', 1, instr(address || '/', '/') - 1)"
# After the kind comes the tenant, and then a slash with a name or the end.
_TENANT = (
    f"instr(address, '/') > 0 AND {_KIND} <> '{Kind.CONTROL_PLANE}' "
    "AND instr(substr(address, instr(address, '/') + 1) || '/', ?) = 1"
)
_Condition = tuple[str, Any]


_ROWS = rows_of("number", "id", "at", "type", "address", "message", "data")


def append_events(
    connection: sqlite3.Connection, events: Sequence[Event]
) -> tuple[LoggedEvent, ...]:
    """Write events inside the caller's transaction; they come back with their numbers."""
    last = last_event(connection)
    logged = tuple(LoggedEvent(last + place, item) for place, item in enumerate(events, 1))
    rows = [
        (number, item.id, encode_time(item.at), item.type, item.address, item.message,
         encode_json(dict(item.data)) if item.data else "")
        for number, item in ((row.number, row.event) for row in logged)
    ]  # fmt: skip
    connection.execute(f"INSERT INTO events {_ROWS}", (pack_rows(rows),))
    return logged


def last_event(connection: sqlite3.Connection) -> int:
    """The number of the newest event, 0 before the first."""
    found: int = connection.execute("SELECT coalesce(max(number), 0) FROM events").fetchone()[0]
    return found


def select_events(
    connection: sqlite3.Connection, where: EventFilter | None, page: Page | None
) -> list[LoggedEvent]:
    where = where or EventFilter()
    conditions = _conditions(where.log)
    if where.type_prefix:
        conditions.append(_begins("type", where.type_prefix))
    rows = _select(connection, "id, at, type, address, message, data FROM events", conditions, page)
    return [
        LoggedEvent(
            number,
            Event(id, decode_time(at), type, address, text, json.loads(data) if data else {}),
        )
        for number, id, at, type, address, text, data in rows
    ]


def select_audit(
    connection: sqlite3.Connection, where: AuditFilter | None, page: Page | None
) -> list[LoggedEntry]:
    where = where or AuditFilter()
    conditions = _conditions(where.log)
    columns = {"actor": where.actor, "action": where.action, "commit_id": where.commit}
    conditions += [(f"{column} = ?", value) for column, value in columns.items() if value]
    if where.outcome:
        conditions.append(_begins("outcome", where.outcome))
    fields = "id, at, actor, action, address, commit_id, outcome FROM audit"
    return [
        LoggedEntry(row[0], AuditEntry(row[1], decode_time(row[2]), *row[3:]))
        for row in _select(connection, fields, conditions, page)
    ]


def _select(
    connection: sqlite3.Connection, columns: str, conditions: list[_Condition], page: Page | None
) -> list[tuple[Any, ...]]:
    page = page or Page()
    if page.after is not None:
        conditions.append(("number > ?", page.after))
    if page.before is not None:
        conditions.append(("number < ?", page.before))
    where = " AND ".join(text for text, _ in conditions) or "TRUE"
    order = "ASC" if page.is_oldest_first else "DESC"
    return connection.execute(
        f"SELECT number, {columns} WHERE {where} ORDER BY number {order} LIMIT ?",
        [*(value for _, value in conditions), max(page.limit, 0)],
    ).fetchall()


def _conditions(where: LogFilter) -> list[_Condition]:
    found: list[_Condition] = []
    if where.address is not None:
        found.append(("address = ?", where.address))
    if where.below:
        found.append(_begins("address", where.below))
    if where.kind:
        found.append((f"{_KIND} = ?", where.kind))
    if where.tenant:
        found.append((_TENANT, f"{where.tenant}/"))
    if where.since is not None:
        found.append(("at >= ?", encode_time(where.since)))
    if where.until is not None:
        found.append(("at < ?", encode_time(where.until)))
    return found


def _begins(column: str, text: str) -> _Condition:
    return f"instr({column}, ?) = 1", text
