"""What holds for every sender of webhooks."""

from __future__ import annotations

import pytest

from ctrlplane_gitops.errors import DeliveryError, UsageError
from ctrlplane_gitops.source.webhook import (
    MAX_BODY_BYTES,
    SENDERS,
    Event,
    check_secret,
    read_delivery,
)
from tests.source.hooks import (
    BODY,
    FORM,
    JSON,
    KEY,
    NOW,
    OLD_SECRET,
    SECRET,
    UNSIGNED,
    github,
    read,
    refusal,
    with_header,
    without,
)
from tests.source.hooks import SENDERS as WAYS

every_way = pytest.mark.parametrize("way", list(WAYS))
every_signing_way = pytest.mark.parametrize("way", [w for w in WAYS if w not in UNSIGNED])


def test_every_sender_is_tested_here() -> None:
    assert {row[0] for row in WAYS.values()} == set(SENDERS)


@every_way
def test_a_delivery_with_the_secret_is_read(way: str) -> None:
    sender, sign, _, secret, _ = WAYS[way]
    delivery = read(sender, sign(BODY, secret), BODY, [secret])
    assert (delivery.sender, delivery.event) == (sender, Event.PUSH)


@every_way
def test_another_secret_is_refused(way: str) -> None:
    sender, sign, _, secret, old = WAYS[way]
    assert refusal(sender, sign(BODY, old), BODY, [secret]).status == 401


@every_way
def test_a_request_without_the_header_that_vouches_is_refused(way: str) -> None:
    sender, sign, header, secret, _ = WAYS[way]
    for headers in (without(sign(BODY, secret), header), with_header(sign(BODY), header, "")):
        if way == "forgejo":  # it sends the header of Gitea as well
            headers = without(headers, "X-Gitea-Signature")
        assert refusal(sender, headers, BODY, [secret]).status == 401


@every_way
def test_what_vouches_is_compared_as_bytes(way: str) -> None:
    sender, sign, header, secret, _ = WAYS[way]
    for value in (
        "é",
        "sha256=é",
        "\u20ac",
        "\ud800",
        "sha256=",
        "Basic é",
        "Basic \ud800",
        "x" * 99,
    ):
        headers = with_header(sign(BODY, secret), header, value)
        assert refusal(sender, headers, BODY, [secret]).status == 401


@every_way
def test_both_secrets_count_while_one_replaces_the_other(way: str) -> None:
    sender, sign, _, secret, old = WAYS[way]
    for used in (secret, old):
        for secrets in ([secret, old], [old, secret]):
            assert read(sender, sign(BODY, used), BODY, secrets).event is Event.PUSH
    assert refusal(sender, sign(BODY, old), BODY, [secret]).status == 401


@every_signing_way
def test_a_body_of_somebody_else_is_refused(way: str) -> None:
    sender, sign, _, secret, _ = WAYS[way]
    headers = sign(BODY, secret)
    for body in (BODY + b" ", BODY[:-1], b"", BODY.replace(b"main", b"evil")):
        assert refusal(sender, headers, body, [secret]).status == 401


@every_way
def test_the_same_delivery_again_has_the_same_id_and_digest(way: str) -> None:
    sender, sign, _, secret, old = WAYS[way]
    first = read(sender, sign(BODY, secret), BODY, [secret])
    again = read(sender, list(reversed(sign(BODY, old))), BODY, [secret, old])
    assert first == again
    other = BODY.replace(b"main", b"next")
    assert read(sender, sign(other, secret), other, [secret]).digest != first.digest
    assert first.digest.startswith("sha256:") and len(first.digest) == 71


@every_way
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"{",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"eventType": true, "ref": {}, "push": []}',
        b'{"eventType": "git.push", "resource": [], "ref": ["a"], "push": {"changes": [2]}}',
    ],
    ids=range(15),
)
def test_a_signed_body_that_is_no_payload_is_malformed(way: str, body: bytes) -> None:
    sender, sign, _, secret, _ = WAYS[way]
    assert refusal(sender, sign(body, secret), body, [secret]).status == 400


