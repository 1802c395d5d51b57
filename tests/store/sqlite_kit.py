"""Stores in files, and other processes that use them."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ctrlplane_gitops.state.recorded import RecordBatch, RecordedState
from ctrlplane_gitops.store.base import Fence
from ctrlplane_gitops.store.conformance_kit import NOW, TTL
from ctrlplane_gitops.store.sqlite import SqliteStore

_NOBODY = 65534


def fence_of(store: SqliteStore, holder: str = "us") -> Fence:
    fence = store.acquire("apply", holder, TTL, NOW)
    assert fence is not None
    return fence


def make_store(path: Path, batch: RecordBatch | None = None) -> None:
    """A closed store with this in it."""
    store = SqliteStore(path)
    store.record(batch or RecordBatch(plane_id="pla_1"), fence_of(store))
    store.close()


def read_state(path: Path) -> RecordedState:
    store = SqliteStore(path, is_read_only=True)
    try:
        return store.load_state()
    finally:
        store.close()


def listing(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Everything in a folder: contents and time of change by name."""
    return {
        item.name: (item.read_bytes(), item.stat().st_mtime_ns) for item in sorted(folder.iterdir())
    }


@contextmanager
def folder_of_anybody() -> Iterator[Path]:
    """A folder that any user can reach, unlike those of pytest."""
    path = Path(tempfile.mkdtemp(prefix="ctrlplane-store-"))
    try:
        path.chmod(0o755)
        yield path
    finally:
        shutil.rmtree(path)


def fork(call: Callable[[], object]) -> int:
    """The id of a child that calls this and exits 0, or 1 after an exception."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            call()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def end_of(child: int) -> int:
    """Its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_child(call: Callable[[], str]) -> str:
    """What the call answers in a child of its own."""
    reader, writer = os.pipe()
    child = fork(lambda: os.write(writer, call().encode()))
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read().decode()
    assert end_of(child) == 0
    return text


def as_plain_user(call: Callable[[], str]) -> str:
    """The same in a child that is not root: root may do anything anywhere."""

    def drop() -> str:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        return call()

    return in_child(drop)
