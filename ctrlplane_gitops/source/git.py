"""Specs at a Git ref, read from the object database; a work tree is never looked at."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.source.command import scrub
from ctrlplane_gitops.source.location import HEAD_REF, RemoteUrl, parse_location
from ctrlplane_gitops.source.repository import (
    BrokenRepositoryError,
    Listing,
    check_ref,
    find_ancestors,
    find_place,
    list_tree,
    read_blobs,
    relist_tree,
    resolve_ref,
)

if TYPE_CHECKING:
    from ctrlplane_gitops.source.mirror import Mirror


def _open_mirror(
    remote: RemoteUrl, mirror_dir: Path, environ: Mapping[str, str], timeout_s: float
) -> Mirror:
    # A repository on this machine is read where it is, and needs nothing of this.
    from ctrlplane_gitops.source.mirror import Mirror

    return Mirror(remote, mirror_dir, environ, timeout_s)


class GitSource:
    """The files of one commit.

    ``location``: a path (bare repository, work tree, or a folder of one: then only the files below
    it, with paths relative to it) read in place; or a URL (https, ssh, ``git@host:path``, and
    ``file://`` with ``allow_file``) read through a bare mirror below ``mirror_dir``.
    ``ref``: branch, tag, commit or HEAD; ``refs/...`` where a branch and a tag share a name.
    ``environ``: PATH, proxies, ssh agent and ``CTRLPLANE_GIT_TOKEN`` are taken from it.
    SourceError at once when location or ref cannot be one.
    """

    def __init__(
        self,
        location: str,
        ref: str,
        mirror_dir: Path,
        *,
        allow_file: bool = False,
        environ: Mapping[str, str] | None = None,
        timeout_s: float = 300.0,
    ) -> None:
        check_ref(ref)
        self._where = scrub(location)
        self._ref = ref
        self._environ = os.environ if environ is None else environ
        parsed = parse_location(location, allow_file=allow_file)
        self._path = parsed if isinstance(parsed, Path) else None
        self._mirror = (
            None
            if isinstance(parsed, Path)
            else _open_mirror(parsed, mirror_dir, self._environ, timeout_s)
        )
        self._listed: tuple[str, Listing | None] = ("", None)

    def fetch(self) -> Snapshot:
        """The commit the ref names now; SourceError when it cannot be had."""
        try:
            if self._mirror is None:
                return self._snapshot_of_path()
            self._mirror.update(self._ref)
            try:
                return self._snapshot(self._mirror.git_dir, "")
            except BrokenRepositoryError:
                self._mirror.replace(self._ref)
                return self._snapshot(self._mirror.git_dir, "")
        except BrokenRepositoryError as broken:
            raise SourceError(
                f"{self._where} is damaged or incomplete: {broken}",
                hint="run git fsck; a partial clone must be completed by git fetch --refetch",
            ) from None

    def _snapshot_of_path(self) -> Snapshot:
        path = self._path
        if path is None or not path.exists():
            raise SourceError(f"{self._where} does not exist")
        if not path.is_dir():
            raise SourceError(f"{self._where} is not a directory")
        place = find_place(path)
        if place is None:
            raise SourceError(
                f"{self._where} is not inside a Git repository",
                hint="leave --ref out to read the directory as it is",
            )
        return self._snapshot(place.git_dir, place.prefix)

    def _snapshot(self, git_dir: Path, prefix: str) -> Snapshot:
        ref = self._ref
        if self._mirror is not None and check_ref(ref)[0] == "HEAD":
            ref = HEAD_REF + check_ref(ref)[1]
        commit = resolve_ref(git_dir, ref, self._environ, self._where)
        listing = self._list(git_dir, commit.id, prefix)
        return Snapshot(
            entries=listing.entries,
            read=partial(self._read, git_dir, listing.entries),
            commit=commit.id,
            ref=commit.ref.replace(HEAD_REF, "HEAD"),
            is_dirty=False,
            problems=tuple(listing.problems.values()),
            find_ancestors=partial(find_ancestors, git_dir, commit.id, environ=self._environ),
            changes=listing.changes,
        )

    def _list(self, git_dir: Path, commit: str, prefix: str) -> Listing:
        """The commit's files; from the second fetch on only what has changed is listed."""
        before, listing = self._listed
        if listing is not None and before != commit:
            listing = relist_tree(git_dir, listing, before, commit, prefix, self._environ)
        if listing is None:
            listing = list_tree(git_dir, commit, prefix, self._environ)
        if listing is None:
            raise SourceError(f"the commit {commit[:12]} has no folder {prefix!r}")
        self._listed = (commit, listing)
        return listing

    def _read(
        self, git_dir: Path, entries: Mapping[str, str], blobs: Collection[str]
    ) -> Mapping[str, bytes]:
        """Contents by blob id; SourceError for an id that is not in the snapshot."""
        if not _has_all(entries, blobs):
            raise SourceError(f"asked for a blob that is not in the snapshot of {self._where}")
        try:
            try:
                return read_blobs(git_dir, blobs, self._environ)
            except BrokenRepositoryError:
                if self._mirror is None:
                    raise
                self._mirror.replace(self._ref)
                return read_blobs(git_dir, blobs, self._environ)
        except BrokenRepositoryError as broken:
            raise SourceError(
                f"{self._where} is damaged or incomplete: {broken}", is_retryable=True
            ) from None


def _has_all(entries: Mapping[str, str], blobs: Collection[str]) -> bool:
    """Whether each of the blobs is one of the entries'. What has changed last stands last, and is
    what is most often asked for."""
    left = set(blobs)
    for blob in reversed(tuple(entries.values())):
        if not left:
            break
        left.discard(blob)
    return not left