@every_way
def test_a_number_may_be_huge(way: str) -> None:
    sender, sign, _, secret, _ = WAYS[way]
    body = b'{"eventType": "git.push", "n": ' + b"9" * 100_000 + b', "f": 1e999999999}'
    assert read(sender, sign(body, secret), body, [secret]).event is Event.PUSH


@every_way
def test_a_header_that_was_sent_twice_is_malformed(way: str) -> None:
    sender, sign, header, secret, _ = WAYS[way]
    headers = sign(BODY, secret)
    value = next(value for name, value in headers if name.lower() == header.lower())
    assert refusal(sender, [*headers, (header.upper(), value)], BODY, [secret]).status == 400
    assert refusal(sender, [*headers, JSON], BODY, [secret]).status == 400


@every_way
def test_another_content_type_is_malformed(way: str) -> None:
    sender, sign, _, secret, _ = WAYS[way]
    for kind in ("text/plain", "application/xml", "é", "application/jsonx", "\ud800", FORM[1]):
        headers = with_header(sign(BODY, secret), "content-type", kind)
        assert refusal(sender, headers, BODY, [secret]).status == 400
    for kind in ("Application/JSON;charset=utf-8", "application/cloudevents+json", ""):
        headers = with_header(sign(BODY, secret), "content-type", kind)
        assert read(sender, headers, BODY, [secret]).event is Event.PUSH


@every_way
def test_a_body_may_have_five_mebibytes_and_no_more(way: str) -> None:
    sender, sign, _, secret, _ = WAYS[way]
    body = BODY + b" " * (MAX_BODY_BYTES - len(BODY))
    assert read(sender, sign(body, secret), body, [secret]).event is Event.PUSH
    assert refusal(sender, sign(body + b" ", secret), body + b" ", [secret]).status == 413


@pytest.mark.parametrize("sender", ["", "GitHub", "github/", "\ud800", "__class__"])
def test_an_unknown_sender_is_not_found(sender: str) -> None:
    assert refusal(sender, github(BODY), BODY).status == 404


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("secrets", [[], [""], ["short", ""], ["x" * 15], [" " * 40]])
def test_a_sender_without_a_secret_worth_its_name_is_not_found(
    sender: str, secrets: list[str]
) -> None:
    headers = next(row[1] for row in WAYS.values() if row[0] == sender)(BODY, (secrets or [""])[0])
    with pytest.raises(DeliveryError) as caught:
        read_delivery(sender, headers, BODY, secrets, NOW)
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("sender", "secret"),
    [
        ("github", ""),
        ("github", "x" * 15),
        ("github", " " + "x" * 20),
        ("github", "x" * 20 + "\n"),
        ("github", "x" * 20 + "\ud800"),
        ("generic", "whsec_"),
        ("generic", "whsec_QUJDREVGR0hJSktMTU5P"),  # 15 bytes
        ("gitlab", "whsec_!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"),
        ("gitlab", "whsec_éééééééééééééééééééé"),
        ("nobody", SECRET),
    ],
)
def test_a_secret_that_protects_nothing_is_refused(sender: str, secret: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_secret(sender, secret)
    assert not secret.strip() or secret not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("sender", SENDERS)
def test_a_secret_of_sixteen_bytes_is_taken(sender: str) -> None:
    for secret in ("x" * 16, "é" * 8, OLD_SECRET, KEY, KEY.rstrip("="), "whsec_" + "QUJD" * 6):
        check_secret(sender, secret)


def test_the_prefix_of_a_signing_key_is_plain_text_where_nobody_signs_that_way() -> None:
    secret = "whsec_not base64!"
    assert read("github", github(BODY, secret), BODY, [secret]).event is Event.PUSH
