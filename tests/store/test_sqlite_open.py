"""Opening a store: what is created, what is left alone, and what every kind of bad file says."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.state.recorded import RecordBatch, RecordedState
from ctrlplane_gitops.store.connection import SCHEMA_VERSION
from ctrlplane_gitops.store.sqlite import SqliteStore
from tests.store.sqlite_kit import (
    as_plain_user,
    fence_of,
    folder_of_anybody,
    listing,
    make_store,
    read_state,
)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refuse(path: Path, *, is_read_only: bool) -> StoreError:
    """The error that opening the store ends in, or reading it: only who writes looks at all of
    it before anything else."""
    with pytest.raises(StoreError) as caught:
        store = SqliteStore(path, is_read_only=is_read_only)
        try:
            assert is_read_only, "it was opened for writing"
            store.load_state()
        finally:
            store.close()
    return caught.value


def test_a_new_store_belongs_to_its_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = SqliteStore(tmp_path / "plane" / "state.db")
        store.record(RecordBatch(plane_id="pla_1"), fence_of(store))
        assert mode_of(tmp_path / "plane") == 0o700
        modes = {item.name: mode_of(item) for item in (tmp_path / "plane").iterdir()}
        assert modes == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm"), 384)
        store.close()
    finally:
        os.umask(before)


@pytest.mark.parametrize("content", [None, b""], ids=["missing", "empty"])
def test_reading_where_there_is_no_store_creates_nothing(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "state.db"
    if content is not None:
        path.write_bytes(content)
    before = listing(tmp_path)
    store = SqliteStore(path, is_read_only=True)
    assert store.load_state() == RecordedState()
    assert not store.read_events()
    assert store.read_lease("apply") is None
    store.close()
    assert listing(tmp_path) == before
    assert read_state(tmp_path / "no" / "folder" / "state.db") == RecordedState()
    assert listing(tmp_path) == before


def test_reading_a_store_leaves_it_as_it_was(tmp_path: Path) -> None:
    make_store(tmp_path / "state.db")
    before = listing(tmp_path)
    assert list(before) == ["state.db"]
    assert read_state(tmp_path / "state.db").plane_id == "pla_1"
    assert listing(tmp_path) == before


def test_a_store_opened_for_reading_cannot_be_written(tmp_path: Path) -> None:
    make_store(tmp_path / "state.db")
    writer = SqliteStore(tmp_path / "state.db")
    fence = fence_of(writer)
    reader = SqliteStore(tmp_path / "state.db", is_read_only=True)
    with pytest.raises(StoreError, match="open for reading only"):
        reader.record(RecordBatch(plane_id="pla_2"), fence)
    with pytest.raises(StoreError, match="open for reading only"):
        reader.break_lease("apply", fence.number)
    assert writer.read_lease("apply") is not None
    reader.close()
    writer.close()


def test_a_reader_sees_what_is_written_meanwhile(tmp_path: Path) -> None:
    make_store(tmp_path / "state.db")
    writer = SqliteStore(tmp_path / "state.db")
    reader = SqliteStore(tmp_path / "state.db", is_read_only=True)
    writer.record(RecordBatch(plane_id="pla_2"), fence_of(writer))
    assert reader.load_state().plane_id == "pla_2"
    reader.close()
    writer.record(RecordBatch(plane_id="pla_3"), fence_of(writer))
    writer.close()
    assert read_state(tmp_path / "state.db").plane_id == "pla_3"


def test_a_reader_reads_again_only_what_somebody_has_changed(tmp_path: Path) -> None:
    make_store(tmp_path / "state.db")
    writer = SqliteStore(tmp_path / "state.db")
    reader = SqliteStore(tmp_path / "state.db", is_read_only=True)
    first = reader.load_state()
    assert reader.load_state() is first
    assert reader.load_state(["acme"]) is not first
    for number in (2, 3):
        reader.load_state()
        writer.record(RecordBatch(plane_id=f"pla_{number}"), fence_of(writer))
        assert reader.load_state().plane_id == f"pla_{number}"
    reader.close()
    writer.close()


def test_a_closed_store_is_an_error_not_an_empty_one(tmp_path: Path) -> None:
    """An empty store means that everything is to be adopted."""
    make_store(tmp_path / "state.db")
    for is_read_only in (False, True):
        store = SqliteStore(tmp_path / "state.db", is_read_only=is_read_only)
        store.close()
        store.close()
        for read in (store.load_state, store.read_events, lambda s=store: s.read_lease("apply")):
            with pytest.raises(StoreError, match="closed"):
                read()


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    """The first page stays, so that it still looks like a store."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))


