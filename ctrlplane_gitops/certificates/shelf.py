"""Where issued certificates lie: a file per route (0600) in the state directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path

from ctrlplane_gitops.certificates.base import Issued
from ctrlplane_gitops.clock import parse_rfc3339, rfc3339
from ctrlplane_gitops.file import lock_file, read_file, write_file
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.value import struct


@struct
class Shelved:
    """``issuer`` is what that issuer called itself."""

    hosts: tuple[str, ...]
    issuer: str
    issued: Issued


class Shelf:
    """``<directory>/<tenant>/<route>.json``. Nothing of it is needed: what is missing or damaged
    is issued anew."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, key: ResourceKey) -> Shelved | None:
        """None when there is none that is whole."""
        try:
            raw = json.loads(read_file(self._path(key)) or "null")
            pem = raw["pem"].encode()
            if raw["digest"] != _digest(pem):
                return None
            times: tuple[datetime, datetime] = (
                parse_rfc3339(raw["not_before"]),
                parse_rfc3339(raw["not_after"]),
            )
            issued = Issued(SecretValue(pem), *times, bool(raw["is_capped"]))
            return Shelved(tuple(raw["hosts"]), str(raw["issuer"]), issued)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def put(self, key: ResourceKey, item: Shelved) -> None:
        """OSError when it cannot be written."""
        pem, issued = item.issued.pem.reveal(), item.issued
        raw = {
            "hosts": list(item.hosts),
            "issuer": item.issuer,
            "not_before": rfc3339(issued.not_before),
            "not_after": rfc3339(issued.not_after),
            "is_capped": issued.is_capped,
            "digest": _digest(pem),
            "pem": pem.decode(),
        }
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(path, json.dumps(raw, indent=1))

    def lock(self) -> AbstractContextManager[None]:
        """Two who issue at once would each show another one."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return lock_file(self._directory / "shelf")

    def list_keys(self) -> Iterator[ResourceKey]:
        """Of all that lies there, whole or not."""
        for path in sorted(self._directory.glob("*/*.json")):
            if not path.name.startswith("."):
                yield ResourceKey(Kind.CERTIFICATE, path.parent.name, path.stem)

    def remove(self, key: ResourceKey) -> None:
        """Twice is once."""
        path = self._path(key)
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()

    def _path(self, key: ResourceKey) -> Path:
        return self._directory / key.tenant / f"{key.name}.json"


def _digest(pem: bytes) -> str:
    return hashlib.blake2b(pem, digest_size=32).hexdigest()
