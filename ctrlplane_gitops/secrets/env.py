"""Secrets from the controller's own environment."""

from __future__ import annotations

from collections.abc import Mapping

from ctrlplane_gitops.errors import SecretError
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.desired import SecretRef

OWN_PREFIX = "CTRLPLANE_"


class EnvBackend:
    """``locator`` is the name of a variable in ``environ``.

    Our own settings are refused: whoever may commit a spec must not be able to hand the
    controller's credentials (``CTRLPLANE_GIT_TOKEN``) to an application.
    """

    name = "env"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def resolve(self, ref: SecretRef) -> SecretValue:
        """The variable's bytes; ``SecretError`` when it is missing, empty or our own setting."""
        if ref.locator.startswith(OWN_PREFIX):
            raise SecretError(
                f"{ref.key}: the variable {ref.locator} is a setting of the control plane",
                hint=f"use a variable whose name does not start with {OWN_PREFIX}",
            )
        value = self._environ.get(ref.locator)
        if not value:
            state = "not set" if value is None else "empty"
            raise SecretError(
                f"{ref.key}: the environment variable {ref.locator} is {state}",
                hint="set it in the environment this command runs in",
            )
        return SecretValue(value.encode("utf-8", "surrogateescape"))
