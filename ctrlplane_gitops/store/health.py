"""The store's part about health: what holds now, what held before, and since when nobody looked.

A verdict is one row for as long as it holds, so what stays as it is costs nothing: all that is
written again and again is when somebody last looked, one row for everybody. What was held when
the looking ended is known up to then and no further.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from ctrlplane_gitops.state.health import WHOLE, Health, HealthSpan, Subject
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.log import LoggedEvent
from ctrlplane_gitops.state.recorded import Event, RecordBatch
from ctrlplane_gitops.store.bulk import pack_rows, rows_of
from ctrlplane_gitops.store.codec import decode_time, encode_time
from ctrlplane_gitops.store.retained import BATCH, Begun, Opened
from ctrlplane_gitops.store.rows import write_history
from ctrlplane_gitops.value import replace, struct


@struct
class HealthBatch:
    """What one transaction writes. ``seen_at`` is when somebody last looked. A span that begins
    ends the one before of its subject; ``ended`` are those after which nothing is known."""

    seen_at: datetime
    begun: tuple[HealthSpan, ...] = ()
    ended: tuple[Subject, ...] = ()
    events: tuple[Event, ...] = ()


class HealthStore(Protocol):
    """Spans come oldest first. Every method raises StoreError when the store does not answer."""

    def record(self, batch: HealthBatch) -> None:
        """Write the batch, all of it or none."""
        ...

    def resume(self) -> Mapping[ResourceKey, Health]:
        """Whoever looked before does so no more: what was held then ends when they last looked.
        The last verdict on each instance as a whole."""
        ...

    def read_seen_at(self) -> datetime | None:
        """When somebody last looked; what is held is known up to then. None: never."""
        ...

    def read_open(self) -> Sequence[HealthSpan]:
        """What is held now, of all instances and checks."""
        ...

    def read_spans(
        self, instances: Collection[ResourceKey], since: datetime
    ) -> Sequence[HealthSpan]:
        """What held of these at any time from then on."""
        ...

    def prune(self, before: datetime) -> int:
        """Forget some of what ended before then, in one short transaction; how much, 0 when
        nothing is left. Called again and again."""
        ...


class MemoryHealth:
    """In memory. ``add_events`` keeps events with all the others."""

    def __init__(self, add_events: Callable[[Sequence[Event]], None]) -> None:
        self._add_events = add_events
        self._lock = threading.Lock()
        self._spans: list[HealthSpan] = []
        self._seen_at: datetime | None = None

    def record(self, batch: HealthBatch) -> None:
        ended = dict.fromkeys(batch.ended, batch.seen_at)
        ended |= {item.subject: item.began_at for item in batch.begun}
        with self._lock:
            self._end(ended.get)
            self._spans += batch.begun
            self._seen_at = batch.seen_at
        self._add_events(batch.events)

    def resume(self) -> Mapping[ResourceKey, Health]:
        with self._lock:
            seen_at = self._seen_at
            if seen_at is not None:
                self._end(lambda subject: seen_at)
            return {item.instance: item.health for item in self._spans if item.check == WHOLE}

    def read_seen_at(self) -> datetime | None:
        with self._lock:
            return self._seen_at

    def read_open(self) -> Sequence[HealthSpan]:
        with self._lock:
            return [item for item in self._spans if item.ended_at is None]

    def read_spans(
        self, instances: Collection[ResourceKey], since: datetime
    ) -> Sequence[HealthSpan]:
        with self._lock:
            return [
                item
                for item in self._spans
                if item.instance in instances and (item.ended_at is None or item.ended_at > since)
            ]

    def prune(self, before: datetime) -> int:
        with self._lock:
            ended = [item for item in self._spans if item.ended_at is not None]
            old = [item for item in ended if item.ended_at and item.ended_at < before][:BATCH]
            self._spans = [item for item in self._spans if item not in old]
            return len(old)

    def _end(self, end_of: Callable[[Subject], datetime | None]) -> None:
        for place, item in enumerate(self._spans):
            if item.ended_at is None and (at := end_of(item.subject)) is not None:
                self._spans[place] = replace(item, ended_at=max(at, item.began_at))


class SqliteHealth:
    """In the store's file. ``reading`` gives a connection, None for a store that is not there;
    ``writing`` one within a transaction; ``log`` is a transaction that writes events."""

    def __init__(
        self,
        reading: Opened,
        writing: Begun,
        log: Callable[[Callable[[sqlite3.Connection], Sequence[LoggedEvent]]], None],
    ) -> None:
        self._reading = reading
        self._writing = writing
        self._log = log

    def record(self, batch: HealthBatch) -> None:
        # Made before anybody has to wait. A subject ends once.
        ends = [(subject, batch.seen_at) for subject in batch.ended]
        ends += [(item.subject, item.began_at) for item in batch.begun]
        times = {subject: encode_time(at) for subject, at in reversed(ends)}
        ended = pack_rows((at, *_place(subject)) for subject, at in times.items())
        self._log(partial(_write, batch, ended, pack_rows(map(_encode, batch.begun))))

    def resume(self) -> Mapping[ResourceKey, Health]:
        with self._writing() as connection:
            connection.execute(
                "UPDATE health_spans SET ended_at = "
                "max(began_at, (SELECT seen_at FROM health_looks)) WHERE ended_at IS NULL"
            )
            rows = connection.execute(
                "SELECT tenant, name, health FROM health_spans WHERE number IN "
                "(SELECT max(number) FROM health_spans WHERE check_name = '' GROUP BY tenant, name)"
            ).fetchall()
        return {ResourceKey(Kind.INSTANCE, *row[:2]): Health(row[2]) for row in rows}

    def read_seen_at(self) -> datetime | None:
        rows = self._select("SELECT seen_at FROM health_looks", ())
        return decode_time(rows[0][0]) if rows else None

    def read_open(self) -> Sequence[HealthSpan]:
        return self._read_spans("ended_at IS NULL", ())

    def read_spans(
        self, instances: Collection[ResourceKey], since: datetime
    ) -> Sequence[HealthSpan]:
        after = encode_time(since)
        if len(instances) == 1:
            (key,) = instances
            where = "tenant = ? AND name = ? AND (ended_at IS NULL OR ended_at > ?)"
            return self._read_spans(where, (key.tenant, key.name, after))
        asked = frozenset(instances)
        found = self._read_spans("ended_at IS NULL OR ended_at > ?", (after,)) if asked else ()
        return [item for item in found if item.instance in asked]

    def prune(self, before: datetime) -> int:
        with self._writing() as connection:
            return connection.execute(
                "DELETE FROM health_spans WHERE number IN (SELECT number FROM health_spans "
                f"WHERE ended_at < ? LIMIT {BATCH})",
                (encode_time(before),),
            ).rowcount

    def _read_spans(self, where: str, values: tuple[Any, ...]) -> list[HealthSpan]:
        rows = self._select(
            f"SELECT {_COLUMNS} FROM health_spans WHERE {where} ORDER BY number", values
        )
        return [_decode(row) for row in rows]

    def _select(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Nothing of a file that an older program wrote and nobody has opened for writing since."""
        with self._reading() as connection:
            if connection is None or not connection.execute(_HAS_HEALTH).fetchone():
                return []
            return connection.execute(statement, values).fetchall()


