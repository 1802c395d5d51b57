"""Specs from a directory as it is, uncommitted edits included."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.source import tree
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.source.command import GitFailedError, run_git
from ctrlplane_gitops.source.repository import (
    BrokenRepositoryError,
    Place,
    find_place,
    list_tree,
)

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class DirectorySource:
    """All regular files below ``path``, hidden folders left out.

    ``commit`` is HEAD's where the directory is in a Git work tree, and ``is_dirty`` says whether
    any file read differs from that commit (None outside Git, or before the first commit).
    """

    def __init__(self, path: Path, *, environ: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._environ = os.environ if environ is None else environ

    def fetch(self) -> Snapshot:
        """SourceError when the path is missing, not a directory, or changes while it is read."""
        walk = _Walk()
        root = _open_root(self._path)
        try:
            _walk(root, "", 0, walk)
        finally:
            os.close(root)
        entries = dict(sorted(walk.entries.items()))
        commit, is_dirty = self._compare(entries)
        return Snapshot(
            entries=entries,
            read=partial(_read, self._path, {blob: path for path, blob in entries.items()}),
            commit=commit,
            is_dirty=is_dirty,
            problems=tuple(sorted(walk.problems, key=lambda item: str(item.origin))),
        )

    def _compare(self, entries: Mapping[str, str]) -> tuple[str, bool | None]:
        """HEAD's commit, and whether the entries differ from it.

        The blob ids decide, not ``git status``: that would run filters and monitors which the
        repository's own configuration names, and would trust the index.
        """
        place = find_place(self._path)
        if place is None or place.work_tree is None:
            return "", None
        try:
            asked = b"HEAD^{commit}\n"
            answer = run_git(
                place.git_dir, ["cat-file", "--batch-check"], self._environ, stdin=asked
            ).split(b" ")
            if len(answer) != 3:
                return "", None
            commit = answer[0].decode()
            listed = list_tree(place.git_dir, commit, place.prefix, self._environ)
            committed = listed.entries if listed else {}
            if any(entries.get(path) != blob for path, blob in committed.items()):
                return commit, True
            extra = [path for path in entries if path not in committed]
            return commit, bool(extra) and not self._are_ignored(place, extra)
        except (GitFailedError, BrokenRepositoryError, SourceError):
            # Broken or unreadable, or no git here: the directory itself was read well.
            return "", None

    def _are_ignored(self, place: Place, paths: Collection[str]) -> bool:
        """Whether ``.gitignore`` covers all of these files that HEAD does not have."""
        prefix = f"{place.prefix}/" if place.prefix else ""
        asked = "".join(f"{prefix}{path}\0" for path in paths)
        command = ["check-ignore", "-z", "--stdin"]
        answer = run_git(
            place.git_dir, command, self._environ,
            stdin=os.fsencode(asked), work_tree=place.work_tree, ok_codes=(0, 1),
        )  # fmt: skip
        return answer.count(b"\0") == len(paths)


@dataclass(slots=True)
class _Walk:
    entries: dict[str, str] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)


def _open_root(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SourceError(f"{path} does not exist", hint="give the folder of specs") from None
    except NotADirectoryError:
        raise SourceError(f"{path} is not a directory", hint="give the folder of specs") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {(error.strerror or '').lower()}") from None


def _walk(folder: int, prefix: str, depth: int, walk: _Walk) -> None:
    """Everything below an open folder. Names are opened relative to it, so that a folder swapped
    for a link in the meantime cannot lead elsewhere."""
    with os.scandir(folder) as listing:
        for item in listing:
            path = prefix + item.name
            is_folder = item.is_dir(follow_symlinks=False)
            # A linked work tree has a file named .git.
            if item.name == ".git" or (is_folder and tree.is_hidden_folder(item.name)):
                continue
            refused = tree.refuse_name(path)
            if refused is None and item.is_symlink():
                refused = tree.refuse_symlink(path)
            elif refused is None and is_folder and depth >= tree.MAX_DEPTH:
                refused = tree.refuse_depth(path)
            elif refused is None and (is_folder or item.is_file(follow_symlinks=False)):
                refused = _take(folder, item.name, path, depth, walk)
            if refused is not None:
                walk.problems.append(refused)


def _take(folder: int, name: str, path: str, depth: int, walk: _Walk) -> Diagnostic | None:
    """Add one file or folder to the walk; a problem when it is refused."""
    try:
        opened = os.open(name, _FLAGS, dir_fd=folder)
    except FileNotFoundError:
        # Absent for a moment must not look like deleted.
        raise _changed(path) from None
    except OSError as error:
        return tree.refuse_unreadable(path, (error.strerror or "error").lower())
    try:
        status = os.fstat(opened)
        if stat.S_ISDIR(status.st_mode):
            if _has_git(opened):
                return tree.refuse_submodule(path)
            _walk(opened, f"{path}/", depth + 1, walk)
        elif status.st_size > tree.MAX_FILE_BYTES:
            return tree.refuse_size(path, status.st_size)
        else:
            walk.entries[path] = tree.blob_id(_read_all(opened, status.st_size))
    except OSError as error:
        return tree.refuse_unreadable(path, (error.strerror or "error").lower())
    finally:
        os.close(opened)
    return None


def _has_git(folder: int) -> bool:
    """Whether a folder is a repository of its own: Git would not list its files either."""
    try:
        os.stat(".git", dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True


def _read_all(descriptor: int, size: int) -> bytes:
    """The contents, cut off just above the limit."""
    content = os.read(descriptor, size + 1)
    if len(content) == size:
        return content
    chunks = [content]
    total = len(content)
    while content and total <= tree.MAX_FILE_BYTES:
        content = os.read(descriptor, 1 << 20)
        chunks.append(content)
        total += len(content)
    return b"".join(chunks)


def _read(root: Path, paths: Mapping[str, str], blobs: Collection[str]) -> Mapping[str, bytes]:
    """Contents by blob id; a retryable SourceError when a file is not what it was."""
    contents: dict[str, bytes] = {}
    for blob in dict.fromkeys(blobs):
        path = paths.get(blob)
        if path is None:
            raise SourceError(f"asked for a blob that is not in the snapshot of {root}")
        try:
            opened = os.open(root / path, _FLAGS)
        except OSError:
            raise _changed(path) from None
        try:
            content = _read_all(opened, os.fstat(opened).st_size)
        except OSError:
            raise _changed(path) from None
        finally:
            os.close(opened)
        # The id proves the content, whatever happened to the folders on the way.
        if tree.blob_id(content) != blob:
            raise _changed(path)
        contents[blob] = content
    return contents


def _changed(path: str) -> SourceError:
    return SourceError(
        f"{path} changed while it was being read", hint="run it again", is_retryable=True
    )
