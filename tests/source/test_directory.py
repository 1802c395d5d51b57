from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.source.conformance import check_source
from ctrlplane_gitops.source.directory import DirectorySource
from ctrlplane_gitops.source.tree import MAX_DEPTH
from tests.source.repo import git, make_repo, write


def test_a_directory_keeps_every_promise_of_a_source(tmp_path: Path) -> None:
    numbers = count()

    def make(files: Mapping[str, bytes], links: Mapping[str, str]) -> DirectorySource:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        write(folder, files, links)
        return DirectorySource(folder)

    check_source(make)


def test_a_missing_folder_and_a_file_are_said_to_be_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        DirectorySource(tmp_path / "gone").fetch()
    (tmp_path / "file").write_text("x")
    with pytest.raises(SourceError, match="is not a directory"):
        DirectorySource(tmp_path / "file").fetch()


def test_outside_git_there_is_no_commit_and_no_word_on_dirt(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": b"1"})
    snapshot = DirectorySource(tmp_path).fetch()
    assert (snapshot.commit, snapshot.is_dirty) == ("", None)


def test_before_the_first_commit_there_is_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, {"a.yaml": b"1"})
    snapshot = DirectorySource(tmp_path).fetch()
    assert (snapshot.commit, snapshot.is_dirty) == ("", None)


def test_a_fresh_checkout_is_clean_at_its_head(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1", "sub/b.yaml": b"2"})
    for folder in (repo, repo / "sub"):
        snapshot = DirectorySource(folder).fetch()
        assert (snapshot.commit, snapshot.is_dirty) == (git(repo, "rev-parse", "HEAD"), False)


@pytest.mark.parametrize("kind", ["edited", "added", "deleted", "staged"])
def test_a_change_that_is_not_committed_is_dirt(tmp_path: Path, kind: str) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1", "b.yaml": b"2"})
    match kind:
        case "edited":
            write(repo, {"a.yaml": b"9"})
        case "added":
            write(repo, {"c.yaml": b"9"})
        case "deleted":
            (repo / "a.yaml").unlink()
        case "staged":
            write(repo, {"c.yaml": b"9"})
            git(repo, "add", "c.yaml")
    assert DirectorySource(repo).fetch().is_dirty is True


def test_dirt_beside_the_folder_is_not_dirt(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"prod/a.yaml": b"1", "test/a.yaml": b"1"})
    write(repo, {"test/a.yaml": b"2"})
    assert DirectorySource(repo / "prod").fetch().is_dirty is False


def test_ignored_files_are_not_dirt(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"s/a.yaml": b"1", ".gitignore": b"*.plan\n"})
    write(repo, {"s/out.plan": b"x"})
    assert DirectorySource(repo / "s").fetch().is_dirty is False
    write(repo, {"s/new.yaml": b"x"})
    assert DirectorySource(repo / "s").fetch().is_dirty is True


def test_a_linked_work_tree_knows_its_own_head(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    git(repo, "worktree", "add", "-q", "-b", "other", str(tmp_path / "w"))
    snapshot = DirectorySource(tmp_path / "w").fetch()
    assert (snapshot.commit, snapshot.is_dirty) == (git(repo, "rev-parse", "HEAD"), False)


def test_a_repository_inside_the_folder_is_refused(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    make_repo(repo / "vendor", {"b.yaml": b"1"})
    snapshot = DirectorySource(repo).fetch()
    assert list(snapshot.entries) == ["a.yaml"]
    assert [item.code for item in snapshot.problems] == ["submodule"]


def test_looking_at_a_repository_runs_nothing_it_names(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1", ".gitattributes": b"* filter=evil\n"})
    git(repo, "config", "core.fsmonitor", f"touch {mark}; false")
    git(repo, "config", "filter.evil.clean", f"touch {mark}; cat")
    git(repo, "config", "filter.evil.smudge", f"touch {mark}; cat")
    write(repo, {"a.yaml": b"2", "new.yaml": b"3"})
    assert DirectorySource(repo).fetch().is_dirty is True
    assert not mark.exists()


def test_a_bare_repository_hidden_in_a_folder_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    repo = make_repo(tmp_path / "r", {"trap/a.yaml": b"1"})
    git(repo / "trap", "init", "-q", "--bare", ".")
    git(repo / "trap", "config", "core.bare", "false")
    git(repo / "trap", "config", "core.worktree", ".")
    git(repo / "trap", "config", "core.fsmonitor", f"touch {mark}; false")
    assert "a.yaml" in DirectorySource(repo / "trap").fetch().entries
    assert not mark.exists()


def test_a_broken_repository_does_not_hide_the_files(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": b"1", ".git": b"gitdir: /nowhere\n"})
    snapshot = DirectorySource(tmp_path).fetch()
    assert "a.yaml" in snapshot.entries
    assert snapshot.is_dirty is None


def test_a_file_edited_between_listing_and_reading_is_a_retry(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": b"1", "b.yaml": b"2"})
    snapshot = DirectorySource(tmp_path).fetch()
    write(tmp_path, {"a.yaml": b"changed"})
    (tmp_path / "b.yaml").unlink()
    for path in ("a.yaml", "b.yaml"):
        with pytest.raises(SourceError, match=f"{path} changed") as caught:
            snapshot.read([snapshot.entries[path]])
        assert caught.value.is_retryable


def test_a_file_swapped_for_a_link_leaks_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"s/a.yaml": b"1", "outside": b"secret"})
    snapshot = DirectorySource(tmp_path / "s").fetch()
    (tmp_path / "s/a.yaml").unlink()
    (tmp_path / "s/a.yaml").symlink_to(tmp_path / "outside")
    with pytest.raises(SourceError):
        snapshot.read([snapshot.entries["a.yaml"]])


def test_names_that_cannot_be_printed_and_endless_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad\n\x1b[31m.yaml").write_bytes(b"1")
    (tmp_path / os.fsdecode(b"latin-\xe9.yaml")).write_bytes(b"1")
    deep = tmp_path / "/".join(["d"] * (MAX_DEPTH + 1))
    deep.mkdir(parents=True)
    (deep / "a.yaml").write_bytes(b"1")
    snapshot = DirectorySource(tmp_path).fetch()
    assert snapshot.entries == {}
    assert sorted(item.code for item in snapshot.problems) == ["file-name", "file-name", "too-deep"]
    assert all(item.render().replace("\n", "").isprintable() for item in snapshot.problems)


def test_a_fifo_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    write(tmp_path, {"a.yaml": b"1"})
    assert list(DirectorySource(tmp_path).fetch().entries) == ["a.yaml"]


def test_a_file_that_cannot_be_read_is_said_and_nothing_else_is_lost() -> None:
    """These can be opened, but reading fails: the disk is broken, or here, no module answers."""
    folder = Path("/proc/self/attr")
    if not (folder / "current").exists():
        pytest.skip("this kernel has no /proc/self/attr")
    snapshot = DirectorySource(folder).fetch()
    refused = {str(item.origin) for item in snapshot.problems if item.code == "unreadable"}
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert refused | set(snapshot.entries) >= names
