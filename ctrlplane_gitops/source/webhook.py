"""Webhook deliveries, checked and read: values in, a value or a refusal out.

A delivery only means *look again*. That it is signed keeps strangers from making us look; what it
says is a hint. No sender but those of Standard Webhooks signs a time, so a replay is found by who
remembers ``Delivery.id`` and ``Delivery.digest``, which is not done here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from ctrlplane_gitops.errors import DeliveryError, UsageError
from ctrlplane_gitops.http.webhook import MIN_KEY_BYTES, PREFIX, decode_key
from ctrlplane_gitops.source.hook.azure import read_azure
from ctrlplane_gitops.source.hook.bitbucket import read_bitbucket
from ctrlplane_gitops.source.hook.delivery import Delivery as Delivery
from ctrlplane_gitops.source.hook.delivery import Event as Event
from ctrlplane_gitops.source.hook.generic import read_generic
from ctrlplane_gitops.source.hook.gitea import read_forgejo, read_gitea
from ctrlplane_gitops.source.hook.github import read_github
from ctrlplane_gitops.source.hook.gitlab import read_gitlab
from ctrlplane_gitops.source.hook.request import Request, read_fields

MAX_BODY_BYTES = 5 * 1024 * 1024
_READERS: Mapping[str, Callable[[Request], Delivery]] = {
    "github": read_github,
    "gitlab": read_gitlab,
    "gitea": read_gitea,
    "forgejo": read_forgejo,
    "bitbucket": read_bitbucket,
    "azure": read_azure,
    "generic": read_generic,
}
SENDERS = tuple(_READERS)
SECRET_VARIABLE = "CTRLPLANE_WEBHOOK_SECRET"
# For the others ``whsec_`` is text like any other.
_STANDARD = ("gitlab", "generic")


def read_delivery(
    sender: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    secrets: Sequence[str],
    now: datetime,
) -> Delivery:
    """The delivery of a request, when one of ``secrets`` vouches for it.

    ``headers`` are names of any case and values, in the order and number they came in; ``body`` is
    what was sent, undecoded; ``secrets`` are those of this sender, the old one too while it is
    being replaced; ``now`` is aware.

    ``DeliveryError`` with the status to answer: 404 for a sender that does not exist or has no
    secret, 413 above ``MAX_BODY_BYTES``, 401 for a missing or wrong signature, token or password,
    400 for what cannot be read. Nothing else is raised, whatever was sent.
    """
    reader = _READERS.get(sender)
    tokens, keys = _usable(sender, secrets)
    if reader is None or not (tokens or keys):
        raise DeliveryError(404, "no webhook is configured here")
    if len(body) > MAX_BODY_BYTES:
        raise DeliveryError(413, f"the body has more than {MAX_BODY_BYTES} bytes")
    return reader(Request(sender, read_fields(headers), body, tokens, keys, now))


def secret_variable(sender: str) -> str:
    """
    >>> secret_variable("github")
    'CTRLPLANE_WEBHOOK_SECRET_GITHUB'
    """
    return f"{SECRET_VARIABLE}_{sender.upper()}"


def load_secrets(environ: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """The secrets of each sender that has any: those of its own variable, else those that are for
    all. One per line, while an old one is being replaced. UsageError, which names the variable, for
    one that protects nothing; an empty variable is none."""
    found = {}
    for sender in SENDERS:
        own = secret_variable(sender)
        variable = own if environ.get(own) else SECRET_VARIABLE
        secrets = [line for line in environ.get(variable, "").split("\n") if line]
        for secret in secrets:
            try:
                check_secret(sender, secret)
            except UsageError as error:
                raise UsageError(f"{variable}: {error.message}", hint=error.hint) from None
        if secrets:
            found[sender] = tuple(secrets)
    return found


def check_secret(sender: str, secret: str) -> None:
    """UsageError for a secret that protects nothing or cannot work; it says nothing of the secret.

    It needs 16 bytes, and for gitlab and generic a ``whsec_`` one 16 bytes once decoded.
    """
    _read_secret(sender, secret)


def _usable(sender: str, secrets: Sequence[str]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Secrets as they are, and keys of Standard Webhooks.

    Those that would not pass ``check_secret`` are left out: anybody can sign with an empty one."""
    tokens: list[bytes] = []
    keys: list[bytes] = []
    for secret in secrets:
        try:
            is_key, content = _read_secret(sender, secret)
        except UsageError:
            continue
        (keys if is_key else tokens).append(content)
    return tuple(tokens), tuple(keys)


def _read_secret(sender: str, secret: str) -> tuple[bool, bytes]:
    if sender not in _READERS:
        raise UsageError("there is no such webhook sender", hint=f"one of {', '.join(SENDERS)}")
    if secret != secret.strip():
        raise _refusal(sender, "begins or ends with white space")
    is_key = sender in _STANDARD and secret.startswith(PREFIX)
    try:
        # What an environment holds beside UTF-8 comes back as the bytes it was.
        content = secret.encode("utf-8", "surrogateescape")
        if is_key:
            content = decode_key(content)
    except ValueError:
        raise _refusal(sender, "cannot be decoded") from None
    if len(content) < MIN_KEY_BYTES:
        raise _refusal(sender, f"has fewer than {MIN_KEY_BYTES} bytes")
    return is_key, content


def _refusal(sender: str, why: str) -> UsageError:
    return UsageError(
        f"the webhook secret of {sender} {why}", hint="make one with: openssl rand -hex 32"
    )
