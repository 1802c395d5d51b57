"""Digests of what somebody sent. A small body is digested without letting go of the interpreter,
which OpenSSL does for each call on 2,048 bytes or more: that takes a few microseconds, and having
it back while a pass is being made takes a thousand times as long."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

_PIECE = 2047
_SMALL = 128 * 1024


def sha256_of(content: bytes) -> bytes:
    """
    >>> sha256_of(b"x" * 5000) == hashlib.sha256(b"x" * 5000).digest()
    True
    """
    made = hashlib.sha256()
    for piece in _cut(content):
        made.update(piece)
    return made.digest()


def hmac_of(key: bytes, content: bytes) -> bytes:
    """HMAC-SHA256.

    >>> hmac_of(b"k", b"x" * 5000) == hmac.digest(b"k", b"x" * 5000, "sha256")
    True
    """
    made = hmac.new(key, digestmod="sha256")
    for piece in _cut(content):
        made.update(piece)
    return made.digest()


def _cut(content: bytes) -> Iterator[bytes]:
    """A large one whole: others go on meanwhile."""
    step = _PIECE if len(content) <= _SMALL else len(content)
    return (content[start : start + step] for start in range(0, len(content), step))
