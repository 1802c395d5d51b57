"""Webhooks over real HTTP: who is let in, what is answered, and what the ledger says of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctrlplane_gitops.api.application import MAX_BODY
from ctrlplane_gitops.source.webhook import SENDERS as NAMES
from ctrlplane_gitops.state.delivery import DeliveryOutcome
from ctrlplane_gitops.store.sqlite import SqliteStore
from tests.api.hook_kit import (
    MAIN,
    SECRETS,
    Hooks,
    deliver,
    deliver_chunked,
    push_body,
    running,
    signed,
)
from tests.source.hooks import AFTER, SENDERS, UNSIGNED, with_header, without

WRONG = "another secret, of enough bytes"
WRONG_KEY = "whsec_" + "WFla" * 8


@pytest.fixture
def hooks(tmp_path: Path) -> Iterator[Hooks]:
    """Written down in a file, as ``serve`` does."""
    store = SqliteStore(tmp_path / "state.db")
    made = Hooks(store)
    yield made
    store.close()
    assert made.bugs == []


@pytest.fixture(params=[True, False], ids=["lane", "route"])
def port(hooks: Hooks, request: pytest.FixtureRequest) -> Iterator[int]:
    """With the lane of ``serve``, and as in somebody else's application."""
    with running(hooks, has_lane=request.param) as port:
        yield port


def sender_of(way: str) -> str:
    return SENDERS[way][0]


@pytest.mark.parametrize("way", SENDERS)
def test_a_good_delivery_is_accepted_and_leads_to_one_look(
    hooks: Hooks, port: int, way: str
) -> None:
    body = push_body()
    status, answer = deliver(port, sender_of(way), signed(way, body), body)
    assert (status, answer["outcome"]) == (202, "accepted")
    [row] = hooks.rows()
    assert (row.id, row.outcome, row.sender) == (answer["id"], "accepted", sender_of(way))
    assert (row.ref, row.announced, row.event) == (MAIN, AFTER, "push")
    assert hooks.woken == 1


@pytest.mark.parametrize("way", SENDERS)
def test_a_bad_signature_is_refused_and_nothing_of_it_is_kept(
    hooks: Hooks, port: int, way: str
) -> None:
    sender, _, voucher, good, _ = SENDERS[way]
    body = push_body(ref="refs/heads/evil")
    key = WRONG_KEY if good.startswith("whsec_") else WRONG
    headers = signed(way, body, key)
    bad = [headers, without(headers, voucher), with_header(headers, voucher, "ü")]
    if way not in UNSIGNED:
        bad.append(signed(way, body + b" "))
    for given in bad:
        sent = [(name, value.encode("latin-1").decode("latin-1")) for name, value in given]
        status, answer = deliver(port, sender, sent, body)
        assert (status, answer["code"]) == (401, "unauthorized"), answer
    [row] = hooks.rows()
    assert (row.outcome, row.reason, row.count) == ("rejected", "signature", len(bad))
    assert (row.ref, row.announced, row.digest, row.given_id) == ("", "", "", "")
    assert hooks.woken == 0
    [line] = hooks.logged
    assert line.startswith(f"webhook {sender}: ") and key not in line


@pytest.mark.parametrize("secret", ["", "x", "short secret"])
@pytest.mark.parametrize("way", SENDERS)
def test_without_a_secret_of_enough_bytes_nobody_is_let_in(way: str, secret: str) -> None:
    sender = sender_of(way)
    hooks, body = Hooks(secrets={sender: (secret,)}), push_body()
    is_key = SENDERS[way][3].startswith("whsec_")
    headers = signed(way, body, "whsec_" if is_key else secret or " ")
    with running(hooks) as port:
        status, answer = deliver(port, sender, headers, body)
    assert (status, answer["code"]) == (404, "not-found")
    assert hooks.woken == 0


