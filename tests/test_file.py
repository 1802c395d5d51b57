"""Files that several processes share."""

import fcntl
from pathlib import Path

import pytest

from ctrlplane_gitops.file import lock_file, read_file, write_file


def test_a_write_replaces_the_file_and_gives_it_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read_file(path) is None
    write_file(path, "one é")
    assert (read_file(path), path.stat().st_mode & 0o777) == ("one é", 0o600)
    write_file(path, "two", 0o644)
    assert (read_file(path), path.stat().st_mode & 0o777) == ("two", 0o644)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_file(path, "one")
    with pytest.raises(UnicodeEncodeError):
        write_file(path, "\ud800")
    assert read_file(path) == "one"
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_the_lock_is_held_for_the_block_and_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    with lock_file(path), Path(f"{path}.lock").open("ab") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with Path(f"{path}.lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
