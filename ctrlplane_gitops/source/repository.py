"""Reading a local Git repository from its object database: refs, trees and blobs, never files."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ctrlplane_gitops.diagnostics import Diagnostic, did_you_mean
from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.source import tree
from ctrlplane_gitops.source.command import GitFailedError, run_git, scrub

_OBJECT_ID = re.compile(r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")
_SHORT_ID = re.compile(r"^[0-9a-f]{4,64}$", re.IGNORECASE)
_SUFFIX = re.compile(r"(?:[~^][0-9]*)*$")
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/]|/$|\.$|\.lock(?:/|$)")
_FULL_MODES = {"100644", "100755", "100664"}


class BrokenRepositoryError(Exception):
    """Objects are missing or damaged."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path lies: the repository, the work tree's root (None for a bare repository), and
    the path's folder below that root ("" at the root)."""

    git_dir: Path
    work_tree: Path | None
    prefix: str


@dataclass(frozen=True, slots=True)
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


def list_tree(
    git_dir: Path, commit: str, prefix: str, environ: Mapping[str, str]
) -> tuple[dict[str, str], tuple[Diagnostic, ...]] | None:
    """Entries and problems of a commit's folder; None when the commit has no such folder.

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
    return _sort_entries(output)


def _sort_entries(output: bytes) -> tuple[dict[str, str], tuple[Diagnostic, ...]]:
    """From ``mode type id size<TAB>path<NUL>`` records to entries and refusals."""
    entries: dict[str, str] = {}
    problems: list[Diagnostic] = []
    for record in output.decode("utf-8", "surrogateescape").split("\0")[:-1]:
        head, _, path = record.partition("\t")
        mode, _, blob, size = head.split()
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
            problems.append(refused)
    return entries, tuple(problems)


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
