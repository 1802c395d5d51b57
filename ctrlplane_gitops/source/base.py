"""A source of specs: a directory or a Git ref, as a snapshot that is read lazily."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.value import struct


def _find_none(commits: Collection[str]) -> frozenset[str]:
    return frozenset()


@struct
class Snapshot:
    """All regular files at one moment.

    ``entries`` maps a repo-relative POSIX path to its Git blob id (SHA-1 hex), for a directory as
    well. ``read`` returns the contents of blob ids, in one batch. ``commit`` is the full commit id
    (for a directory: of the work tree's HEAD, "" outside Git); ``is_dirty`` is None where it was
    not looked at. ``problems`` are refused entries (symlinks, submodules, files too large).
    ``find_ancestors`` says which of some full commit ids are in the recent history of ``commit``
    (itself included); it asks Git, and knows none for a directory.
    ``changes`` are an earlier commit and the paths that came, went or hold something else since;
    None where that is not known."""

    entries: Mapping[str, str]
    read: Callable[[Collection[str]], Mapping[str, bytes]]
    commit: str = ""
    ref: str = ""
    is_dirty: bool | None = None
    problems: tuple[Diagnostic, ...] = ()
    find_ancestors: Callable[[Collection[str]], frozenset[str]] = _find_none
    changes: tuple[str, frozenset[str]] | None = None


class Source(Protocol):
    def fetch(self) -> Snapshot:
        """The current snapshot; ``SourceError`` when it cannot be had."""
        ...
