"""What each sender says, by the examples of its documentation."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from ctrlplane_gitops.source.webhook import Delivery, Event, read_delivery
from tests.source.hooks import (
    AFTER,
    BEFORE,
    BODY,
    FORM,
    ID,
    KEY,
    NOW,
    SECRET,
    ZERO,
    Sign,
    as_form,
    azure,
    bitbucket,
    forgejo,
    generic,
    gitea,
    github,
    gitlab,
    gitlab_signed,
    read,
    refusal,
    standard,
    to_hex,
    with_header,
    without,
)

MAIN = "refs/heads/main"
HTTPS, SSH = "https://example.com/acme/specs.git", "git@example.com:acme/specs.git"
PUSH = {"ref": MAIN, "before": BEFORE, "after": AFTER}
HUB = {**PUSH, "repository": {"clone_url": HTTPS, "ssh_url": SSH, "full_name": "acme/specs"}}


def content(delivery: Delivery) -> tuple[object, ...]:
    given = (delivery.event.value, delivery.id, delivery.repository)
    return (*given, delivery.ref, delivery.before, delivery.after)


def encode(payload: object) -> bytes:
    return json.dumps(payload).encode()


WHOLE = ("push", ID, (HTTPS, SSH), MAIN, BEFORE, AFTER)


@pytest.mark.parametrize("sign", [github, gitea, forgejo])
def test_a_push_in_the_way_of_github(sign: Sign) -> None:
    body = encode(HUB)
    assert content(read(sign.__name__, sign(body), body)) == WHOLE


@pytest.mark.parametrize("sign", [github, gitea, forgejo])
@pytest.mark.parametrize("event", ["create", "delete", "pull_request", "", "PUSH"])
def test_no_other_event_is_a_push(sign: Sign, event: str) -> None:
    body = encode({"ref": "v1", "ref_type": "tag", "repository": 1})
    if not event:
        assert refusal(sign.__name__, sign(body, event=event), body).status == 400
        return
    delivery = read(sign.__name__, sign(body, event=event), body)
    assert content(delivery) == ("other", ID, (), "", "", "")


def test_github_tries_a_hook_by_a_ping() -> None:
    body = encode({"zen": "Speak like a human.", "hook_id": 1, "repository": HUB["repository"]})
    ping = read("github", github(body, event="ping"), body)
    assert content(ping) == ("ping", ID, (HTTPS, SSH), "", "", "")


def test_github_signs_a_form_as_it_is_sent() -> None:
    body = as_form(encode(HUB))
    headers = with_header(github(body), *FORM)
    assert content(read("github", headers, body)) == WHOLE
    of_payload = with_header(github(encode(HUB)), *FORM)
    assert refusal("github", of_payload, body).status == 401


@pytest.mark.parametrize("sign", [gitea, forgejo])
def test_gitea_signs_the_payload_before_it_is_put_in_a_form(sign: Sign) -> None:
    payload = encode({**HUB, "text": "ü&=%+ ;"})
    headers = with_header(sign(payload), *FORM)
    first = read(sign.__name__, headers, as_form(payload))
    assert content(first) == WHOLE
    # The same payload, encoded otherwise by who replays it, is the same delivery.
    otherwise = b"payload=" + b"".join(b"%%%02X" % byte for byte in payload)
    assert read(sign.__name__, headers, otherwise) == first
    of_body = with_header(sign(as_form(payload)), *FORM)
    assert refusal(sign.__name__, of_body, as_form(payload)).status == 401


@pytest.mark.parametrize(
    "body",
    [b"", b"payload", b"payload=", b"=", b"a=b", b"payload={}&payload={}", b"&", b"payload=%FF",
     b"payload=\xff", b"payload=[]", b"%70ayload=null", b"payload={}&x=1", b"payload=%"],
)  # fmt: skip
@pytest.mark.parametrize("sign", [github, gitea, forgejo])
def test_a_form_without_one_payload_is_refused(sign: Sign, body: bytes) -> None:
    headers = with_header(sign(body), *FORM)
    assert refusal(sign.__name__, headers, body).status in (400, 401)


def test_the_signature_of_github_is_that_of_its_documentation() -> None:
    secret, body = "It's a Secret to Everybody", b"Hello, World!"
    assert github(body, secret)[-1][1] == (
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    )
    assert refusal("github", github(body, secret), body, [secret]).status == 400


def test_the_signature_of_bitbucket_is_that_of_its_documentation() -> None:
    secret, body = "It's a Secret to Everybody", b"Hello World!"
    assert bitbucket(body, secret)[-1][1] == (
        "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
    )
    assert refusal("bitbucket", bitbucket(body, secret), body, [secret]).status == 400


def test_sha1_is_not_enough() -> None:
    assert refusal("github", without(github(BODY), "X-Hub-Signature-256"), BODY).status == 401


def test_a_wrong_signature_of_forgejo_is_not_made_good_by_that_of_gitea() -> None:
    headers = with_header(forgejo(BODY), "X-Forgejo-Signature", "0" * 64)
    assert refusal("forgejo", headers, BODY).status == 401
    body = encode(HUB)
    assert content(read("forgejo", gitea(body), body)) == WHOLE


GITLAB = {
    "object_kind": "push",
    "event_name": "push",
    **PUSH,
    "project": {"git_http_url": HTTPS, "git_ssh_url": SSH},
}


@pytest.mark.parametrize("sign", [gitlab, gitlab_signed])
def test_a_push_of_gitlab(sign: Sign) -> None:
    body = encode(GITLAB)
    delivery = read("gitlab", sign(body), body, [SECRET, KEY])
    assert content(delivery) == WHOLE


def test_gitlab_names_a_tag_in_full() -> None:
    body = encode({**GITLAB, "object_kind": "tag_push", "before": ZERO, "ref": "refs/tags/main"})
    delivery = read("gitlab", gitlab(body, event="Tag Push Hook"), body)
    assert (delivery.event, delivery.ref, delivery.before) == (Event.PUSH, "refs/tags/main", "")


def test_a_system_hook_of_gitlab_says_inside_what_it_is() -> None:
    for name, event in (("push", "push"), ("tag_push", "push"), ("project_create", "other")):
        body = encode({**GITLAB, "event_name": name})
        assert read("gitlab", gitlab(body, event="System Hook"), body).event.value == event
    body = encode({"project": "x"})
    assert read("gitlab", gitlab(body, event="Note Hook"), body).event is Event.OTHER


def test_a_signed_request_of_gitlab_is_not_saved_by_its_token() -> None:
    headers = [*gitlab_signed(BODY, "whsec_" + "QUJD" * 8), ("X-Gitlab-Token", SECRET)]
    assert refusal("gitlab", headers, BODY, [SECRET, KEY]).status == 401
    # With no key here there is nothing to judge the signature by.
    assert read("gitlab", headers, BODY, [SECRET]).event is Event.PUSH


def test_a_signing_key_of_gitlab_is_no_token() -> None:
    assert refusal("gitlab", gitlab(BODY, KEY), BODY, [KEY]).status == 401


def test_a_push_to_bitbucket_cloud() -> None:
    def side(kind: str, commit: str) -> dict[str, Any]:
        return {"type": kind, "name": "main", "target": {"type": "commit", "hash": commit}}

    def read_changes(*changes: dict[str, Any]) -> Delivery:
        links = {"html": {"href": "https://bitbucket.org/acme/specs"}}
        body = encode({"push": {"changes": changes}, "repository": {"links": links}})
        return read("bitbucket", bitbucket(body), body)

    moved = {"old": side("branch", BEFORE), "new": side("branch", AFTER)}
    urls = ("https://bitbucket.org/acme/specs",)
    assert content(read_changes(moved)) == ("push", ID, urls, MAIN, BEFORE, AFTER)
    tagged = read_changes({"old": None, "new": side("tag", AFTER)})
    assert content(tagged)[3:] == ("refs/tags/main", "", AFTER)
    removed = read_changes({"old": side("branch", BEFORE), "new": None})
    assert content(removed)[3:] == (MAIN, BEFORE, "")
    assert content(read_changes(moved, moved))[3:] == ("", "", "")
    unknown = read_changes({"old": None, "new": side("bookmark", AFTER)})
    assert content(unknown)[3:] == ("", "", "")


def test_a_push_to_bitbucket_data_center() -> None:
    clone = [{"href": HTTPS, "name": "http"}, {"href": SSH, "name": "ssh"}]
    change = {"ref": {"id": MAIN, "type": "BRANCH"}, "fromHash": BEFORE, "toHash": ZERO}
    body = encode({"changes": [change], "repository": {"links": {"clone": clone}}})
    delivery = read("bitbucket", bitbucket(body, event="repo:refs_changed"), body)
    assert content(delivery) == ("push", ID, (HTTPS, SSH), MAIN, BEFORE, "")
    body = encode({"test": True})
    delivery = read("bitbucket", bitbucket(body, event="diagnostics:ping"), body)
    assert content(delivery) == ("ping", ID, (), "", "", "")


def test_a_push_to_azure() -> None:
    updates = [{"name": MAIN, "oldObjectId": BEFORE, "newObjectId": AFTER}]
    url = "https://acme@dev.azure.com/acme/specs/_git/specs"
    repository = {"remoteUrl": url, "url": "https://dev.azure.com/acme/_apis/git/1"}
    resource = {"refUpdates": updates, "repository": repository}
    payload = {"id": ID, "eventType": "git.push", "notificationId": 3, "resource": resource}
    body = encode(payload)
    urls = ("https://dev.azure.com/acme/specs/_git/specs",)
    assert content(read("azure", azure(body), body)) == ("push", ID, urls, MAIN, BEFORE, AFTER)
    for less in ({**payload, "resource": None}, {**payload, "resource": {"pushId": 1}}):
        body = encode(less)
        assert content(read("azure", azure(body), body)) == ("push", ID, (), "", "", "")
    body = encode({"id": ID, "eventType": "build.complete", "resource": 1})
    assert read("azure", azure(body), body).event is Event.OTHER


@pytest.mark.parametrize("pair", [SECRET, f"{SECRET}:", f"hook:{SECRET}x", "hook:", f":x:{SECRET}"])
def test_only_the_password_vouches_for_azure(pair: str) -> None:
    value = "Basic " + base64.b64encode(pair.encode()).decode()
    assert refusal("azure", with_header(azure(BODY), "Authorization", value), BODY).status == 401


def test_the_user_name_of_azure_may_be_anything() -> None:
    for pair in (f":{SECRET}", f"somebody:{SECRET}"):
        value = "basic  " + base64.b64encode(pair.encode()).decode()
        headers = with_header(azure(BODY), "Authorization", value)
        assert read("azure", headers, BODY).event is Event.PUSH


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({}, ("push", "", (), "", "", "")),
        ({"id": "7", **HUB}, ("push", "7", (HTTPS, SSH), MAIN, BEFORE, AFTER)),
        ({"id": 7, "event": "push", "ref": MAIN}, ("push", "7", (), MAIN, "", "")),
        ({"repository": HTTPS, "after": "abc"}, ("push", "", (HTTPS,), "", "", "")),
        ({"type": "repository.push", "data": PUSH}, ("push", "", (), MAIN, BEFORE, AFTER)),
        ({"type": "ping", **HUB}, ("ping", "", (), "", "", "")),
        ({"type": "contact.created", "data": {"ref": 1}}, ("other", "", (), "", "", "")),
    ],
)
def test_what_a_generic_sender_may_say(payload: Any, expected: tuple[object, ...]) -> None:
    body = encode(payload)
    delivery = read("generic", generic(body), body)
    assert content(delivery) == (expected[0], expected[1] or delivery.digest, *expected[2:])


@pytest.mark.parametrize(
    "ref", ["main", "heads/main", "v1", "\u0000", "refs/heads/a\nb", "r" * 3000]
)
def test_a_ref_that_is_not_full_is_malformed(ref: str) -> None:
    body = encode({"ref": ref})
    assert refusal("generic", generic(body), body).status == 400


@pytest.mark.parametrize("given", ["a b", "é", "x" * 201, "\ud800"])
def test_an_id_that_cannot_be_one_is_malformed(given: str) -> None:
    assert (
        refusal("github", with_header(github(BODY), "X-GitHub-Delivery", given), BODY).status == 400
    )
    delivery = read("github", without(github(BODY), "X-GitHub-Delivery"), BODY)
    assert delivery.id == delivery.digest


def test_standard_webhooks_sign_as_the_reference_libraries_do() -> None:
    body = b'{"test": 2432232314}'
    at = NOW.fromtimestamp(1614265330, NOW.tzinfo)
    headers = standard(body, now=at, given_id="msg_p5jXN8AQM9LWM0D4loKWxJek")
    assert headers[-1][1].endswith(" v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
    delivery = read_delivery("generic", headers, body, [KEY], at)
    assert delivery.id == "msg_p5jXN8AQM9LWM0D4loKWxJek"


@pytest.mark.parametrize(("age_s", "is_taken"), [(0, 1), (300, 1), (-300, 1), (301, 0), (-301, 0)])
def test_standard_webhooks_are_taken_for_five_minutes(age_s: int, is_taken: int) -> None:
    headers = standard(BODY, now=NOW - timedelta(seconds=age_s))
    if is_taken:
        assert read("generic", headers, BODY, [KEY]).id == ID
    else:
        assert refusal("generic", headers, BODY, [KEY]).status == 401


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("webhook-id", "another"),
        ("webhook-id", ""),
        ("webhook-timestamp", "1"),
        ("webhook-timestamp", "9" * 400),
        ("webhook-timestamp", "٣" * 10),
        ("webhook-timestamp", "nan"),
        ("webhook-signature", "v1,"),
        ("webhook-signature", "v1"),
        ("webhook-signature", "v2," + "A" * 44),
    ],
)
def test_id_and_time_of_standard_webhooks_are_signed(header: str, value: str) -> None:
    headers = with_header(standard(BODY), header, value)
    assert refusal("generic", headers, BODY, [KEY]).status == 401


def test_an_id_with_a_full_stop_is_refused() -> None:
    headers = standard(BODY, given_id="a.1614265330")
    assert refusal("generic", headers, BODY, [KEY]).status == 401


def test_a_generic_sender_signs_either_way() -> None:
    secrets = [SECRET, KEY]
    assert read("generic", generic(BODY), BODY, secrets).event is Event.PUSH
    assert read("generic", standard(BODY), BODY, secrets).id == ID
    assert refusal("generic", generic(BODY), BODY, [KEY]).status == 401
    assert refusal("generic", standard(BODY), BODY, [SECRET]).status == 401
    bare = with_header(generic(BODY), "X-Signature-256", to_hex(BODY, SECRET))
    assert refusal("generic", bare, BODY).status == 401
