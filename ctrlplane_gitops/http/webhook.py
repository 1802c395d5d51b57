"""Standard Webhooks: keys and signatures, the same for who signs and who checks.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
(``{id}.{timestamp}.{body}``, signatures ``v1,<base64>``, secrets ``whsec_<base64>``).
"""

from __future__ import annotations

import base64
import hmac

PREFIX = "whsec_"
MIN_KEY_BYTES = 16


def decode_key(secret: bytes) -> bytes:
    """The key that a secret ``whsec_<base64>`` is, whose padding some leave out; ValueError for
    anything else.

    >>> decode_key(b"whsec_aGVsbG8")
    b'hello'
    """
    text = secret.removeprefix(PREFIX.encode())
    if text == secret:
        raise ValueError(f"it does not begin with {PREFIX}")
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)


def sign(key: bytes, id: str, stamp: str, body: bytes) -> bytes:
    """The signature as ``webhook-signature`` has it. ``stamp`` is the time in seconds since the
    epoch; an ``id`` with a full stop would let what is signed be cut in more than one way.

    >>> sign(b"hello", "msg_1", "1700000000", b"{}")
    b'v1,w/+11lEC/YrfGTp3rz/VG2mVPrhRiNWTKr3Gkigrfcc='
    """
    signed = f"{id}.{stamp}.".encode() + body
    return b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
