"""Secrets as files: on a tmpfs of this machine, mounted read-only, one folder per replica set.

The folders above are 0700, so only we and root see the files here; a container sees the one file
that is mounted, whoever its user is. They never touch a disk and are gone after a reboot, after
which the replicas cannot start and the next pass replaces them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.state.action import Material
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.state.template import Release, SecretType

_TMPFS = Path("/dev/shm")


class SecretFiles:
    """``<tmpfs>/ctrlplane-<uid>/docker-<engine>/<plane>/<tenant>/<instance>/v<release>/<n>``."""

    def __init__(self, plane: str, host: str, environ: Mapping[str, str] = os.environ) -> None:
        runtime = environ.get("XDG_RUNTIME_DIR")
        base = _TMPFS if _TMPFS.is_dir() or not runtime else Path(runtime)
        engine = hashlib.blake2b(host.encode(), digest_size=4).hexdigest()
        self._base = base
        self._root = base / f"ctrlplane-{os.getuid()}" / f"docker-{engine}" / plane

    def write(self, release: Release, material: Material, effects: Effects) -> dict[str, str]:
        """Write what is missing or different; the path here by the path in the container."""
        directory = self._directory(release.instance) / f"v{release.number}"
        found = {}
        mounts = [item for item in release.template.secrets if item.type is SecretType.FILE]
        for number, mount in enumerate(mounts):
            path = directory / str(number)
            found[mount.target] = str(path)
            value = material.secrets[mount.secret].reveal()
            try:
                self._make_private(directory)
                if not path.exists() or path.read_bytes() != value:
                    with effects.made(f"secret:{mount.secret}"):
                        _write(path, value)
            except OSError as error:
                raise ProviderError(
                    f"{mount.secret} cannot be written: {error}", is_retryable=True
                ) from None
        return found

    def remove_release(self, instance: ResourceKey, release: int, effects: Effects) -> None:
        _remove(self._directory(instance) / f"v{release}", f"{instance} v{release}", effects)

    def remove_instance(self, instance: ResourceKey, effects: Effects) -> None:
        _remove(self._directory(instance), str(instance), effects)

    def find_releases(self) -> list[tuple[ResourceKey, int | None]]:
        """Instances and releases that secrets lie here for; None: a folder that is empty."""
        found: list[tuple[ResourceKey, int | None]] = []
        for directory in sorted(self._root.glob("*/*")):
            owner = instance_key(directory.parent.name, directory.name)
            names = [item.name for item in directory.iterdir()]
            numbers = sorted(int(x[1:]) for x in names if x[:1] == "v" and x[1:].isdigit())
            found += [(owner, number) for number in numbers] or [(owner, None)]
        return found

    def remove_tenant(self, tenant: str) -> None:
        """Empty folders only, so nothing is lost when somebody is just writing there."""
        with suppress(OSError):
            for directory in (self._root / tenant, self._root, self._root.parent):
                directory.rmdir()

    def _directory(self, instance: ResourceKey) -> Path:
        return self._root / instance.tenant / instance.name

    def _make_private(self, directory: Path) -> None:
        """All of it 0700 and ours: on a shared tmpfs somebody may have been there before us."""
        missing = directory.relative_to(self._base).parts
        path = self._base
        for part in missing:
            path = path / part
            path.mkdir(mode=0o700, exist_ok=True)
            found = path.lstat()
            is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
            if not is_ours or stat.S_IMODE(found.st_mode) & 0o077:
                raise ProviderError(f"{path} is not a private folder of ours")


def _write(path: Path, value: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    with os.fdopen(descriptor, "wb") as file:
        file.write(value)
    # Readable whatever our umask: the container's user is seldom root.
    temporary.chmod(0o444)
    temporary.replace(path)


def _remove(directory: Path, what: str, effects: Effects) -> None:
    if directory.is_dir():
        with effects.made(f"remove-secrets:{what}"):
            shutil.rmtree(directory, ignore_errors=True)
