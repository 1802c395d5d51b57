"""A connection to a store's file beside the one that its state is read through."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.store.connection import (
    open_beside,
    open_for_reading,
    translating,
    writing_to,
)


class Beside:
    """Opened when it is first needed. ``table`` is one that an older file may not have yet: then
    there is nothing to read. Safe to use from several threads; ``lock`` keeps the others away."""

    def __init__(self, path: Path, table: str, *, is_read_only: bool) -> None:
        self._path = path
        self._table = table
        self._is_read_only = is_read_only
        self.lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """None where there is nothing to read."""
        with self.lock, translating(self._path):
            connection = self._open()
            known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
            if connection is not None and not connection.execute(known, (self._table,)).fetchone():
                connection = None
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self.lock, translating(self._path):
            connection = self._open()
            if connection is None or self._is_read_only:
                raise StoreError(f"the store {self._path} is open for reading only")
            with writing_to(self._path, connection):
                yield connection

    def close(self) -> None:
        """Twice is once."""
        with self.lock, translating(self._path):
            connection, self._connection = self._connection, None
            self._is_closed = True
            if connection is not None:
                connection.close()

    def _open(self) -> sqlite3.Connection | None:
        if self._is_closed:
            raise StoreError(f"the store {self._path} is closed")
        if self._connection is None:
            opener = open_for_reading if self._is_read_only else open_beside
            self._connection = opener(self._path)
        return self._connection
