"""Reading a local Git repository from its object database: refs, trees and blobs, never files."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ctrlplane_gitops.diagnostics import Diagnostic, did_you_mean
from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.source import tree
from ctrlplane_gitops.source.command import GitFailedError, run_git, scrub
from ctrlplane_gitops.value import struct

_OBJECT_ID = re.compile(r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")
_SHORT_ID = re.compile(r"^[0-9a-f]{4,64}$", re.IGNORECASE)
_SUFFIX = re.compile(r"(?:[~^][0-9]*)*$")
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/]|/$|\.$|\.lock(?:/|$)")
# How far back a commit may be that somebody has just pushed.
_RECENT = 10_000
_FULL_MODES = {"100644", "100755", "100664"}


class BrokenRepositoryError(Exception):
    """Objects are missing or damaged."""


@struct
class Place:
    """Where a path lies: the repository, the work tree's root (None for a bare repository), and
    the path's folder below that root ("" at the root)."""

    git_dir: Path
    work_tree: Path | None
    prefix: str


@struct
class Commit:
    """A pinned commit. ``ref`` is the full name it was found by (``refs/heads/main``)."""

    id: str
    ref: str


def find_place(path: Path) -> Place | None:
    """The repository a directory belongs to, None outside Git. Nothing is executed."""
    path = path.resolve()
    if _is_git_dir(path):
        return Place(path, None, "")
    for folder in (path, *path.parents):
        git_dir = folder / ".git"
        if git_dir.is_file() or _is_git_dir(git_dir):
            prefix = path.relative_to(folder).as_posix()
            return Place(git_dir, folder, "" if prefix == "." else prefix)
    return None


def _is_git_dir(path: Path) -> bool:
    return (path / "HEAD").exists() and (path / "objects").is_dir() and (path / "refs").is_dir()


def check_ref(ref: str) -> tuple[str, str]:
    """The name and its ``~1`` / ``^`` suffix; SourceError when it cannot be a ref."""
    suffix = _SUFFIX.search(ref)
    tail = suffix[0] if suffix else ""
    name = ref[: len(ref) - len(tail)]
    if not name or len(ref) > 1024 or _BAD_REF.search(name):
        raise SourceError(
            f"{scrub(ref)!r} is not a branch, tag, commit or HEAD",
            hint="give a name such as main, v1.2.0, 3f9c2ab, HEAD or refs/heads/main",
        )
    return name, tail


def resolve_ref(git_dir: Path, ref: str, environ: Mapping[str, str], where: str) -> Commit:
    """The commit a branch, tag, commit id or HEAD names. ``where`` names the repository in errors.

    A name that is a branch and a tag is refused. SourceError when there is none.
    """
    name, tail = check_ref(ref)
    if name == "HEAD" or name.startswith("refs/") or _OBJECT_ID.match(name):
        candidates = [name]
    else:
        candidates = [f"refs/heads/{name}", f"refs/tags/{name}", f"refs/remotes/{name}"]
        if _SHORT_ID.match(name):
            candidates.append(name)
    # User-given text goes in on stdin only, so that it can never be an option.
    asked = "".join(f"{candidate}{tail}^{{commit}}\n" for candidate in candidates)
    try:
        output = run_git(git_dir, ["cat-file", "--batch-check"], environ, stdin=os.fsencode(asked))
    except GitFailedError as failure:
        raise SourceError(f"{where} cannot be read: {failure}") from None
    found: dict[str, str] = {}
    for candidate, line in zip(candidates, output.decode().splitlines(), strict=False):
        words = line.split(" ")
        if len(words) == 3 and words[1] == "commit":
            found[candidate] = words[0]
    branch, tag = f"refs/heads/{name}", f"refs/tags/{name}"
    if branch in found and tag in found:
        raise SourceError(
            f"{name!r} is both a branch and a tag of {where}",
            hint=f"say which: {branch} or {tag}",
        )
    for candidate, commit in found.items():
        return Commit(commit, candidate + tail)
    raise _missing_ref(git_dir, ref, environ, where)