@pytest.mark.parametrize("sender", [*NAMES, "nobody", "GitHub", "github%2f..", "%ff"])
def test_a_sender_without_a_secret_is_not_there(sender: str) -> None:
    hooks = Hooks(secrets={})
    with running(hooks) as port:
        status, answer = deliver(port, sender, [], b"x" * 1000)
        nothing = deliver(port, "x/y", [], b"")
    # Nobody learns which senders there could be; the log says it to us.
    assert (status, answer) == nothing == (404, {**answer, "code": "not-found"})
    known = [f"webhook {sender}: no secret is set, so it is answered 404: set "
             f"CTRLPLANE_WEBHOOK_SECRET_{sender.upper()}"]  # fmt: skip
    assert hooks.logged == (known if sender in NAMES else [])
    assert [row.reason for row in hooks.rows()] == ["unconfigured"] * (sender in NAMES)


@pytest.mark.parametrize("way", SENDERS)
def test_what_is_signed_and_cannot_be_read_is_malformed(hooks: Hooks, port: int, way: str) -> None:
    bodies = (b"", b"[]", b"null", b"{", b"[" * 100_000, b'{"a": NaN}', b"\xff", b'{"ref": 1}')
    for body in bodies[:-1]:
        status, answer = deliver(port, sender_of(way), signed(way, body), body)
        assert (status, answer["code"]) == (400, "malformed"), (body[:10], answer)
    [row] = hooks.rows()
    assert (row.outcome, row.reason, row.count) == ("rejected", "malformed", len(bodies) - 1)
    assert hooks.woken == 0


