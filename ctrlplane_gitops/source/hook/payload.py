"""Reading payloads nobody has checked. What is missing is empty; what is of another kind than the
documentation says is a ``DeliveryError`` 400 that names the place, never the value."""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ctrlplane_gitops.source.hook.delivery import Push
from ctrlplane_gitops.source.hook.request import Request, malformed

Payload = Mapping[str, Any]
MAX_TEXT = 2048
# ASCII in one field: no other ``&`` or ``=``, and whole escapes.
_IN_FORM = bytes(code for code in range(0x21, 0x7F) if code not in b"&=")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_TO_QUOTED_PRINTABLE = bytes.maketrans(b"%+", b"= ")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_USERINFO = re.compile(r"^(https?://)[^/@\s]*@", re.IGNORECASE)


def parse_json(content: bytes) -> Payload:
    """The object that a JSON text in UTF-8 holds. Numbers stay the text they are written as: nobody
    calculates here, and Python converts none of more than 4,300 digits."""
    if not content.strip():
        raise malformed("the body is empty")
    try:
        value = _DECODER.decode(content.decode())
    except (ValueError, RecursionError):
        raise malformed("the body is not JSON") from None
    if not isinstance(value, dict):
        raise malformed("the body is not a JSON object")
    return value


def parse_form(content: bytes) -> bytes:
    """The payload of ``payload=<JSON>``, which has to be the only field.

    >>> parse_form(b"payload=%7B%22a%22%3a+1%7d")
    b'{"a": 1}'
    """
    name, _, value = content.partition(b"=")
    if name != b"payload" or value.translate(None, _IN_FORM) or _BROKEN_ESCAPE.search(value):
        raise malformed("the body is not a form with the one field payload")
    # Quoted-printable is the same but for the sign. Some forms are decoded before anybody knows who
    # sent them, and ``urllib`` takes half a second for five mebibytes.
    return binascii.a2b_qp(value.translate(_TO_QUOTED_PRINTABLE))


def read_content_type(request: Request, *, may_be_form: bool = False) -> bool:
    """Is the body a form? If not, it is JSON, as it is without a type; 400 for another one."""
    kind = request.header("Content-Type").partition(";")[0].strip().lower()
    if may_be_form and kind == "application/x-www-form-urlencoded":
        return True
    if kind not in ("", "application/json") and not kind.endswith("+json"):
        raise malformed("the content type is not that of JSON")
    return False


def text_at(payload: Payload, *path: str) -> str:
    """The text at a path of keys, empty where it or something above it is missing or null."""
    value = value_at(payload, *path)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise malformed(f"{'.'.join(path)} of the payload is not a short text")
    return value


def objects_at(payload: Payload, *path: str) -> Sequence[Payload]:
    """The list of objects at a path, empty where it is missing or null."""
    value = value_at(payload, *path)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise malformed(f"{'.'.join(path)} of the payload is not a list of objects")
    return value


def value_at(payload: Payload, *path: str) -> Any:
    value: Any = payload
    for key in path:
        if value is None:
            return None
        if not isinstance(value, dict):
            raise malformed(f"{'.'.join(path)} of the payload cannot be read")
        value = value.get(key)
    return value


def to_push(ref: str, before: str, after: str) -> Push:
    """
    >>> to_push("refs/heads/main", "0" * 40, "5" * 40).before
    ''
    """
    # A short name may be that of a branch and of a tag.
    if ref and not ref.startswith("refs/"):
        raise malformed("the ref is not a full one, such as refs/heads/main")
    return Push(ref, _to_commit(before), _to_commit(after))


def push_at(payload: Payload) -> Push:
    """The push of a payload that has ``ref``, ``before`` and ``after`` at its top."""
    return to_push(*(text_at(payload, key) for key in ("ref", "before", "after")))


def repository_at(payload: Payload) -> tuple[str, ...]:
    """The clone URLs of a payload in the way of GitHub."""
    return to_urls(*(text_at(payload, "repository", key) for key in ("clone_url", "ssh_url")))


def only_push(pushes: Sequence[Push]) -> Push:
    """The push, or an empty one of several: then everything has to be looked at."""
    return pushes[0] if len(pushes) == 1 else Push()


def to_urls(*urls: str) -> tuple[str, ...]:
    """Those that are there, once each, without the user an https URL may name.

    >>> to_urls("https://fabrikam@dev.azure.com/x", "", "git@example.com:x.git")
    ('https://dev.azure.com/x', 'git@example.com:x.git')
    """
    return tuple(dict.fromkeys(_USERINFO.sub(r"\1", url) for url in urls if url))


def _to_commit(text: str) -> str:
    """A full commit id; the zeros that stand for no commit are none."""
    return text if _COMMIT.fullmatch(text) and text.strip("0") else ""


def _refuse_constant(name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


# Making one takes longer than what it is made for.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)
