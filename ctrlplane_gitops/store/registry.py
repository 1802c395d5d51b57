"""Stores by where they are."""

from __future__ import annotations

from pathlib import Path

from ctrlplane_gitops.errors import CapabilityError, UsageError
from ctrlplane_gitops.store.base import Store

_KNOWN = "a path, sqlite:///path or memory:"


def open_store(location: str, *, is_read_only: bool = False) -> Store:
    """The store at ``location``: a path or ``sqlite:///absolute/path``, or ``memory:``.

    UsageError for anything else; StoreError when it cannot be opened."""
    if location == "memory:":
        from ctrlplane_gitops.store.memory import MemoryStore

        return MemoryStore()
    scheme, separator, rest = location.partition("://")
    if separator and scheme in ("postgres", "postgresql"):
        raise CapabilityError(
            "stores in PostgreSQL are not available in this version", hint=f"use {_KNOWN}"
        )
    if separator and scheme != "sqlite":
        raise UsageError(f"there is no store of kind {scheme!r}", hint=f"use {_KNOWN}")
    path = Path(rest if separator else location)
    if not path.is_absolute():
        raise UsageError(f"the store's path {str(path)!r} is not absolute", hint=f"use {_KNOWN}")
    from ctrlplane_gitops.store.sqlite import SqliteStore

    return SqliteStore(path, is_read_only=is_read_only)
