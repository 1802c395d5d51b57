"""Senders of webhooks, as their documentation describes them."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import quote_plus

import pytest

from ctrlplane_gitops.errors import DeliveryError
from ctrlplane_gitops.source.webhook import Delivery, read_delivery

Headers = list[tuple[str, str]]

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECRET = "9f86d081884c7d659a2feaa0c55ad015"
OLD_SECRET = "an older one, still in use: $1:é"
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "f6266f16-1bf3-46a5-9ea4-602e06ead473"
BEFORE = "28e1879d029cb852e4844d9c718537df08844e03"
AFTER = "bffeb74224043ba2feb48d137756c8a9331c449a"
ZERO = "0" * 40
JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "application/x-www-form-urlencoded")


def to_hex(body: bytes, secret: str) -> str:
    return hmac.digest(secret.encode(), body, "sha256").hex()


def github(body: bytes, secret: str = SECRET, event: str = "push") -> Headers:
    return [
        ("User-Agent", "GitHub-Hookshot/044aadd"),
        JSON,
        ("X-GitHub-Delivery", ID),
        ("X-GitHub-Event", event),
        ("X-GitHub-Hook-ID", "292430182"),
        ("X-Hub-Signature", "sha1=" + hmac.digest(secret.encode(), body, "sha1").hex()),
        ("X-Hub-Signature-256", "sha256=" + to_hex(body, secret)),
    ]


def gitlab(body: bytes, secret: str = SECRET, event: str = "Push Hook") -> Headers:
    return [
        JSON,
        ("X-Gitlab-Event", event),
        ("X-Gitlab-Event-UUID", "13792a34-cac6-4fda-95a8-c58e00a3954e"),
        ("X-Gitlab-Webhook-UUID", "6a0c9f5a-6a1f-4b67-8f65-5ebfbbf2fcd8"),
        ("Idempotency-Key", ID),
        ("X-Gitlab-Token", secret.encode().decode("latin-1")),
    ]


def gitea(body: bytes, secret: str = SECRET, event: str = "push") -> Headers:
    return [
        JSON,
        ("X-Gitea-Delivery", ID),
        ("X-Gitea-Event", event),
        ("X-Gitea-Signature", to_hex(body, secret)),
        ("X-GitHub-Delivery", ID),
        ("X-GitHub-Event", event),
        ("X-Hub-Signature-256", "sha256=" + to_hex(body, secret)),
    ]


def forgejo(body: bytes, secret: str = SECRET, event: str = "push") -> Headers:
    return [
        *gitea(body, secret, event),
        ("X-Forgejo-Delivery", ID),
        ("X-Forgejo-Event", event),
        ("X-Forgejo-Signature", to_hex(body, secret)),
    ]


def bitbucket(body: bytes, secret: str = SECRET, event: str = "repo:push") -> Headers:
    return [
        JSON,
        ("X-Event-Key", event),
        ("X-Hook-UUID", "1f2ce5bb-9c5b-4a1c-8f1f-3f0c0a1c2d3e"),
        ("X-Request-UUID" if event == "repo:push" else "X-Request-Id", ID),
        ("X-Attempt-Number", "1"),
        ("X-Hub-Signature", "sha256=" + to_hex(body, secret)),
    ]


def azure(body: bytes, secret: str = SECRET) -> Headers:
    pair = base64.b64encode(f"hook:{secret}".encode()).decode()
    return [
        ("Content-Type", "application/json; charset=utf-8"),
        ("Authorization", f"Basic {pair}"),
    ]


def generic(body: bytes, secret: str = SECRET) -> Headers:
    return [JSON, ("x-signature-256", "sha256=" + to_hex(body, secret))]


def standard(body: bytes, secret: str = KEY, now: datetime = NOW, given_id: str = ID) -> Headers:
    stamp = int(now.timestamp())
    key = base64.b64decode(secret.removeprefix("whsec_"))
    made = hmac.digest(key, f"{given_id}.{stamp}.".encode() + body, "sha256")
    return [
        JSON,
        ("webhook-id", given_id),
        ("webhook-timestamp", str(stamp)),
        ("webhook-signature", "v1a,AAAA v1," + base64.b64encode(made).decode()),
    ]


def gitlab_signed(body: bytes, secret: str = KEY) -> Headers:
    unsigned = [row for row in gitlab(body) if row[0] != "X-Gitlab-Token"]
    return [*unsigned, *standard(body, secret)[1:]]


Sign = Callable[..., Headers]
# name of the test, sender, how it signs, its header that vouches, two secrets
SENDERS: dict[str, tuple[str, Sign, str, str, str]] = {
    "github": ("github", github, "X-Hub-Signature-256", SECRET, OLD_SECRET),
    "gitlab": ("gitlab", gitlab, "X-Gitlab-Token", SECRET, OLD_SECRET),
    "gitlab-signed": ("gitlab", gitlab_signed, "webhook-signature", KEY, "whsec_" + "QUJD" * 8),
    "gitea": ("gitea", gitea, "X-Gitea-Signature", SECRET, OLD_SECRET),
    "forgejo": ("forgejo", forgejo, "X-Forgejo-Signature", SECRET, OLD_SECRET),
    "bitbucket": ("bitbucket", bitbucket, "X-Hub-Signature", SECRET, OLD_SECRET),
    "azure": ("azure", azure, "Authorization", SECRET, OLD_SECRET),
    "generic": ("generic", generic, "x-signature-256", SECRET, OLD_SECRET),
    "standard": ("generic", standard, "webhook-signature", KEY, "whsec_" + "QUJD" * 8),
}
# These send a password: it says nothing of the body.
UNSIGNED = ("gitlab", "azure")
BODY = json.dumps({"eventType": "git.push", "ref": "refs/heads/main", "after": AFTER}).encode()


def as_form(payload: bytes) -> bytes:
    return b"payload=" + quote_plus(payload).encode()


def with_header(headers: Headers, name: str, value: str) -> Headers:
    return [*without(headers, name), (name, value)]


def without(headers: Headers, name: str) -> Headers:
    return [row for row in headers if row[0].lower() != name.lower()]


def read(
    sender: str, headers: Headers, body: bytes, secrets: Sequence[str] = (SECRET,)
) -> Delivery:
    return read_delivery(sender, headers, body, secrets, NOW)


def refusal(
    sender: str, headers: Headers, body: bytes, secrets: Sequence[str] = (SECRET,)
) -> DeliveryError:
    """The error a request ends with; it shows nothing of what was sent, nor of the secrets."""
    with pytest.raises(DeliveryError) as caught:
        read(sender, headers, body, secrets)
    error = caught.value
    # Nor does a traceback that is logged: no cause is chained on to it.
    assert error.__cause__ is None and error.__suppress_context__ == (error.__context__ is not None)
    hidden = [*secrets, *(value for name, value in headers if name.lower() != "content-type")]
    assert not [text for text in hidden if len(text) > 3 and text in str(error)]
    assert error.hint is None and "\n" not in str(error)
    return error
