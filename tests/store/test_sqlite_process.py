"""A store and the processes that use it: kills, races, a full disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest

from ctrlplane_gitops.state.recorded import RecordBatch, RecordedResource
from ctrlplane_gitops.store.conformance_kit import (
    FULL_INSTANCE,
    FULL_RELEASE,
    FULL_RESOURCE,
    NOW,
    TTL,
    WEB,
)
from ctrlplane_gitops.store.sqlite import SqliteStore
from tests.store.sqlite_kit import end_of, fence_of, fork, make_store, read_state


def write_for_ever(path: Path, said: int) -> None:
    """Batches whose every record has the batch's number; each is said when it is on disk."""
    store = SqliteStore(path)
    fence = fence_of(store, "writer")
    number = 0
    while True:
        number += 1
        store.record(
            RecordBatch(
                plane_id=str(number),
                resources=(replace(FULL_RESOURCE, fingerprint=str(number)),),
                instances=(replace(FULL_INSTANCE, provider=str(number)),),
                releases=(replace(FULL_RELEASE, revision=str(number), commit="x" * 50_000),),
            ),
            fence,
        )
        os.write(said, f"{number}\n".encode())


@pytest.mark.parametrize("after", [1, 2, 17, 60, 150])
def test_a_store_whose_writer_was_killed_has_whole_batches_only(tmp_path: Path, after: int) -> None:
    path = tmp_path / "state.db"
    reader, writer = os.pipe()
    child = fork(lambda: write_for_ever(path, writer))
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = [int(pipe.readline()) for _ in range(after)]
        os.kill(child, signal.SIGKILL)
        said += [int(line) for line in pipe]
    assert end_of(child) == -signal.SIGKILL
    state = read_state(path)
    found = {
        state.plane_id,
        state.resources[WEB].fingerprint,
        state.instances[WEB].provider,
        *(item.revision for item in state.releases[WEB]),
    }
    assert found <= {str(said[-1]), str(said[-1] + 1)} and len(found) == 1
    store = SqliteStore(path)
    assert store.load_state() == state
    lease = store.read_lease("apply")
    assert lease is not None and store.break_lease("apply", lease.number)
    store.record(RecordBatch(plane_id="after"), fence_of(store))
    store.close()
    assert read_state(path).plane_id == "after"


def die_at(number: int, call: Callable[[], object]) -> None:
    """SIGKILL for this process at its ``number``-th call into SQLite."""
    seen = []

    def profile(frame: FrameType, event: str, called: object) -> None:
        owner = getattr(called, "__self__", None)
        if event == "c_call" and isinstance(owner, sqlite3.Connection | sqlite3.Cursor):
            seen.append(called)
            if len(seen) == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(profile)
    call()


def test_a_kill_at_any_call_of_making_a_store_is_made_good(tmp_path: Path) -> None:
    for number in range(1, 200, 2):
        path = tmp_path / str(number) / "state.db"
        code = end_of(fork(lambda at=path, n=number: die_at(n, lambda: make_store(at))))
        make_store(path)
        assert read_state(path).plane_id == "pla_1", f"killed at call {number}"
        if code == 0:
            break
    assert number > 40 and code == 0


def test_processes_that_open_a_new_store_at_once_all_get_it(tmp_path: Path) -> None:
    def open_and_write(path: Path, name: str, gate: int) -> None:
        os.read(gate, 1)
        store = SqliteStore(path)
        fence = store.acquire(f"lease {name}", name, TTL, NOW)
        assert fence is not None
        resource = RecordedResource(WEB._replace(name=name), "f", "{}")
        store.record(RecordBatch(resources=(resource,)), fence)
        store.close()

    names = ["a", "b", "c", "d"]
    for turn in range(6):
        path = tmp_path / str(turn) / "state.db"
        gate, opener = os.pipe()
        children = [fork(lambda n=name, p=path, g=gate: open_and_write(p, n, g)) for name in names]
        os.write(opener, b"x" * len(names))
        assert [end_of(child) for child in children] == [0] * len(names)
        os.close(gate)
        os.close(opener)
        assert sorted(key.name for key in read_state(path).resources) == names


def test_a_second_opening_in_one_process_does_not_loosen_the_first(tmp_path: Path) -> None:
    """A lock of the file ends when the process closes any descriptor of it. Another program would
    then take itself for the last one and remove the journal from under the first store."""
    path = tmp_path / "state.db"
    first = SqliteStore(path)
    first.record(RecordBatch(plane_id="ours"), fence_of(first))
    second = SqliteStore(path)
    # A new interpreter: a forked one would inherit what SQLite knows of the locks.
    script = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1])\n"
        "print(db.execute('SELECT plane_id FROM plane').fetchone()[0])\n"
        "db.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "ours\n", done.stderr
    first.record(RecordBatch(plane_id="ours again"), fence_of(first))
    assert read_state(path).plane_id == "ours again"
    second.close()
    first.close()
    assert read_state(path).plane_id == "ours again"


# Writes more than fits, makes room, and writes again. Its disk is the small one mounted for it.
_FILL = """
import sys
from pathlib import Path
from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.state.recorded import RecordBatch
from ctrlplane_gitops.store.sqlite import SqliteStore
from tests.store.sqlite_kit import fence_of

disk, size = Path(sys.argv[1]), int(sys.argv[2])
ballast = disk / "ballast"
ballast.write_bytes(b"x" * 3 * 2**20)
store = SqliteStore(disk / "state.db")
fence = fence_of(store)
store.record(RecordBatch(plane_id="before"), fence)
try:
    store.record(RecordBatch(plane_id="lost", blobs={"aa": b"x" * size}), fence)
except StoreError as error:
    print(error.message)
print(store.load_state().plane_id, store.read_blob("aa"))
ballast.unlink()
store.record(RecordBatch(plane_id="after"), fence)
store.close()
store = SqliteStore(disk / "state.db", is_read_only=True)
print(store.load_state().plane_id)
"""


@pytest.mark.parametrize("size", [2**20, 16 * 2**20], ids=["at the commit", "on the way"])
def test_a_full_disk_is_said_and_forgotten_once_there_is_room(tmp_path: Path, size: int) -> None:
    """What does not fit into SQLite's cache is written before the commit."""
    mount = f'mount -t tmpfs -o size=4m none {tmp_path} && exec "$@"'
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    if subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("a disk of its own cannot be mounted here")
    done = subprocess.run(
        [*inside, sys.executable, "-c", _FILL, str(tmp_path), str(size)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        f"the store {tmp_path}/state.db cannot be used: database or disk is full",
        "before None",
        "after",
    ], done.stderr
