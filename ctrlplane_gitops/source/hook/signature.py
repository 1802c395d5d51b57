"""Is a delivery from somebody who knows a secret? Everything is compared as bytes, in constant
time, and with every secret, so that the time says nothing about which one it was."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterable

from ctrlplane_gitops.http.webhook import sign
from ctrlplane_gitops.source.hook.digest import hmac_of
from ctrlplane_gitops.source.hook.request import Request, unauthorized

TOLERANCE_S = 300
_STAMP = re.compile(r"[0-9]{1,12}")
# A full stop would let what is signed be cut into id, time and body in more than one way.
_SIGNED_ID = re.compile(r"[-!-,/-~]{1,200}")


def check_hex(request: Request, header: str, signed: bytes, prefix: str = "") -> None:
    """401 unless the header is ``prefix`` and the HMAC-SHA256 of ``signed`` in lower-case hex."""
    given = request.header(header)
    if not given:
        raise unauthorized(f"the header {header} is missing")
    made = (prefix + hmac_of(key, signed).hex() for key in request.tokens)
    if not _is_one_of(given, (text.encode() for text in made)):
        raise unauthorized("the signature does not match")


def check_token(request: Request, header: str) -> None:
    """401 unless the header is one of the secrets itself."""
    given = request.header(header)
    if not given:
        raise unauthorized(f"the header {header} is missing")
    if not _is_one_of(given, request.tokens):
        raise unauthorized("the token does not match")


def check_password(request: Request) -> None:
    """401 unless the password of HTTP basic authentication is one of the secrets.

    The user name may be anything: it is no secret. (RFC 7617: it has no colon, a password may.)"""
    scheme, _, encoded = request.header("Authorization").partition(" ")
    if scheme.lower() != "basic":
        raise unauthorized("basic authentication is missing")
    try:
        pair = base64.b64decode(_to_bytes(encoded.strip()), validate=True)
    except ValueError:
        raise unauthorized("basic authentication cannot be read") from None
    _, _, password = pair.partition(b":")
    if not _equals_one(password, request.tokens):
        raise unauthorized("the password does not match")


def check_standard(request: Request) -> str:
    """The signed id of a delivery by Standard Webhooks, empty where it does not take that way.

    Taken when there is a key for it and ``webhook-signature`` was sent; what is signed has to
    match then, whatever else the request carries. 401 as well when ``webhook-timestamp`` is more
    than five minutes away from now.

    Several signatures are separated by spaces. The specification leaves the tolerance open; five
    minutes is that of its reference libraries.
    """
    signatures = request.header("webhook-signature")
    if not request.keys or not signatures:
        return ""
    given_id, stamp = request.header("webhook-id"), request.header("webhook-timestamp")
    if not _SIGNED_ID.fullmatch(given_id) or not _STAMP.fullmatch(stamp):
        raise unauthorized("webhook-id or webhook-timestamp is missing or cannot be read")
    made = [sign(key, given_id, stamp, request.body) for key in request.keys]
    # As many as a rotation needs, and no more work than that for who knows no secret.
    matches = [_is_one_of(given, made) for given in signatures.split()[:10]]
    if not any(matches):
        raise unauthorized("the signature does not match")
    if abs(request.now.timestamp() - int(stamp)) > TOLERANCE_S:
        raise unauthorized("the timestamp is more than five minutes from the time here")
    return given_id


def _is_one_of(given: str, expected: Iterable[bytes]) -> bool:
    return _equals_one(_to_bytes(given), expected)


def _equals_one(given: bytes, expected: Iterable[bytes]) -> bool:
    found = False
    for one in expected:
        found |= hmac.compare_digest(given, one)
    return found


def _to_bytes(value: str) -> bytes:
    """The bytes of a header. Servers decode them as Latin-1 (PEP 3333); ``compare_digest`` would
    raise on text that is not ASCII."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
