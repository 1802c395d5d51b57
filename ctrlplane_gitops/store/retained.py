"""What is kept for a while: the parts of a store that are cleared away from time to time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key
from ctrlplane_gitops.store.base import Fence
from ctrlplane_gitops.store.codec import encode_time
from ctrlplane_gitops.store.lease import check_fence
from ctrlplane_gitops.value import struct

Opened = Callable[[], AbstractContextManager[sqlite3.Connection | None]]
Begun = Callable[[], AbstractContextManager[sqlite3.Connection]]

# Measured on two cores with synchronous=FULL: five hundred rows are gone within 5 ms, contents of
# files are larger.
BATCH = 500
_BLOBS = 50


class Prunable(Protocol):
    """What grows until somebody clears it away. Needs no lease."""

    def prune(self, before: datetime) -> int:
        """Remove some of what is older, in one short transaction; how many. Called again and
        again until nothing is left (0). The newest stays, however old: the next one is numbered
        after it."""
        ...


class Contents(Protocol):
    """Contents of files, kept for the releases that use them."""

    def has_unused(self) -> bool: ...

    def drop_unused(self, fence: Fence) -> int:
        """Remove some that no recorded release uses, in one short transaction; how many, 0 when
        none is left. Under the lease: nobody else may be writing down a release that uses them.
        LockError when the fence is not current."""
        ...


class Tally(Protocol):
    """What is recorded, counted without reading it: mostly there is nothing to clear away."""

    def count_releases(self) -> Mapping[ResourceKey, int]:
        """How many there are of each instance."""
        ...

    def find_unlisted(self) -> Sequence[ResourceKey]:
        """Instances with a record, releases or an order, and no resource; sorted."""
        ...


@struct
class Retained:
    """The parts that have an age, and contents, which have users instead. ``intents`` are those
    that were closed: an open one is for the next apply."""

    events: Prunable
    audit: Prunable
    intents: Prunable
    contents: Contents
    tally: Tally


class SqliteRows:
    """A table with a rising ``number``; ``column`` has the time that counts."""

    def __init__(self, reading: Opened, writing: Begun, table: str, column: str = "at") -> None:
        self._reading, self._writing = reading, writing
        # The oldest come first but for what a clock was wrong about, so looking at those is enough.
        self._find = (
            f"SELECT min(number), max(number) FROM (SELECT number, {column} FROM {table} "
            f"WHERE number < (SELECT max(number) FROM {table}) "
            f"ORDER BY number LIMIT {BATCH}) WHERE {column} < ?"
        )
        self._delete = f"DELETE FROM {table} WHERE number BETWEEN ? AND ? AND {column} < ?"

    def prune(self, before: datetime) -> int:
        at = encode_time(before)
        with self._reading() as connection:
            found = connection.execute(self._find, (at,)).fetchone() if connection else (None,)
        if found[0] is None:
            return 0
        with self._writing() as connection:
            return connection.execute(self._delete, (*found, at)).rowcount


class SqliteContents:
    def __init__(self, reading: Opened, writing: Begun) -> None:
        self._reading, self._writing = reading, writing

    def has_unused(self) -> bool:
        return bool(self._find())

    def _find(self) -> list[tuple[str]]:
        with self._reading() as connection:
            return connection.execute(_FIND_UNUSED).fetchall() if connection else []

    def drop_unused(self, fence: Fence) -> int:
        """What is unused is found before the write lock is taken: it means reading every
        release."""
        rows = self._find()
        if not rows:
            return 0
        with self._writing() as connection:
            check_fence(connection, fence)
            connection.executemany("DELETE FROM blobs WHERE digest = ?", rows)
        return len(rows)


class SqliteTally:
    def __init__(self, reading: Opened) -> None:
        self._reading = reading

    def count_releases(self) -> Mapping[ResourceKey, int]:
        return {
            instance_key(tenant, name): count
            for tenant, name, count in self._select(
                "SELECT tenant, name, count(*) FROM releases GROUP BY tenant, name"
            )
        }

    def find_unlisted(self) -> Sequence[ResourceKey]:
        return [instance_key(tenant, name) for tenant, name in self._select(_FIND_UNLISTED)]

    def _select(self, query: str) -> list[tuple[Any, ...]]:
        with self._reading() as connection:
            return connection.execute(query).fetchall() if connection else []


_FIND_UNLISTED = (
    "SELECT tenant, name FROM (SELECT tenant, name FROM instances UNION SELECT tenant, name FROM "
    "releases UNION SELECT tenant, name FROM orders) AS known WHERE NOT EXISTS (SELECT 1 FROM "
    f"resources WHERE kind = '{Kind.INSTANCE}' AND resources.tenant = known.tenant "
    "AND resources.name = known.name) ORDER BY tenant, name"
)
_FIND_UNUSED = (
    "SELECT digest FROM blobs WHERE digest NOT IN "
    "(SELECT json_extract(file.value, '$[1]') "
    f"FROM releases, json_each(releases.template, '$.files') AS file) LIMIT {_BLOBS}"
)


def build_retained(reading: Opened, writing: Begun) -> Retained:
    """``reading`` gives the connection (None: an empty store), ``writing`` one transaction."""
    return Retained(
        SqliteRows(reading, writing, "events"),
        SqliteRows(reading, writing, "audit"),
        SqliteRows(reading, writing, "closed_intents", "closed_at"),
        SqliteContents(reading, writing),
        SqliteTally(reading),
    )