def _write(
    batch: HealthBatch, ended: str, begun: str, connection: sqlite3.Connection
) -> Sequence[LoggedEvent]:
    connection.execute(_END, (ended,))
    connection.execute(f"INSERT INTO health_spans ({_COLUMNS}) {_BEGUN}", (begun,))
    connection.execute(
        "INSERT INTO health_looks (id, seen_at) VALUES (1, ?1) "
        "ON CONFLICT (id) DO UPDATE SET seen_at = ?1",
        (encode_time(batch.seen_at),),
    )
    return write_history(connection, RecordBatch(events=batch.events))


_HAS_HEALTH = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'health_looks'"
_FIELDS = (
    *("tenant", "name", "check_name", "health", "began_at", "ended_at"),
    *("healthy", "replicas", "message"),
)
_COLUMNS = ", ".join(_FIELDS)
_BEGUN = rows_of(*_FIELDS)
_END = (
    "UPDATE health_spans SET ended_at = max(over.at, began_at) "
    f"FROM ({rows_of('at', 'of_tenant', 'of_name', 'of_check')}) AS over "
    "WHERE tenant = of_tenant AND name = of_name AND check_name = of_check AND ended_at IS NULL"
)


def _place(subject: Subject) -> tuple[str, str, str]:
    key, check = subject
    return key.tenant, key.name, check


def _encode(span: HealthSpan) -> tuple[Any, ...]:
    began_at = encode_time(span.began_at)
    figures = (span.healthy, span.replicas, span.message)
    return (*_place(span.subject), span.health.value, began_at, None, *figures)


def _decode(row: tuple[Any, ...]) -> HealthSpan:
    tenant, name, check, health, began_at, ended_at, *figures = row
    return HealthSpan(
        ResourceKey(Kind.INSTANCE, tenant, name),
        check,
        Health(health),
        decode_time(began_at),
        None if ended_at is None else decode_time(ended_at),
        *figures,
    )