@pytest.mark.parametrize("way", SENDERS)
def test_a_body_above_the_limit_is_refused(hooks: Hooks, port: int, way: str) -> None:
    body = push_body()
    largest = body + b" " * (MAX_BODY - len(body))
    assert deliver(port, sender_of(way), signed(way, largest), largest)[0] == 202
    headers = [*signed(way, body), ("Content-Length", str(MAX_BODY + 1))]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        lines = [f"POST /hooks/{sender_of(way)} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        connection.sendall(b"x" * (MAX_BODY + 1))
        assert connection.recv(4096).split()[1] == b"413"
    row = hooks.rows()[0]
    assert (row.outcome, row.reason) == ("rejected", "too-large")


@pytest.mark.parametrize("size", [MAX_BODY + 1, MAX_BODY + 65_536, 2 * MAX_BODY])
@pytest.mark.parametrize("way", ["github", "gitlab", "standard"])
def test_a_chunked_body_above_the_limit_is_refused(
    hooks: Hooks, port: int, way: str, size: int
) -> None:
    body = push_body()
    body += b" " * (size - len(body))
    # As it is signed, it would be let in.
    status = deliver_chunked(port, sender_of(way), signed(way, body), body)
    assert status == 413 or (status is None and size > MAX_BODY + 65_536)
    assert hooks.woken == 0
    assert [row.reason for row in hooks.rows()] in ([], ["too-large"])


def test_a_chunked_body_within_the_limit_is_taken(hooks: Hooks, port: int) -> None:
    body = push_body()
    assert deliver_chunked(port, "github", signed("github", body), body) == 202
    assert hooks.woken == 1


@pytest.mark.parametrize("way", SENDERS)
def test_a_replay_is_answered_and_leads_to_nothing(
    hooks: Hooks, port: int, way: str, tmp_path: Path
) -> None:
    body = push_body()
    headers = signed(way, body, given_id="the-same")
    first = deliver(port, sender_of(way), headers, body)[1]
    # The id is not signed by most: another one does not make it another delivery.
    again = signed(way, body, given_id="another")
    for given in (headers, again, headers):
        status, answer = deliver(port, sender_of(way), given, body)
        assert (status, answer["outcome"]) == (200, "duplicate")
        assert first["id"] in answer["message"]
    copies, original = hooks.rows()
    assert (copies.count, copies.original, original.id) == (3, first["id"], first["id"])
    assert hooks.woken == 1
    # Nor after a restart.
    later = Hooks(SqliteStore(tmp_path / "state.db"))
    with running(later) as port:
        assert deliver(port, sender_of(way), headers, body)[1]["outcome"] == "duplicate"
    later.store.close()


def test_what_one_sender_signed_is_no_delivery_of_another(hooks: Hooks, port: int) -> None:
    body = push_body()
    assert deliver(port, "github", signed("github", body), body)[1]["outcome"] == "accepted"
    for way in ("gitea", "forgejo", "bitbucket", "generic"):
        assert deliver(port, way, signed(way, body), body)[1]["outcome"] == "duplicate"
    assert hooks.woken == 1


@pytest.mark.parametrize("way", SENDERS)
@pytest.mark.parametrize(
    ("followed", "announced", "outcome"),
    [
        ("refs/heads/v1", "refs/tags/v1", "ignored"),
        ("refs/tags/v1", "refs/heads/v1", "ignored"),
        ("refs/heads/v1", "refs/heads/v1", "accepted"),
        ("refs/tags/v1", "refs/tags/v1", "accepted"),
        ("refs/heads/main", "refs/heads/other", "ignored"),
    ],
)
def test_a_tag_and_a_branch_of_one_name_never_mix(
    hooks: Hooks, port: int, way: str, followed: str, announced: str, outcome: str
) -> None:
    hooks.served = type(hooks.served)(hooks.served.location, followed)
    body = push_body(ref=announced)
    status, answer = deliver(port, sender_of(way), signed(way, body), body)
    assert (status, answer["outcome"]) == (202 if outcome == "accepted" else 200, outcome)
    assert hooks.woken == (outcome == "accepted")
    [row] = hooks.rows()
    assert (row.outcome, row.ended_at is None) == (outcome, outcome == "accepted")
    assert outcome == "accepted" or announced in row.message


@pytest.mark.parametrize("way", SENDERS)
def test_another_repository_is_ignored(hooks: Hooks, port: int, way: str) -> None:
    body = push_body(url="https://git.example.com/acme/other.git")
    status, answer = deliver(port, sender_of(way), signed(way, body), body)
    assert (status, answer["outcome"]) == (200, "ignored")
    assert "git.example.com/acme/other" in answer["message"]
    assert hooks.woken == 0


def test_a_name_that_leads_here_brings_no_delivery(hooks: Hooks, port: int) -> None:
    body = push_body()
    headers = [*signed("github", body), ("Host", "evil.example")]
    assert deliver(port, "github", headers, body)[0] == 400
    assert hooks.woken == 0


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_only_a_post_is_a_delivery(hooks: Hooks, method: str) -> None:
    client = hooks.build().test_client()
    answer = client.open("/hooks/github", method=method)
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}


def test_what_cannot_be_written_down_is_not_accepted(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    hooks, body = Hooks(store), push_body()
    store.close()
    with running(hooks) as port:
        status, answer = deliver(port, "github", signed("github", body), body)
    assert (status, answer["code"]) == (503, "store")
    assert str(tmp_path) not in answer["detail"]
    assert hooks.woken == 0


def test_an_old_secret_vouches_while_it_is_being_replaced() -> None:
    _, _, _, good, old = SENDERS["github"]
    hooks = Hooks(secrets={"github": (good, old)})
    with running(hooks) as port:
        for secret in (good, old):
            body = push_body()
            assert deliver(port, "github", signed("github", body, secret), body)[0] == 202


def test_the_secrets_are_those_of_the_sender() -> None:
    hooks, body = Hooks(secrets={**SECRETS, "github": (WRONG,)}), push_body()
    with running(hooks) as port:
        assert deliver(port, "github", signed("github", body), body)[0] == 401
        assert deliver(port, "gitea", signed("gitea", body), body)[0] == 202
    assert {row.outcome for row in hooks.rows()} == {
        DeliveryOutcome.ACCEPTED,
        DeliveryOutcome.REJECTED,
    }
