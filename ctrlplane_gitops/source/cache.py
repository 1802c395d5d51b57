"""What parsing a file gave, by blob id, so that an unchanged file is parsed once."""

from __future__ import annotations

import marshal
import os
import stat
import sys
from collections.abc import Collection, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ctrlplane_gitops.file import write_file


class ParseCache:
    """One file (mode 0600) of ``{blob id: payload}``; a payload is a list of JSON values.

    A cache is never needed: a file that is missing, damaged, of another ``version``, or that
    somebody else could have written reads as empty, and one that cannot be written is left alone.

    It is marshalled, a third of the time of JSON: with nothing but plain values in it, nothing can
    come out of it but plain values. Marshal does not stand damaged data, so a digest goes before.
    """

    def __init__(self, path: Path, version: str) -> None:
        self._path = path
        self._version = version
        self._entries: dict[str, list[Any]] | None = None

    def load(self, blob_ids: Collection[str]) -> dict[str, list[Any]]:
        """The payloads of those blobs that are known."""
        entries = self._load_entries()
        return {blob: entries[blob] for blob in blob_ids if blob in entries}

    def save(self, mapping: Mapping[str, list[Any]], keep: Collection[str]) -> bool:
        """Add ``mapping`` and drop what is neither in it nor in ``keep`` (the blobs in use).

        Written only when something is new or most of it is stale; False when it was not written.
        """
        known = self._load_entries()
        wanted = frozenset(keep)
        kept = {blob: payload for blob, payload in known.items() if blob in wanted}
        if all(known.get(blob) == payload for blob, payload in mapping.items()) and len(
            known
        ) <= 2 * len(kept):
            return False
        entries = kept | dict(mapping)
        self._entries = entries
        try:
            content = marshal.dumps(entries)
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_file(self._path, self._head_of(content) + content)
        except OSError:
            return False
        return True

    def forget(self) -> None:
        """Hold nothing in memory until somebody asks again."""
        self._entries = None

    def _load_entries(self) -> dict[str, list[Any]]:
        if self._entries is None:
            self._entries = self._read_file()
        return self._entries

    def _read_file(self) -> dict[str, list[Any]]:
        try:
            head, _, content = _read_private(self._path).partition(b"\n")
        except OSError:
            return {}
        if head + b"\n" != self._head_of(content):
            return {}
        entries: dict[str, list[Any]] = marshal.loads(content)
        return entries

    def _head_of(self, content: bytes) -> bytes:
        """Who can read it, and that it is whole: another Python may marshal otherwise."""
        digest = blake2b(content, digest_size=16).hexdigest()
        return f"{self._version} {sys.implementation.cache_tag} {digest}\n".encode()


def _read_private(path: Path) -> bytes:
    """The contents of a file that only we can write; OSError otherwise."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        if not is_ours or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"{path} is not ours alone")
        return file.read()