def _missing_ref(git_dir: Path, ref: str, environ: Mapping[str, str], where: str) -> SourceError:
    try:
        listed = run_git(git_dir, ["for-each-ref", "--format=%(refname)"], environ)
    except GitFailedError as failure:
        return SourceError(f"{where} cannot be read: {failure}")
    refs = listed.decode("utf-8", "replace").split("\n")
    if not any(refs):
        return SourceError(f"{where} has no commit yet", hint="commit something first")
    name, tail = check_ref(ref)
    if tail and resolve_ref(git_dir, name, environ, where):
        return SourceError(f"{ref!r} goes further back than the history of {where}")
    if name in refs:
        raise BrokenRepositoryError(f"the commit of {ref} is missing")
    short = [
        scrub(full.removeprefix("refs/heads/").removeprefix("refs/tags/"))
        for full in refs
        if full.startswith(("refs/heads/", "refs/tags/"))
    ]
    if name in short:
        raise BrokenRepositoryError(f"the commit of {ref} is missing")
    hint = did_you_mean(ref, short)
    if (git_dir / "shallow").exists():
        hint = f"{hint}; the clone is shallow: fetch the ref first".removeprefix("; ")
    return SourceError(f"no branch, tag or commit {ref!r} in {where}", hint=hint or None)


def find_ancestors(
    git_dir: Path, commit: str, commits: Collection[str], *, environ: Mapping[str, str]
) -> frozenset[str]:
    """Those of ``commits`` that are in the newest part of the history of ``commit``, itself
    included. The id of an annotated tag stands for its commit. None where Git cannot tell."""
    if commits == {commit}:
        return frozenset(commits)
    asked = sorted(commits)
    names = "".join(f"{name}^{{commit}}\n" for name in asked)
    try:
        peeled = run_git(git_dir, ["cat-file", "--batch-check"], environ, stdin=names.encode())
        history = run_git(git_dir, ["rev-list", f"--max-count={_RECENT}", commit], environ)
    except GitFailedError:
        return frozenset()
    recent = frozenset(history.decode().split())
    lines = peeled.decode().splitlines()
    return frozenset(
        name for name, line in zip(asked, lines, strict=True) if line.split(" ")[0] in recent
    )


@struct
class Listing:
    """The files of a commit's folder and the entries that are refused, each by path. It is kept
    from fetch to fetch and never changed. ``changes``: as of a snapshot."""

    entries: Mapping[str, str]
    problems: Mapping[str, Diagnostic]
    changes: tuple[str, frozenset[str]] | None = None


def list_tree(
    git_dir: Path, commit: str, prefix: str, environ: Mapping[str, str]
) -> Listing | None:
    """The listing of a commit's folder; None when the commit has no such folder.

    BrokenRepositoryError when objects are missing.
    """
    if "\n" in prefix:
        return None
    root = f"{commit}:{prefix}"
    try:
        if prefix:
            checked = run_git(
                git_dir, ["cat-file", "--batch-check"], environ, stdin=os.fsencode(f"{root}\n")
            )
            if not re.match(rb"[0-9a-f]+ tree ", checked):
                return None
        output = run_git(git_dir, ["ls-tree", "-r", "-z", "-l", "--full-tree", root], environ)
    except GitFailedError as failure:
        raise BrokenRepositoryError(str(failure)) from None
    records = output.decode("utf-8", "surrogateescape").split("\0")[:-1]
    halves = (record.partition("\t") for record in records)
    return _sort_entries({}, {}, ((path, *head.split()) for head, _, path in halves))


