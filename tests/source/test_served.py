"""Which deliveries are about what is followed, and which secrets vouch for them."""

from __future__ import annotations

import pytest

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.source.hook.delivery import Delivery, Event
from ctrlplane_gitops.source.hook.served import Served, find_other
from ctrlplane_gitops.source.webhook import SENDERS, load_secrets

GITHUB = ("https://github.com/acme/prod.git", "git@github.com:acme/prod.git")
MAIN = "refs/heads/main"


def about(repository: tuple[str, ...] = (), ref: str = MAIN, event: Event = Event.PUSH) -> Delivery:
    return Delivery("github", event, "1", "sha256:1", repository, ref)


@pytest.mark.parametrize(
    ("followed", "announced", "is_ours"),
    [
        (MAIN, MAIN, True),
        (MAIN, "refs/tags/main", False),
        ("refs/tags/main", MAIN, False),
        ("refs/tags/v1", "refs/tags/v1", True),
        (MAIN, "refs/heads/main2", False),
        ("refs/heads/main~2", MAIN, True),
        # Several refs at once.
        (MAIN, "", True),
        ("HEAD", MAIN, True),
        ("HEAD", "refs/tags/v1", False),
        # A directory.
        ("", MAIN, True),
        # A commit stays what it is.
        ("a" * 40, MAIN, False),
    ],
)
def test_a_delivery_about_another_ref_is_not_ours(
    followed: str, announced: str, is_ours: bool
) -> None:
    other = find_other(about(ref=announced), Served("/srv/prod.git", followed))
    assert (other == "") == is_ours
    assert is_ours or announced in other


@pytest.mark.parametrize(
    ("location", "announced", "is_ours"),
    [
        ("https://github.com/acme/prod", GITHUB, True),
        ("https://GITHUB.com/Acme/Prod.git/", GITHUB, True),
        ("git@github.com:acme/prod.git", GITHUB, True),
        ("ssh://git@github.com:22/acme/prod", GITHUB, True),
        ("https://github.com/acme/other", GITHUB, False),
        ("https://github.com/acme/prod/sub", GITHUB, False),
        ("https://git.example.com/acme/prod", GITHUB, False),
        ("https://github.com/acme/prod", (), True),
        # What is on this machine may be a copy of anything, but not of another path.
        ("/srv/mirrors/prod.git", GITHUB, True),
        ("/srv/mirrors/prod.git", ("file:///srv/git/prod.git",), True),
        ("/srv/mirrors/prod.git", ("/srv/git/other.git",), False),
        ("git@ssh.dev.azure.com:v3/org/team/prod", ("https://dev.azure.com/org/team/_git/prod",),
         True),
        ("https://[broken", ("https://[broken",), True),
    ],
)  # fmt: skip
def test_a_delivery_about_another_repository_is_not_ours(
    location: str, announced: tuple[str, ...], is_ours: bool
) -> None:
    other = find_other(about(announced), Served(location, MAIN))
    assert (other == "") == is_ours, other


@pytest.mark.parametrize("event", [Event.PING, Event.OTHER])
def test_only_a_push_is_worth_a_look(event: Event) -> None:
    assert event in find_other(about(event=event), Served("/srv/prod", MAIN))


A, B, OLD = "a" * 16, "b" * 16, "c" * 16


def test_a_sender_has_its_own_secret_or_the_one_for_all() -> None:
    environ = {"CTRLPLANE_WEBHOOK_SECRET": A, "CTRLPLANE_WEBHOOK_SECRET_GITLAB": f"{B}\n{OLD}\n"}
    found = load_secrets(environ)
    assert found.keys() == set(SENDERS)
    assert found["gitlab"] == (B, OLD) and found["github"] == (A,)
    assert load_secrets({"CTRLPLANE_WEBHOOK_SECRET_GITHUB": B}) == {"github": (B,)}
    assert load_secrets({"CTRLPLANE_WEBHOOK_SECRET": ""}) == {} == load_secrets({})


@pytest.mark.parametrize("secret", ["a" * 15, " " * 20, f"{A}\nshort", "whsec_c2hvcnQ="])
@pytest.mark.parametrize("sender", ["", "_GITLAB"])
def test_a_secret_that_protects_nothing_is_refused_by_its_variable(
    secret: str, sender: str
) -> None:
    name = f"CTRLPLANE_WEBHOOK_SECRET{sender}"
    with pytest.raises(UsageError, match=f"{name}: ") as caught:
        load_secrets({name: secret})
    assert "openssl rand" in str(caught.value.hint)
    assert secret.strip() == "" or secret not in caught.value.message
