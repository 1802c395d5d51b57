from __future__ import annotations

import pytest

from ctrlplane_gitops.errors import SecretError
from ctrlplane_gitops.secrets.conformance import check_backend
from ctrlplane_gitops.secrets.env import EnvBackend
from ctrlplane_gitops.state.desired import SecretRef
from ctrlplane_gitops.state.key import Kind, ResourceKey

KEY = ResourceKey(Kind.SECRET, "acme", "database-url")


def test_the_environment_keeps_every_promise_of_a_backend() -> None:
    def make(value: bytes | None) -> tuple[EnvBackend, SecretRef]:
        environ = {} if value is None else {"ACME_URL": value.decode()}
        return EnvBackend(environ), SecretRef(KEY, "env", "ACME_URL")

    check_backend(make)


def test_the_settings_of_the_controller_cannot_be_handed_out() -> None:
    backend = EnvBackend({"CTRLPLANE_GIT_TOKEN": "t0ken"})
    with pytest.raises(SecretError, match="is a setting of the control plane") as caught:
        backend.resolve(SecretRef(KEY, "env", "CTRLPLANE_GIT_TOKEN"))
    assert "t0ken" not in str(caught.value)