def relist_tree(
    git_dir: Path,
    earlier: Listing,
    before: str,
    after: str,
    prefix: str,
    environ: Mapping[str, str],
) -> Listing | None:
    """The listing of the commit ``after`` from that of ``before``: it costs what has changed.
    None when they cannot be compared (``before`` is gone after a force-push, or the folder)."""
    roots = [f"{before}:{prefix}", f"{after}:{prefix}"]
    try:
        options = ["-r", "-z", "--no-renames", "--no-ext-diff", "--ignore-submodules=none"]
        output = run_git(git_dir, ["diff-tree", *options, *roots], environ)
        fields = output.decode("utf-8", "surrogateescape").split("\0")[:-1]
        # ``:mode mode id id status<NUL>path<NUL>``, the old ones before the new ones.
        changed = {
            path: head.split(" ") for head, path in zip(fields[::2], fields[1::2], strict=True)
        }
        sizes = _read_sizes(git_dir, {head[3] for head in changed.values()}, environ)
    except GitFailedError:
        return None
    entries, problems = dict(earlier.entries), dict(earlier.problems)
    for path in changed:
        entries.pop(path, None)
        problems.pop(path, None)
    rows = (
        (path, head[1], head[4], head[3], sizes.get(head[3], "-"))
        for path, head in changed.items()
        if head[4] != "D"
    )
    made = _sort_entries(entries, problems, rows)
    return Listing(made.entries, made.problems, (before, frozenset(changed)))


def _read_sizes(
    git_dir: Path, blobs: Collection[str], environ: Mapping[str, str]
) -> dict[str, str]:
    """Sizes of those blobs that are there, as ``ls-tree`` would print them."""
    asked = "".join(f"{blob}\n" for blob in sorted(blobs)).encode()
    output = run_git(git_dir, ["cat-file", "--batch-check"], environ, stdin=asked)
    rows = [line.split(" ") for line in output.decode().splitlines()]
    return {row[0]: row[2] for row in rows if len(row) == 3 and row[1] == "blob"}


def _sort_entries(
    entries: dict[str, str], problems: dict[str, Diagnostic], rows: Iterable[tuple[str, ...]]
) -> Listing:
    """Add ``(path, mode, type, id, size)`` rows to what is there: files, and refusals."""
    for path, mode, _, blob, size in rows:
        if tree.is_in_hidden_folder(path):
            continue
        refused = tree.refuse_name(path)
        if refused is None and mode == "120000":
            refused = tree.refuse_symlink(path)
        elif refused is None and mode == "160000":
            refused = tree.refuse_submodule(path)
        elif refused is None and mode not in _FULL_MODES:
            refused = tree.refuse_unreadable(path, f"it has the unknown mode {mode}")
        elif refused is None and not size.isdigit():
            raise BrokenRepositoryError(f"the contents of {path} are missing")
        elif refused is None and int(size) > tree.MAX_FILE_BYTES:
            refused = tree.refuse_size(path, int(size))
        elif refused is None and path.count("/") > tree.MAX_DEPTH:
            refused = tree.refuse_depth(path)
        if refused is None:
            entries[path] = blob
        else:
            problems[path] = refused
    return Listing(entries, problems)


def read_blobs(
    git_dir: Path, blobs: Collection[str], environ: Mapping[str, str]
) -> dict[str, bytes]:
    """The contents of blob ids, by one process. BrokenRepositoryError when one is missing."""
    wanted = [blob for blob in dict.fromkeys(blobs) if _OBJECT_ID.match(blob)]
    if not wanted:
        return {}
    try:
        output = run_git(
            git_dir,
            ["cat-file", "--batch", "--buffer"],
            environ,
            stdin="".join(f"{blob}\n" for blob in wanted).encode(),
        )
    except GitFailedError as failure:
        raise BrokenRepositoryError(str(failure)) from None
    contents: dict[str, bytes] = {}
    position = 0
    for blob in wanted:
        end = output.find(b"\n", position)
        words = output[position:end].split(b" ")
        if end < 0 or len(words) != 3 or words[1] != b"blob":
            raise BrokenRepositoryError(f"the blob {blob} is missing")
        size = int(words[2])
        contents[blob] = output[end + 1 : end + 1 + size]
        position = end + size + 2
    return contents
