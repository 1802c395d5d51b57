"""All secrets at once, by backend; one that cannot be resolved does not hide the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ctrlplane_gitops.diagnostics import did_you_mean
from ctrlplane_gitops.errors import SecretError
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.secrets.base import SecretBackend
from ctrlplane_gitops.secrets.env import EnvBackend
from ctrlplane_gitops.secrets.file import FileBackend
from ctrlplane_gitops.state.desired import SecretRef
from ctrlplane_gitops.state.key import ResourceKey


def build_backends(
    environ: Mapping[str, str], file_root: Path | None, *, is_absolute_allowed: bool = False
) -> dict[str, SecretBackend]:
    """The backends by the name a ``SecretRef`` uses."""
    backends: tuple[SecretBackend, ...] = (
        EnvBackend(environ),
        FileBackend(file_root, is_absolute_allowed=is_absolute_allowed),
    )
    return {backend.name: backend for backend in backends}


def resolve_all(
    refs: Iterable[SecretRef], backends: Mapping[str, SecretBackend]
) -> tuple[dict[ResourceKey, SecretValue], dict[ResourceKey, SecretError]]:
    """Values and failures by the secret's key; every ref is in exactly one of the two."""
    values: dict[ResourceKey, SecretValue] = {}
    failures: dict[ResourceKey, SecretError] = {}
    for ref in refs:
        backend = backends.get(ref.backend)
        if backend is None:
            failures[ref.key] = SecretError(
                f"{ref.key}: there is no secret backend {ref.backend!r}",
                hint=did_you_mean(ref.backend, sorted(backends)) or None,
            )
            continue
        try:
            values[ref.key] = backend.resolve(ref)
        except SecretError as error:
            failures[ref.key] = error
    return values, failures
