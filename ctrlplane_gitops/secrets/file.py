"""Secrets from files the operator put on this machine (Docker and Kubernetes mounts included)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ctrlplane_gitops.diagnostics import Diagnostic, warning
from ctrlplane_gitops.errors import SecretError
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.desired import SecretRef

MAX_BYTES = 1024 * 1024


class FileBackend:
    """``locator`` is a path relative to ``root``, the operator's folder of secrets.

    Specs come from Git and must not be able to read any file of the machine: a path may not leave
    ``root``, by ``..`` or by a symlink (links that stay inside are how Kubernetes mounts secrets).
    Absolute paths need ``is_absolute_allowed``. With ``root`` None only absolute paths can work.
    """

    name = "file"

    def __init__(self, root: Path | None, *, is_absolute_allowed: bool = False) -> None:
        self._root = root
        self._is_absolute_allowed = is_absolute_allowed

    def resolve(self, ref: SecretRef) -> SecretValue:
        """The file's bytes without one trailing newline; ``SecretError`` when it is missing, empty,
        larger than 1 MiB, not a regular file, outside the root, or writable by everybody."""
        path = self._locate(ref)
        try:
            # O_NONBLOCK: a FIFO in the way must not hang the pass.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _refusal(ref, f"cannot be read: {(error.strerror or 'error').lower()}") from None
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            raise _refusal(ref, "is not a regular file")
        with os.fdopen(descriptor, "rb") as file:
            if mode & stat.S_IWOTH:
                raise _refusal(ref, "may be written by everybody", hint="chmod o-w the file")
            value = file.read(MAX_BYTES + 1)
        if len(value) > MAX_BYTES:
            raise _refusal(ref, "is larger than 1 MiB")
        value = value[:-2] if value.endswith(b"\r\n") else value.removesuffix(b"\n")
        if not value:
            raise _refusal(ref, "is empty")
        return SecretValue(value)

    def review(self, ref: SecretRef) -> tuple[Diagnostic, ...]:
        """A warning when everybody on this machine may read the file. Not an error: Docker and
        Kubernetes mount secrets that way inside a container."""
        mode = self._locate(ref).stat().st_mode
        if not mode & stat.S_IROTH:
            return ()
        return (
            warning(
                "secret-world-readable",
                f"the file {ref.locator} may be read by everybody on this machine",
                address=str(ref.key),
                tenant=ref.key.tenant,
                hint="chmod 600 the file",
            ),
        )

    def _locate(self, ref: SecretRef) -> Path:
        """The real path of an existing file that the operator allows."""
        if "\0" in ref.locator:
            raise _refusal(ref, "has a NUL character in its name")
        path = Path(ref.locator)
        if path.is_absolute() and not self._is_absolute_allowed:
            raise _refusal(
                ref, "is absolute", hint="use a path below the operator's folder of secrets"
            )
        if self._root is None and not path.is_absolute():
            raise _refusal(
                ref,
                "is relative, and the operator set no folder of secrets",
            )
        try:
            if path.is_absolute() or self._root is None:
                return path.resolve(strict=True)
            root = self._root.resolve(strict=True)
            real = (root / path).resolve(strict=True)
        except FileNotFoundError:
            raise _refusal(ref, "does not exist") from None
        except (OSError, RuntimeError):
            raise _refusal(ref, "cannot be followed to a file") from None
        if not real.is_relative_to(root):
            raise _refusal(ref, "leads out of the operator's folder of secrets")
        return real


def _refusal(ref: SecretRef, why: str, hint: str | None = None) -> SecretError:
    return SecretError(f"{ref.key}: the secret file {ref.locator!r} {why}", hint=hint)
