"""Prefixed, sortable, parseable ids: ``evt_01JF3T...``.

The body is a ULID (48 bits of milliseconds, 80 random bits, Crockford base 32), so ids sort by
time as text. Source: the ULID specification, https://github.com/ulid/spec.
"""

from __future__ import annotations

import base64
import os
from datetime import datetime
from enum import StrEnum

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {char: value for value, char in enumerate(_ALPHABET)}
_LENGTH = 26
_RANDOM, _DRAWS = 10, 64
# Drawn ahead: every call of the kernel lets go of the interpreter, and passes make ids by the
# thousand.
_ahead: list[bytes] = []


class IdPrefix(StrEnum):
    """What an id names."""

    EVENT = "evt"
    AUDIT = "aud"
    INTENT = "int"
    PLAN = "pln"
    PASS = "pas"
    LEASE = "lse"
    PLANE = "pla"
    DELIVERY = "dlv"
    MESSAGE = "msg"


def new_id(prefix: IdPrefix, at: datetime) -> str:
    """A fresh id for something that happened at ``at`` (aware)."""
    number = (int(at.timestamp() * 1000) << 80) | int.from_bytes(_draw(), "big")
    chars = []
    for _ in range(_LENGTH):
        chars.append(_ALPHABET[number & 31])
        number >>= 5
    return f"{prefix}_{''.join(reversed(chars))}"


def _draw() -> bytes:
    """Random bytes that nobody else is given."""
    try:
        return _ahead.pop()
    except IndexError:
        drawn = os.urandom(_RANDOM * _DRAWS)
    first, *others = (drawn[at : at + _RANDOM] for at in range(0, len(drawn), _RANDOM))
    _ahead.extend(others)
    return first


# A child must not give what its parent will give as well.
os.register_at_fork(after_in_child=_ahead.clear)


def new_secret(prefix: str) -> str:
    """32 random bytes as base64url after the prefix: for what lets somebody in.

    >>> len(new_secret("cpt")), new_secret("cpt") == new_secret("cpt")
    (47, False)
    """
    return f"{prefix}_{base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip('=')}"


def parse_id(text: str, expected: IdPrefix) -> str:
    """The id itself when it is well formed and of the expected prefix; ValueError otherwise.

    >>> parse_id("pln_01JF3T0000000000000000000Z", IdPrefix.EVENT)
    Traceback (most recent call last):
    ...
    ValueError: 'pln_01JF3T0000000000000000000Z' is not an id of kind 'evt'
    """
    prefix, _, body = text.partition("_")
    if prefix != expected or len(body) != _LENGTH or any(char not in _VALUES for char in body):
        raise ValueError(f"{text!r} is not an id of kind {expected.value!r}")
    return text
