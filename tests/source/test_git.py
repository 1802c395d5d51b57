from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.source.conformance import check_source
from ctrlplane_gitops.source.directory import DirectorySource
from ctrlplane_gitops.source.git import GitSource
from ctrlplane_gitops.source.tree import MAX_FILE_BYTES
from tests.source.repo import ENVIRON, commit, git, make_repo, write


def source(location: object, ref: str = "HEAD", mirrors: Path = Path("/unused")) -> GitSource:
    return GitSource(str(location), ref, mirrors, environ=ENVIRON)


def test_a_repository_keeps_every_promise_of_a_source(tmp_path: Path) -> None:
    numbers = count()

    def make(files: Mapping[str, bytes], links: Mapping[str, str]) -> GitSource:
        return source(make_repo(tmp_path / str(next(numbers)), files, links))

    check_source(make)


def test_the_work_tree_is_never_looked_at(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    shutil.rmtree(repo / ".git" / "hooks", ignore_errors=True)
    (repo / ".git" / "index.lock").touch()
    write(repo, {"a.yaml": b"dirty", "new.yaml": b"x"})
    snapshot = source(repo).fetch()
    assert snapshot.read(snapshot.entries.values()) == {snapshot.entries["a.yaml"]: b"1"}
    assert (list(snapshot.entries), snapshot.is_dirty) == (["a.yaml"], False)


def test_branch_tag_commit_and_head_name_a_commit(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    first = git(repo, "rev-parse", "HEAD")
    git(repo, "tag", "-a", "v1", "-m", "annotated")
    write(repo, {"a.yaml": b"2"})
    second = commit(repo)
    found = {
        ref: (source(repo, ref).fetch().commit, source(repo, ref).fetch().ref)
        for ref in ("HEAD", "main", "v1", first, first[:8], "HEAD~1", "refs/heads/main")
    }
    assert found == {
        "HEAD": (second, "HEAD"),
        "main": (second, "refs/heads/main"),
        "v1": (first, "refs/tags/v1"),
        first: (first, first),
        first[:8]: (first, first[:8]),
        "HEAD~1": (first, "HEAD~1"),
        "refs/heads/main": (second, "refs/heads/main"),
    }


def test_a_branch_and_a_tag_of_one_name_never_mix(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    git(repo, "tag", "release")
    git(repo, "checkout", "-q", "-b", "release")
    head = commit(repo)
    with pytest.raises(SourceError, match="both a branch and a tag") as caught:
        source(repo, "release").fetch()
    assert caught.value.hint == "say which: refs/heads/release or refs/tags/release"
    assert source(repo, "refs/heads/release").fetch().commit == head
    assert source(repo, "refs/tags/release").fetch().commit != head


def test_a_missing_ref_suggests_the_nearest(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    with pytest.raises(SourceError, match="no branch, tag or commit 'mian'") as caught:
        source(repo, "mian").fetch()
    assert caught.value.hint == "did you mean 'main'?"
    with pytest.raises(SourceError, match="goes further back"):
        source(repo, "main~7").fetch()


@pytest.mark.parametrize(
    "ref",
    ["--upload-pack=touch x", "-h", "", "a b", "a..b", "a\nb", "main@{1}", "a:b", "/a", "x.lock"],
)
def test_text_that_cannot_be_a_ref_is_refused_at_once(ref: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a branch, tag, commit or HEAD"):
        source(tmp_path, ref)


def test_a_folder_of_a_work_tree_is_read_on_its_own(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"prod/t/a.yaml": b"1", "test/a.yaml": b"2"})
    assert list(source(repo / "prod").fetch().entries) == ["t/a.yaml"]
    (repo / "later").mkdir()
    with pytest.raises(SourceError, match="has no folder 'later'"):
        source(repo / "later").fetch()


def test_a_bare_repository_is_read(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    git(tmp_path, "clone", "-q", "--bare", str(repo), "b.git")
    assert list(source(tmp_path / "b.git").fetch().entries) == ["a.yaml"]


def test_a_submodule_is_refused_with_its_place(tmp_path: Path) -> None:
    inner = make_repo(tmp_path / "inner", {"x": b"1"})
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    head = git(inner, "rev-parse", "HEAD")
    git(repo, "update-index", "--add", "--cacheinfo", f"160000,{head},vendor")
    git(repo, "commit", "-q", "-m", "submodule")
    snapshot = source(repo).fetch()
    assert [(item.code, str(item.origin)) for item in snapshot.problems] == [
        ("submodule", "vendor")
    ]


def test_reading_a_hostile_repository_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1", ".gitattributes": b"* filter=evil\n"})
    hook = repo / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "core.sshCommand"):
        git(repo, "config", key, f"touch {mark}; cat")
    git(repo, "config", "alias.cat-file", f"!touch {mark}")
    snapshot = source(repo, "main").fetch()
    assert snapshot.read(snapshot.entries.values())
    assert not mark.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository away")
def test_somebody_elses_repository_is_read_by_root(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    for path in (repo, *repo.rglob("*")):
        os.chown(path, 12345, 12345)
    assert list(source(repo).fetch().entries) == ["a.yaml"]
    assert DirectorySource(repo).fetch().is_dirty is False


def test_a_damaged_repository_is_said_to_be(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    (repo / ".git" / "refs" / "heads" / "main").write_text("f" * 40 + "\n")
    with pytest.raises(SourceError, match="damaged or incomplete"):
        source(repo, "main").fetch()


def test_a_partial_clone_fetches_nothing_behind_our_back(tmp_path: Path) -> None:
    origin = make_repo(tmp_path / "o", {"a.yaml": b"1"})
    git(origin, "config", "uploadpack.allowFilter", "true")
    url = f"file://{origin}"
    git(tmp_path, "clone", "-q", "--bare", "--filter=blob:none", url, "p.git")
    with pytest.raises(SourceError, match="damaged or incomplete"):
        source(tmp_path / "p.git").fetch()


def test_places_that_are_no_repository_are_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        source(tmp_path / "gone").fetch()
    with pytest.raises(SourceError, match="not inside a Git repository"):
        source(tmp_path).fetch()
    git(tmp_path, "init", "-q", "fresh")
    with pytest.raises(SourceError, match="no commit yet"):
        source(tmp_path / "fresh").fetch()


@pytest.mark.parametrize(
    "location",
    [
        "ext::sh -c touch% /tmp/x",
        "fd::17",
        "http://example.com/x.git",
        "git://example.com/x.git",
        "file:///srv/x.git",
        "ssh://-oProxyCommand=x/y",
        "https:///nohost",
        "a\nb",
        "",
    ],
)
def test_other_urls_are_refused_before_anything_runs(location: str) -> None:
    with pytest.raises(SourceError):
        source(location)


@pytest.mark.parametrize(
    "location",
    ["https://me:hunter22@example.com/x", "https://hunter22@example.com/x",
     "ssh://me:hunter22@example.com/x"],
)  # fmt: skip
def test_a_credential_in_a_url_is_refused_and_not_repeated(location: str) -> None:
    with pytest.raises(SourceError, match="has a credential in it") as caught:
        source(location)
    assert "hunter22" not in f"{caught.value} {caught.value.hint}"
    assert "CTRLPLANE_GIT_TOKEN" in str(caught.value.hint)


def test_a_later_fetch_lists_as_a_first_one_would(tmp_path: Path) -> None:
    """Whatever a commit does to the files and to what is refused among them."""
    repo = make_repo(tmp_path / "repo", {"a.yaml": b"1", "b/c.yaml": b"2", "d": b"3"}, {"l": "a"})
    kept = {folder: source(repo / folder) for folder in ("", "b")}
    before = {folder: known.fetch() for folder, known in kept.items()}
    steps: list[tuple[dict[str, bytes], dict[str, str], list[str]]] = [
        ({"a.yaml": b"new", "b/c.yaml": b"2"}, {}, []),
        ({"b/e.yaml": b"1", ".x/y": b"hidden", "big": b"x" * (MAX_FILE_BYTES + 1)}, {}, ["d"]),
        (
            {"l": b"a file now", "big": b"small"},
            {"a.yaml": "b/c.yaml", "b/m": ".."},
            ["l", "a.yaml"],
        ),
        ({"b/c.yaml/deep": b"a folder now"}, {}, ["b/c.yaml"]),
        ({}, {}, []),
    ]
    for files, links, gone in steps:
        for path in gone:
            (repo / path).unlink()
        write(repo, files, links)
        commit(repo)
        for folder, known in kept.items():
            later, first = known.fetch(), source(repo / folder).fetch()
            assert dict(later.entries) == dict(first.entries)
            assert sorted(map(str, later.problems)) == sorted(map(str, first.problems))
            assert later.commit == first.commit
            assert later.read(later.entries.values()) == first.read(first.entries.values())
            assert later.changes is not None and first.changes is None
            paths = {*later.entries, *before[folder].entries}
            earlier = before[folder].entries
            differ = {path for path in paths if later.entries.get(path) != earlier.get(path)}
            assert later.changes[0] == before[folder].commit and later.changes[1] >= differ
            before[folder] = later


def test_a_fetch_after_history_was_rewritten_lists_everything(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", {"a.yaml": b"1", "b.yaml": b"2"})
    known = source(repo)
    known.fetch()
    git(repo, "checkout", "-q", "--orphan", "other")
    write(repo, {"a.yaml": b"other"})
    commit(repo)
    git(repo, "branch", "-M", "other", "main")
    git(repo, "reflog", "expire", "--expire=now", "--all")
    git(repo, "gc", "-q", "--prune=now")
    assert dict(known.fetch().entries) == dict(source(repo).fetch().entries)


def test_a_snapshot_knows_the_commits_before_it(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    first = git(repo, "rev-parse", "HEAD")
    second = commit(repo)
    git(repo, "tag", "-a", "v1", "-m", "annotated")
    tag = git(repo, "rev-parse", "refs/tags/v1")
    git(repo, "checkout", "-q", "-b", "other")
    other = commit(repo)
    unknown = "5" * 40
    asked = {first, second, other, tag, unknown}
    assert source(repo, "main").fetch().find_ancestors(asked) == {first, second, tag}
    assert source(repo, "main").fetch().find_ancestors({second}) == {second}
    assert source(repo, "main").fetch().find_ancestors(set()) == frozenset()
    assert DirectorySource(repo).fetch().find_ancestors({first}) == frozenset()
