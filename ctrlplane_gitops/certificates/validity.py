"""When a certificate ends, read from its PEM with the standard library alone."""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import ResourceKey

_FIRST = re.compile(r"-----BEGIN CERTIFICATE-----\s+(.+?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


def read_not_after(pem: str) -> datetime:
    """The end of the first certificate (the leaf's); ValueError where there is none.

    It is the second time of ``validity`` (RFC 5280, 4.1): after the version, which may be left
    out, come serial number, algorithm, issuer and validity."""
    found = _FIRST.search(pem)
    if found is None:
        raise ValueError("there is no certificate in it")
    try:
        certificate, _ = _enter(a2b_base64(found[1]), _SEQUENCE)
        rest, _ = _enter(certificate, _SEQUENCE)
        if rest[:1] == bytes([_VERSION]):
            _, rest = _enter(rest, _VERSION)
        for _ in range(3):
            _, rest = _enter(rest)
        validity, _ = _enter(rest, _SEQUENCE)
        _, ends = _enter(validity)
        tag, (text, _) = ends[0], _enter(ends)
        return _read_time(tag, text.decode("ascii"))
    except (IndexError, UnicodeDecodeError, Base64Error):
        raise ValueError("its certificate cannot be read") from None


def find_ends(values: Mapping[ResourceKey, SecretValue]) -> dict[ResourceKey, datetime]:
    """By key, of those that are certificates: what is none is a mistake somebody else tells of."""
    found = {}
    for key, value in sorted(values.items()):
        with suppress(ValueError):
            found[key] = read_not_after(value.reveal().decode("ascii", "replace"))
    return found


def _enter(data: bytes, tag: int | None = None) -> tuple[bytes, bytes]:
    """The contents of the first DER value, and what comes after it."""
    if tag is not None and data[0] != tag:
        raise ValueError("its certificate cannot be read")
    size, begin = data[1], 2
    if size & 0x80:
        begin += size & 0x7F
        size = int.from_bytes(data[2:begin], "big")
    if len(data) < begin + size:
        raise ValueError("its certificate is cut off")
    return data[begin : begin + size], data[begin + size :]


def _read_time(tag: int, text: str) -> datetime:
    """
    >>> _read_time(_UTC_TIME, "491231235959Z").year, _read_time(_UTC_TIME, "500101000000Z").year
    (2049, 1950)
    """
    if tag == _UTC_TIME:
        text = f"{'20' if int(text[:2]) < 50 else '19'}{text}"
    elif tag != _GENERALIZED_TIME:
        raise ValueError("its certificate cannot be read")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