@pytest.mark.parametrize("is_read_only", [False, True], ids=["writing", "reading"])
@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_bytes(b"not a database " * 500), cut, overwrite],
    ids=["garbage", "cut off", "overwritten"],
)  # fmt: skip
def test_a_damaged_file_says_what_to_do_and_is_left_alone(
    tmp_path: Path, spoil: Callable[[Path], object], is_read_only: bool
) -> None:
    path = tmp_path / "state.db"
    make_store(path)
    spoil(path)
    content = path.read_bytes()
    error = refuse(path, is_read_only=is_read_only)
    assert f"the store {path} is damaged" in error.message
    assert error.hint is not None and "move the file away and apply again" in error.hint
    assert not error.is_retryable
    assert path.read_bytes() == content


@pytest.mark.parametrize("is_read_only", [False, True], ids=["writing", "reading"])
def test_a_store_of_a_newer_version_is_refused_and_kept(tmp_path: Path, is_read_only: bool) -> None:
    path = tmp_path / "state.db"
    make_store(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    content = path.read_bytes()
    error = refuse(path, is_read_only=is_read_only)
    assert "newer version" in error.message
    assert error.hint == "upgrade ctrlplane-gitops"
    assert path.read_bytes() == content


def test_an_emptied_file_beside_its_journal_is_a_lost_store_not_an_error(tmp_path: Path) -> None:
    """Somebody emptied the file under a program that was killed: nothing can be read any more."""
    held = SqliteStore(tmp_path / "held" / "state.db")
    held.record(RecordBatch(plane_id="pla_1"), fence_of(held))
    shutil.copytree(tmp_path / "held", tmp_path / "left")
    held.close()
    path = tmp_path / "left" / "state.db"
    path.write_bytes(b"")
    assert read_state(path) == RecordedState()
    store = SqliteStore(path)
    assert store.load_state() == RecordedState()
    store.record(RecordBatch(plane_id="pla_2"), fence_of(store))
    store.close()
    assert read_state(path).plane_id == "pla_2"


def test_a_journal_that_a_killed_program_left_is_read(tmp_path: Path) -> None:
    held = SqliteStore(tmp_path / "held" / "state.db")
    held.record(RecordBatch(plane_id="pla_1"), fence_of(held))
    shutil.copytree(tmp_path / "held", tmp_path / "left")
    held.close()
    (tmp_path / "left" / "state.db-shm").unlink()
    assert read_state(tmp_path / "left" / "state.db").plane_id == "pla_1"


@pytest.mark.parametrize("place", ["state.db", "file/state.db"], ids=["a folder", "below a file"])
@pytest.mark.parametrize("is_read_only", [False, True], ids=["writing", "reading"])
def test_a_path_that_cannot_be_a_file_is_said_with_the_way_out(
    tmp_path: Path, place: str, is_read_only: bool
) -> None:
    (tmp_path / "state.db").mkdir()
    (tmp_path / "file").write_text("")
    error = refuse(tmp_path / place, is_read_only=is_read_only)
    assert f"the store {tmp_path / place} cannot be opened: " in error.message
    assert error.hint == "choose another place with spec.store or CTRLPLANE_STORE"


def test_a_folder_that_cannot_be_written_is_said_with_the_way_out() -> None:
    with folder_of_anybody() as folder:
        folder.chmod(0o555)

        def open_it() -> str:
            error = refuse(folder / "plane" / "state.db", is_read_only=False)
            return f"{error.message}|{error.hint}"

        assert as_plain_user(open_it) == (
            f"the store {folder}/plane/state.db cannot be opened: permission denied"
            "|choose another place with spec.store or CTRLPLANE_STORE"
        )


def test_a_folder_that_cannot_be_listed_is_an_error_of_ours() -> None:
    with folder_of_anybody() as folder:
        (folder / "state.db").touch()
        (folder / "state.db").chmod(0o666)
        folder.chmod(0o311)
        text = as_plain_user(lambda: refuse(folder / "state.db", is_read_only=False).message)
        folder.chmod(0o755)
        assert text == f"the store {folder}/state.db cannot be opened: permission denied"


def test_a_store_is_read_where_nothing_can_be_written() -> None:
    with folder_of_anybody() as folder:
        make_store(folder / "state.db")
        (folder / "state.db").chmod(0o444)
        folder.chmod(0o555)
        before = listing(folder)
        assert as_plain_user(lambda: str(read_state(folder / "state.db").plane_id)) == "pla_1"
        assert listing(folder) == before
