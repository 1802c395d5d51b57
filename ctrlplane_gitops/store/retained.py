"""What is kept for a while: the parts of a store that are cleared away from time to time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

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

    def drop_unused(self, fence: Fence) -> int:
        """Remove some that no recorded release uses, in one short transaction; how many, 0 when
        none is left. Under the lease: nobody else may be writing down a release that uses them.
        LockError when the fence is not current."""
        ...


@struct
class Retained:
    """The parts that have an age, and contents, which have users instead. ``intents`` are those
    that were closed: an open one is for the next apply."""

    events: Prunable
    audit: Prunable
    intents: Prunable
    contents: Contents


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

    def drop_unused(self, fence: Fence) -> int:
        """What is unused is found before the write lock is taken: it means reading every
        release."""
        with self._reading() as connection:
            rows = connection.execute(_FIND_UNUSED).fetchall() if connection else []
        if not rows:
            return 0
        with self._writing() as connection:
            check_fence(connection, fence)
            connection.executemany("DELETE FROM blobs WHERE digest = ?", rows)
        return len(rows)


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
    )
