"""Every error the product raises, drawn once.

::

    CtrlplaneError
    ├── UsageError             64  the command line or a setting is wrong
    │   └── ConflictError      64  what is asked does not fit what there is at the moment
    ├── SpecError              65  the specs have errors (diagnostics carry the details)
    ├── GuardError              5  refused by a guard; names the flag or field that would allow it
    ├── StalePlanError          6  what a saved plan touches has moved
    ├── LockError               7  the lease is held by somebody else
    ├── CancelledError          8  interrupted, the step in flight was recorded
    ├── DeadlineError           9  timed out waiting
    ├── SourceError             1  specs could not be fetched (retryable or terminal)
    ├── DeliveryError           1  a webhook delivery is refused (carries the HTTP status)
    ├── ForgeError              1  a forge did not take a commit status (retryable or terminal)
    ├── StoreError              1  the store could not be read or written
    ├── SecretError             1  a secret could not be resolved (never carries the value)
    ├── CertificateError        1  a certificate could not be issued
    └── ProviderError           1  a provider answered with an error (retryable or terminal)
        ├── UnreachableError   69  a provider did not answer
        ├── ReplicaError        1  there is no such replica, or none that runs
        ├── CapabilityError     1  a provider cannot do what was asked
        └── ImageError          1  an image could not be resolved or pulled

A user's mistake in YAML is a diagnostic, not an exception; ``SpecError`` only ends the command.
Vendor errors are translated once, in the adapter that calls the vendor.
"""

from __future__ import annotations


class CtrlplaneError(Exception):
    """Base of all errors: a cause in one sentence and, where there is one, the way out.

    ``message`` never contains a secret value. ``hint`` says what the user can do.
    ``is_retryable`` says whether the same call may succeed later without a change, and
    ``retry_after_s`` how long we were asked to wait until then. ``is_refusal``: whoever runs the
    place has to allow it first (a policy, a quota, a right, a name that is taken); nothing is wrong
    with what was asked for.
    """

    code = "error"
    exit_code = 1
    is_refusal = False
    retry_after_s: float | None = None

    def __init__(
        self, message: str, *, hint: str | None = None, is_retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.is_retryable = is_retryable

    def __str__(self) -> str:
        return self.message

    @property
    def explained(self) -> str:
        """Cause and way out in one line.

        >>> CtrlplaneError("the disk is full", hint="make room").explained
        'the disk is full (make room)'
        """
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(CtrlplaneError):
    """The command line or a setting is wrong."""

    code = "usage"
    exit_code = 64


def explain_missing(who: str, missing: ModuleNotFoundError, extra: str) -> Exception:
    """What to raise where a package is not installed that one of our extras brings; ``missing``
    itself where it is a module of ours, which is a bug."""
    if (missing.name or "").startswith("ctrlplane_gitops"):
        return missing
    return UsageError(
        f"{who} needs the Python package {missing.name!r}",
        hint=f"pip install 'ctrlplane-gitops[{extra}]'",
    )


class ConflictError(UsageError):
    """What is asked does not fit what there is at the moment: no rollout is under way."""

    code = "conflict"


class SpecError(CtrlplaneError):
    """The specs have errors; the diagnostics were shown before this is raised."""

    code = "invalid-specs"
    exit_code = 65


class GuardError(CtrlplaneError):
    """A guard refused; ``hint`` names the flag or field that would allow it."""

    code = "refused"
    exit_code = 5


class StalePlanError(CtrlplaneError):
    """Something the saved plan touches has moved since it was made."""

    code = "stale-plan"
    exit_code = 6


class LockError(CtrlplaneError):
    """The lease could not be obtained in time, or was lost."""

    code = "locked"
    exit_code = 7


class CancelledError(CtrlplaneError):
    """The user interrupted; what was in flight is recorded."""

    code = "cancelled"
    exit_code = 8


class DeadlineError(CtrlplaneError):
    """Timed out waiting."""

    code = "timed-out"
    exit_code = 9


class SourceError(CtrlplaneError):
    """The specs could not be fetched."""

    code = "source"


class DeliveryError(CtrlplaneError):
    """A webhook delivery is refused, with the HTTP ``status`` to answer.

    400 malformed, 401 not or wrongly signed, 404 nobody listens there, 413 too large. The message
    may be shown to the sender: it holds nothing of the body, the headers or the secrets."""

    code = "delivery"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ForgeError(CtrlplaneError):
    """A forge did not take a commit status. The message never holds the token."""

    code = "forge"


class StoreError(CtrlplaneError):
    """The store could not be opened, read or written."""

    code = "store"


class SecretError(CtrlplaneError):
    """A secret could not be resolved. The message names the reference, never the value."""

    code = "secret"


class CertificateError(CtrlplaneError):
    """A certificate could not be issued. Never carries a key."""

    code = "certificate"


class ProviderError(CtrlplaneError):
    """A provider answered with an error."""

    code = "provider"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        is_retryable: bool = False,
        is_refusal: bool = False,
    ) -> None:
        super().__init__(message, hint=hint, is_retryable=is_retryable)
        self.is_refusal = is_refusal


class UnreachableError(ProviderError):
    """A provider did not answer."""

    code = "unreachable"
    exit_code = 69

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, is_retryable=True)


class ReplicaError(ProviderError):
    """There is no such replica, or none that runs."""

    code = "replica"


class CapabilityError(ProviderError):
    """A provider cannot do what was asked; the message names the capability."""

    code = "capability"


class ImageError(ProviderError):
    """An image could not be resolved or pulled."""

    code = "image"
