"""Where everything of a process provider lies on disk, and reading it in one scan."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.file import write_file
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.value import struct

_SHARED_MEMORY = Path("/dev/shm")


def find_memory_dir(runtime_dir: str | None) -> Path | None:
    """Where this user may keep a private directory in memory; None when nowhere. Not made yet.
    The first choice does not depend on how we were started, so all control planes agree on it."""
    for base in (_SHARED_MEMORY, Path(runtime_dir) if runtime_dir else None):
        if base is not None and os.access(base, os.W_OK | os.X_OK):
            directory = base / f"ctrlplane-{os.getuid()}"
            if not os.path.lexists(directory) or _is_ours(directory):
                return directory
    return None


def _is_ours(directory: Path) -> bool:
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


@struct
class Slug:
    """A replica's place: where its directory is, whether or not that can be read."""

    instance: ResourceKey
    release: int
    index: int


class Layout:
    """``<state_dir>/processes/<tenant>/<instance>/v<release>/<index>/`` and
    ``<state_dir>/volumes/<tenant>/<instance>/<name>/``; file secrets on a tmpfs."""

    def __init__(self, state_dir: str, memory_dir: Path | None = None) -> None:
        base = Path(state_dir).resolve()
        self.root = base / "processes"
        self._volumes = base / "volumes"
        self._memory = memory_dir

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

    def token(self, slug: Slug) -> str:
        """Names what a replica has outside its directory; no two replicas' are alike."""
        return blake2b(os.fsencode(self.replica_dir(slug)), digest_size=12).hexdigest()

    def secrets_dir(self, slug: Slug) -> Path:
        """On memory where the machine has it, so that no value reaches a disk."""
        if self._memory is None:
            return self.replica_dir(slug) / "secrets"
        return self._memory / self.token(slug)

    def ports_file(self) -> Path:
        """What ports are claimed in: shared with this user's other control planes if it can be."""
        directory = self._memory or self.root.parent / "claims"
        make_private_dir(directory)
        return directory / "ports"

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

    def scan_empty(self) -> Iterator[tuple[str, str]]:
        """Tenant and instance of every directory of an instance without any replica in it, and
        tenants without any instance (""); sorted."""
        for tenant in _names(self.root, is_root=True):
            names = [x for x in _names(self.root / tenant) if (self.root / tenant / x).is_dir()]
            if not names and (self.root / tenant).is_dir():
                yield tenant, ""
            for name in names:
                if next(self._scan_instance(instance_key(tenant, name)), None) is None:
                    yield tenant, name

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
    if not _is_ours(directory):
        raise ProviderError(f"{str(directory)!r} belongs to somebody else")
    if stat.S_IMODE(directory.lstat().st_mode) != 0o700:
        directory.chmod(0o700)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Atomically: a reader sees the old file or the new one."""
    write_file(path, json.dumps(value, indent=1, sort_keys=True))


def read_json(path: Path) -> Any:
    """The value, or None when the file is absent, unreadable or broken."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
