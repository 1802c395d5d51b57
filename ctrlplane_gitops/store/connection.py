"""Opening a SQLite file the way a store needs it, and its errors in our words."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctrlplane_gitops.errors import StoreError

# The number of migrations; kept as PRAGMA user_version, so that an up-to-date file is recognised
# without importing sqlite-utils.
SCHEMA_VERSION = 5
_BUSY_MS = 10_000
# Of 4 KiB; SQLite's own is a thousand.
_MOST_LOG_PAGES = 10_000
_SMALL_BYTES = 64 * 1024 * 1024
# By the file: whose turn it is to write, among the threads of this process.
_turns: dict[Path, threading.Lock] = {}


def open_for_reading(path: Path) -> sqlite3.Connection | None:
    """A connection that writes nothing; None when there is nothing to read (no file, an empty
    one, or one without tables)."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _cannot_open(path, error.strerror or "error") from None
    if stat.S_ISDIR(status.st_mode):
        raise _cannot_open(path, os.strerror(errno.EISDIR))
    if status.st_size == 0 and not _has_journal(path):
        return None
    with translating(path):
        connection = _connect_read_only(path)
        try:
            version = check_version(connection, path)
        except BaseException:
            connection.close()
            raise
    if version == 0:
        connection.close()
        return None
    return connection


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """Read only. Not with ``mode=ro``, which leaves the -wal and -shm files behind that reading
    needs; in a folder that cannot be written, SQLite needs to be told that nobody writes."""
    where = path.absolute().as_uri()
    connection = _connect(f"{where}?mode=rw")
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA schema_version").fetchone()
        return connection
    except sqlite3.OperationalError:
        connection.close()
        if os.access(path.parent, os.W_OK) or not os.access(path, os.R_OK):
            raise
        return _connect(f"{where}?mode=ro&immutable=1")


def open_for_writing(path: Path) -> sqlite3.Connection:
    """A connection to an up-to-date file, which is created (0600, its folder 0700) if missing."""
    try:
        _create_file(path)
    except OSError as error:
        raise _cannot_open(path, error.strerror or "error") from None
    with translating(path), _creation_lock(path):
        connection = _connect(path.absolute().as_uri())
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = FULL")
            if check_version(connection, path) < SCHEMA_VERSION:
                _migrate(connection)
            elif path.stat().st_size <= _SMALL_BYTES:
                _check_integrity(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def open_beside(path: Path) -> sqlite3.Connection:
    """Another connection to a file that this process has open for writing, and has looked over:
    for who must not wait while that one reads. It leaves it to others to bring what is in the log
    into the file, unless nobody does."""
    connection = _connect(f"{path.absolute().as_uri()}?mode=rw")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_MOST_LOG_PAGES}")
    return connection


@contextmanager
def writing_to(path: Path, connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction that holds the write lock from its beginning; StoreError (retryable) where
    that is not to be had in ten seconds.

    Among threads a turn is handed on at once. SQLite itself tells nobody that a file is free: who
    finds it taken sleeps 1, 2, 5, 10, 15 ms and so on before looking again (measured: 18 to 35 ms
    for a webhook that meets a transaction of ten)."""
    turn = _turns.setdefault(path.absolute(), threading.Lock())
    if not turn.acquire(timeout=_BUSY_MS / 1000):
        raise sqlite3.OperationalError("database is locked")
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            # On a full disk SQLite has already rolled back by itself.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    finally:
        turn.release()


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(
        uri, uri=True, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False
    )


def _migrate(connection: sqlite3.Connection) -> None:
    from ctrlplane_gitops.store.migrations import migrate

    version = migrate(connection)
    if connection.in_transaction:
        connection.commit()
    connection.execute(f"PRAGMA user_version = {version}")


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema's version; StoreError when a newer program wrote it."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"the store {path} was written by a newer version of this program",
            hint="upgrade ctrlplane-gitops",
        )
    return version


def _check_integrity(connection: sqlite3.Connection) -> None:
    answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if answer != "ok":
        raise sqlite3.DatabaseError(str(answer))


def _has_journal(path: Path) -> bool:
    return path.with_name(f"{path.name}-wal").exists()


def _create_file(path: Path) -> None:
    """Created by us before SQLite does, so that it is never readable by others; -wal and -shm
    take their mode from it. A file that exists is not opened: closing it would drop the locks
    that another connection of this process holds on it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None


@contextmanager
def _creation_lock(path: Path) -> Iterator[None]:
    """Two programs that open a new store at once must not both create its tables."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_open(path, error.strerror or "error") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        is_busy = "locked" in text or "busy" in text
        raise StoreError(
            f"the store {path} cannot be used: {text}",
            hint="another program holds it; try again" if is_busy else None,
            is_retryable=is_busy,
        ) from None
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"the store {path} is damaged: {error}",
            hint="move the file away and apply again: what runs is adopted by its labels, only "
            "history and pins are lost",
        ) from None
    except sqlite3.Error as error:
        raise StoreError(f"the store {path} cannot be used: {error}") from None


def _cannot_open(path: Path, reason: str) -> StoreError:
    return StoreError(
        f"the store {path} cannot be opened: {reason.lower()}",
        hint="choose another place with spec.store or CTRLPLANE_STORE",
    )
