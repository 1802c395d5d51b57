"""What every secret backend must do; run it from the tests of a new one."""

from __future__ import annotations

import pickle
from collections.abc import Callable

from ctrlplane_gitops.errors import SecretError
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.secrets.base import SecretBackend
from ctrlplane_gitops.state.desired import SecretRef

MakeBackend = Callable[[bytes | None], tuple[SecretBackend, SecretRef]]
_VALUE = b"correct-horse-battery-staple"


def check_backend(make: MakeBackend) -> None:
    """AssertionError when a promise is broken. ``make(value)`` gives a backend in which the
    returned reference has that value, or none at all for None."""
    backend, ref = make(_VALUE)
    assert backend.name == ref.backend, "a reference names its backend"
    value = backend.resolve(ref)
    assert value == SecretValue(_VALUE), "the value is what was put there"
    assert backend.resolve(ref) == value, "resolving twice gives the same"
    _check_hidden(value)
    rotated, rotated_ref = make(b"another-value")
    assert rotated.resolve(rotated_ref).reveal() == b"another-value", "a new value is seen"
    for empty in (None, b""):
        _check_refusal(*make(empty))


def _check_hidden(value: SecretValue) -> None:
    text = f"{value} {value!r} {value!s}"
    assert _VALUE.decode() not in text, "the value does not print"
    try:
        pickle.dumps(value)
    except TypeError:
        return
    raise AssertionError("the value does not pickle")


def _check_refusal(backend: SecretBackend, ref: SecretRef) -> None:
    try:
        backend.resolve(ref)
    except SecretError as error:
        text = f"{error} {error.hint}"
        assert str(ref.key) in text, "a refusal names the secret"
        assert ref.locator in text, "a refusal names the reference"
        assert _VALUE.decode() not in text, "a refusal never shows a value"
    else:
        raise AssertionError("a missing or empty value is a SecretError")
