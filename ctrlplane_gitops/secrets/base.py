"""The secret backend's protocol."""

from __future__ import annotations

from typing import Protocol

from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.desired import SecretRef


class SecretBackend(Protocol):
    name: str

    def resolve(self, ref: SecretRef) -> SecretValue:
        """The current value; ``SecretError`` naming the reference when there is none."""
        ...
