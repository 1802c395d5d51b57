"""Commit statuses at servers that do as the forges' documentation says."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from ctrlplane_gitops.errors import ForgeError
from ctrlplane_gitops.forge.base import (
    CommitState,
    CommitStatus,
    ForgeKind,
    ForgeSettings,
)
from ctrlplane_gitops.forge.client import Forge
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.value import replace
from tests.forge.forge_server import REPOSITORY, TOKEN, ForgeServer, forge_server

COMMIT = "3f9c2ab" + "0" * 33
STATUS = CommitStatus(COMMIT, CommitState.SUCCESS, "applied", "ctrlplane-gitops/prod", "https://p/")
CANCELLED = {"gitlab": "canceled"}
FAILURE = {"gitlab": "failed"}


@pytest.fixture(params=[kind.value for kind in ForgeKind])
def server(request: pytest.FixtureRequest) -> Iterator[ForgeServer]:
    with forge_server(request.param) as made:
        yield made


def settings_of(server: ForgeServer, token: str = TOKEN) -> ForgeSettings:
    return ForgeSettings(
        ForgeKind(server.kind), server.api, REPOSITORY, SecretValue(token.encode())
    )


def test_every_state_is_told_in_the_words_of_the_forge(server: ForgeServer) -> None:
    forge = Forge(settings_of(server))
    for state in CommitState:
        forge.tell(replace(STATUS, state=state))
    kind = server.kind
    assert server.states(COMMIT) == [
        "pending", "success", FAILURE.get(kind, "failure"), CANCELLED.get(kind, "error"),
    ]  # fmt: skip
    assert server.statuses[1] == (
        COMMIT, "success", "applied", "ctrlplane-gitops/prod", "https://p/",
    )  # fmt: skip


def test_a_long_description_is_shortened_and_no_page_is_none(server: ForgeServer) -> None:
    text = "wörld " * 100
    Forge(settings_of(server)).tell(replace(STATUS, description=text, url=""))
    [(_, _, shown, _, url)] = server.statuses
    assert url is None
    assert text.startswith(shown.removesuffix("…")) and shown.endswith("…")


def test_a_state_that_the_forge_has_already_is_no_error(server: ForgeServer) -> None:
    for _ in range(2):
        Forge(settings_of(server)).tell(STATUS)
    assert set(server.states(COMMIT)) == {"success"}


@pytest.mark.parametrize(
    ("status", "headers", "is_retryable"),
    [
        (500, {}, True),
        (502, {}, True),
        (503, {"Retry-After": "60"}, True),
        (429, {}, True),
        (403, {"X-RateLimit-Remaining": "0"}, True),
        (403, {}, False),
        (404, {}, False),
        (422, {}, False),
        (301, {"Location": "http://169.254.169.254/"}, False),
    ],
)
def test_a_refusal_says_why_and_whether_it_is_for_good(
    server: ForgeServer, status: int, headers: dict[str, str], is_retryable: bool
) -> None:
    server.refusals = [(status, headers)]
    with pytest.raises(ForgeError, match=f"it was answered {status}") as caught:
        Forge(settings_of(server)).tell(STATUS)
    assert caught.value.is_retryable == is_retryable
    assert server.asked == 1, "nobody is followed to another place with the token"


def test_a_wrong_token_is_not_shown(server: ForgeServer) -> None:
    wrong = "wrong-token-0123456789"
    with pytest.raises(ForgeError, match="401 Unauthorized") as caught:
        Forge(settings_of(server, wrong)).tell(STATUS)
    error = caught.value
    assert not error.is_retryable and "CTRLPLANE_FORGE_TOKEN" in str(error.hint)
    assert wrong not in f"{error!r} {error.message} {error.hint} {settings_of(server, wrong)!r}"


def test_who_does_not_answer_may_later() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    made = ForgeSettings(
        ForgeKind.GITHUB, f"http://127.0.0.1:{port}", REPOSITORY, SecretValue(TOKEN.encode())
    )
    with pytest.raises(ForgeError, match="connection refused") as caught:
        Forge(made).tell(STATUS)
    assert caught.value.is_retryable
