"""Where everything of a process provider lies on disk, and reading it in one scan."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.state.key import ResourceKey, instance_key

_TMPFS = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Slug:
    """A replica's place: where its directory is, whether or not that can be read."""

    instance: ResourceKey
    release: int
    index: int


class Layout:
    """``<state_dir>/processes/<tenant>/<instance>/v<release>/<index>/`` and
    ``<state_dir>/volumes/<tenant>/<instance>/<name>/``; file secrets on a tmpfs."""

    def __init__(self, state_dir: str) -> None:
        base = Path(state_dir).resolve()
        self.root = base / "processes"
        self._volumes = base / "volumes"

    def instance_dir(self, key: ResourceKey) -> Path:
        return self.root / key.tenant / key.name

    def tenant_dir(self, tenant: str) -> Path:
        return self.root / tenant

    def remove_tenant(self, tenant: str) -> None:
        """Its directory, and that of its volumes when no volume is left in it."""
        remove_tree(self.tenant_dir(tenant))
        with suppress(OSError):
            (self._volumes / tenant).rmdir()

    def replica_dir(self, slug: Slug) -> Path:
        return self.instance_dir(slug.instance) / f"v{slug.release}" / str(slug.index)

    def volumes_dir(self, key: ResourceKey) -> Path:
        return self._volumes / key.tenant / key.name

    def secrets_dir(self, slug: Slug) -> Path:
        """On memory where the machine has it, so that no value reaches a disk."""
        directory = self.replica_dir(slug)
        if not _TMPFS.is_dir():
            return directory / "secrets"
        digest = blake2b(os.fsencode(directory), digest_size=12).hexdigest()
        return _TMPFS / f"ctrlplane-{os.getuid()}" / digest

    def scan(self, instance: ResourceKey | None = None) -> Iterator[Slug]:
        """Every replica directory, sorted. OSError when the root itself cannot be read."""
        for tenant in _names(self.root, is_root=True):
            if instance is not None and tenant != instance.tenant:
                continue
            for name in _names(self.root / tenant):
                if instance is not None and name != instance.name:
                    continue
                yield from self._scan_instance(instance_key(tenant, name))

    def _scan_instance(self, key: ResourceKey) -> Iterator[Slug]:
        found = []
        for release in _names(self.instance_dir(key)):
            if release[:1] == "v" and release[1:].isdigit():
                indices = _names(self.instance_dir(key) / release)
                found += [(int(release[1:]), int(name)) for name in indices if name.isdigit()]
        for number, index in sorted(found):
            yield Slug(key, number, index)

    def remove_replica(self, slug: Slug) -> None:
        """The secrets first, then the directory and a release directory left empty."""
        remove_tree(self.secrets_dir(slug))
        directory = self.replica_dir(slug)
        remove_tree(directory)
        if not _names(directory.parent):
            remove_tree(directory.parent)


def _names(directory: Path, *, is_root: bool = False) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(directory))
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        if is_root:
            raise
        return []  # a stray file among the directories is none of ours


def remove_tree(directory: Path) -> None:
    """Remove a directory; symlinks in it are removed, never followed. Twice is once."""
    if directory.is_symlink() or directory.is_file():
        directory.unlink()
    elif directory.exists():
        shutil.rmtree(directory)


def make_private_dir(directory: Path) -> None:
    """A 0700 directory of ours; ProviderError when somebody else made it first."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ProviderError(f"{str(directory)!r} belongs to somebody else")
    if stat.S_IMODE(found.st_mode) != 0o700:
        directory.chmod(0o700)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Atomically: a reader sees the old file or the new one."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as file:
        json.dump(value, file, indent=1, sort_keys=True)
    Path(draft).replace(path)


def read_json(path: Path) -> Any:
    """The value, or None when the file is absent, unreadable or broken."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
