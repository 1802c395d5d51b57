"""Content hashes: when a spec differs, and when a release must be replaced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from json import encoder
from sys import intern
from typing import Any

from ctrlplane_gitops.state.template import ReleaseTemplate, SecretType

# Specs are trees that came from JSON, so none holds itself.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False)


def _build_encode() -> Callable[[Any], str]:
    """``_ENCODER.encode``, a third faster: that one builds its C part anew for every call."""
    make = getattr(encoder, "c_make_encoder", None)
    if make is None:
        return _ENCODER.encode
    chunks = make(
        None, _ENCODER.default, encoder.encode_basestring_ascii, None, ":", ",", True, False, True
    )
    return lambda value: "".join(chunks(value, 0))


_ENCODE = _build_encode()


def canonical_json(value: Any) -> str:
    """Compact, and the same text whatever the order of keys.

    >>> canonical_json({"b": [2], "a": "x"})
    '{"a":"x","b":[2]}'
    """
    return _ENCODE(value)


def fingerprint_of(text: str) -> str:
    """16 hex digits over the canonical JSON of attributes."""
    return _hash(text, 8)


def revision_of(template: ReleaseTemplate) -> str:
    """12 hex digits over everything that must be replaced when it changes.

    It is stored and stands on replicas as a label, so it must never change between versions for
    the same template: plain JSON lists in a fixed order, nothing's ``repr``. The value of a pull
    credential is left out: registries rotate them within hours, and no replica reads one.

    >>> revision_of(ReleaseTemplate("local", "shop:1.4.2"))
    '4f1fb1932d85'
    """
    text = canonical_json(
        {
            "provider": template.provider,
            "image": template.image,
            "command": template.command,
            "env": dict(template.env),
            "ports": [(item.name, item.port) for item in template.ports],
            "volumes": [(item.name, item.path, item.size_bytes) for item in template.volumes],
            "files": [(item.path, item.digest, item.mode) for item in template.files],
            "secrets": [
                (
                    item.secret.address,
                    item.type.value,
                    item.target,
                    "" if item.type is SecretType.REGISTRY else item.digest,
                )
                for item in template.secrets
            ],
        }
    )
    # Replicas carry it as well, and whoever looks at them keeps it.
    return intern(_hash(text, 6))


def blob_id(content: bytes) -> str:
    """The id Git gives a blob of this content (40 hex digits).

    >>> blob_id(b"hello\\n")
    'ce013625030ba8dba906f756967f9e9ca394464a'
    """
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _hash(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
