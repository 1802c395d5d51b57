"""Whatever is sent: a delivery or a refusal, and never a delivery nobody signed."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from typing import Any
from urllib.parse import parse_qs, quote_plus, unquote_to_bytes

from hypothesis import given, settings
from hypothesis import strategies as st

from ctrlplane_gitops.errors import DeliveryError
from ctrlplane_gitops.source.hook.payload import parse_form
from ctrlplane_gitops.source.webhook import SENDERS as NAMES
from ctrlplane_gitops.source.webhook import Delivery, read_delivery
from tests.source.hooks import (
    AFTER,
    BEFORE,
    BODY,
    FORM,
    ID,
    KEY,
    NOW,
    SECRET,
    SENDERS,
    UNSIGNED,
    Headers,
    as_form,
)

SECRETS = [SECRET, KEY]
ways = st.sampled_from(list(SENDERS))
known = sorted({name for row in SENDERS.values() for name, _ in row[1](BODY)})
values = st.text(max_size=80) | st.sampled_from(
    ["push", "ping", "repo:push", "repo:refs_changed", "Push Hook", "System Hook", FORM[1]]
)
headers = st.lists(st.tuples(st.sampled_from(known) | st.text(max_size=20), values), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
odd = scalars | st.sampled_from(
    [[], {}, [1], [{}], [None], {"href": 1}, "v1", "\ud800", "x" * 3000]
)
# All that any sender may say, in one payload.
_SIDE = {"type": "branch", "name": "main", "target": {"hash": AFTER}}
_PUSH = {"ref": "refs/heads/main", "before": BEFORE, "after": AFTER}
_URLS = {"clone_url": "https://a/b", "ssh_url": "a@b:c", "url": "https://a/b"}
_LINKS = {"clone": [{"href": "https://a/b"}], "html": {"href": "https://a/b"}}
_REPOSITORY = {**_URLS, "links": _LINKS}
_UPDATE = {"name": "refs/heads/main", "oldObjectId": BEFORE, "newObjectId": AFTER}
WHOLE = {
    **_PUSH,
    "repository": _REPOSITORY,
    "id": ID,
    "event_name": "push",
    "project": {"git_http_url": "https://a/b", "git_ssh_url": "a@b:c"},
    "push": {"changes": [{"old": _SIDE, "new": _SIDE}]},
    "changes": [{"ref": {"id": "refs/heads/main"}, "fromHash": BEFORE, "toHash": AFTER}],
    "eventType": "git.push",
    "resource": {"refUpdates": [_UPDATE], "repository": {"remoteUrl": "https://a@b/c"}},
    "data": {**_PUSH, "repository": _REPOSITORY},
}


def places(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """Every path below a value."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*path, key)
            yield from places(value[key], *path, key)


def put(value: Any, path: tuple[Any, ...], odd: Any) -> None:
    """Something odd in the place, when what was put before it has left the place there."""
    *way, last = path
    with suppress(KeyError, IndexError, TypeError):
        for key in way:
            value = value[key]
        if value[last] is not None:
            value[last] = deepcopy(odd)


changes = st.lists(st.tuples(st.sampled_from(list(places(WHOLE))), odd), max_size=3)


def outcome(sender: str, headers: Headers, body: bytes) -> Delivery | int:
    try:
        return read_delivery(sender, headers, body, SECRETS, NOW)
    except DeliveryError as error:
        return error.status


@given(st.sampled_from(NAMES) | st.text(), headers, st.binary(max_size=200))
def test_nothing_gets_in_without_a_secret(sender: str, headers: Headers, body: bytes) -> None:
    assert outcome(sender, headers, body) in (400, 401, 404)


@given(ways, st.binary(max_size=200), headers)
def test_any_signed_body_is_read_or_refused(way: str, body: bytes, more: Headers) -> None:
    sender, sign, _, secret, _ = SENDERS[way]
    found = outcome(sender, [*sign(body, secret), *more], body)
    assert isinstance(found, Delivery) or found in (400, 401)


@settings(max_examples=300)
@given(ways, changes, st.booleans())
def test_any_signed_payload_is_read_or_refused(way: str, changes: Any, is_form: bool) -> None:
    sender, sign, _, secret, _ = SENDERS[way]
    payload = deepcopy(WHOLE)
    for path, value in changes:
        put(payload, path, value)
    body = json.dumps(payload).encode()
    headers = sign(body, secret)
    if is_form and sender in ("gitea", "forgejo"):
        headers, body = [*headers[1:], FORM], as_form(body)
    elif is_form and sender == "github":
        body = as_form(body)
        headers = [*sign(body, secret)[2:], FORM]
    found = outcome(sender, headers, body)
    if isinstance(found, Delivery):
        check(found)
    else:
        assert found == 400 and changes


def check(delivery: Delivery) -> None:
    """Every text can be stored, shown and compared."""
    texts = [delivery.id, delivery.digest, delivery.ref, *delivery.repository]
    assert all(text.isprintable() and text.encode() and len(text) <= 2048 for text in texts if text)
    assert delivery.id and delivery.id.isascii()
    assert not delivery.ref or delivery.ref.startswith("refs/")
    for commit in (delivery.before, delivery.after):
        assert len(commit) in (0, 40, 64) and set(commit) <= set(string.hexdigits.lower())


@given(
    st.sampled_from([way for way in SENDERS if way not in UNSIGNED]),
    st.integers(0, len(BODY) * 8 - 1),
)
def test_a_body_changed_by_one_bit_is_refused(way: str, bit: int) -> None:
    sender, sign, _, secret, _ = SENDERS[way]
    changed = bytearray(BODY)
    changed[bit // 8] ^= 1 << bit % 8
    assert outcome(sender, sign(BODY, secret), bytes(changed)) == 401


@given(ways, st.data())
def test_what_vouches_changed_by_one_bit_is_refused(way: str, data: st.DataObject) -> None:
    sender, sign, header, secret, _ = SENDERS[way]
    made = sign(BODY, secret)
    value = next(value for name, value in made if name.lower() == header.lower())
    # Of basic authentication the user name, of Standard Webhooks other versions may differ.
    start = value.index(" ") + 10 if " " in value else 0
    place = data.draw(st.integers(start, len(value) - 1))
    bit = 1 << data.draw(st.integers(0, 6))
    # The bits that pad the end of base64 are none of what it says.
    if value[place:].strip("=") in ("", value[place]) and value.endswith("="):
        return
    changed = value[:place] + chr(ord(value[place]) ^ bit) + value[place + 1 :]
    others = [row for row in made if row[0].lower() not in (header.lower(), "x-gitea-signature")]
    found = outcome(sender, [*others, (header, changed)], BODY)
    assert found in (400, 401)


@given(st.text() | st.binary())
def test_a_form_is_decoded_as_everywhere(payload: str | bytes) -> None:
    body = "payload=" + quote_plus(payload)
    assert parse_form(body.encode()) == unquote_to_bytes(body[8:].replace("+", " "))
    assert parse_form(body.encode()) == (payload.encode() if isinstance(payload, str) else payload)


@given(st.just("payload=") | st.just(""), st.text("payload=%+&;aA09 {}\n\x00é", max_size=30))
def test_no_form_is_read_in_two_ways(start: str, text: str) -> None:
    body = (start + text).encode()
    try:
        found = parse_form(body)
    except DeliveryError as error:
        assert error.status == 400
        return
    assert parse_qs(body.decode("ascii"), keep_blank_values=True, strict_parsing=True) == {
        "payload": [found.decode("utf-8", "replace")]
    }
