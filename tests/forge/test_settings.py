"""Which forge is told: derived, said, or refused."""

from __future__ import annotations

import pytest

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.forge.settings import load_forge

TOKEN = "ghp_0123456789abcdef"


def load(location: str, **more: str) -> tuple[str, str, str]:
    environ = {"CTRLPLANE_FORGE_TOKEN": TOKEN}
    environ |= {f"CTRLPLANE_FORGE{name}": value for name, value in more.items()}
    found = load_forge(environ, location)
    assert found is not None and found.token.reveal().decode() == TOKEN
    assert TOKEN not in repr(found)
    return found.kind.value, found.api, found.repository


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://github.com/acme/Prod.git",
         ("github", "https://api.github.com", "acme/Prod")),
        ("git@github.com:acme/prod.git", ("github", "https://api.github.com", "acme/prod")),
        ("https://gitlab.com/group/sub/prod",
         ("gitlab", "https://gitlab.com/api/v4", "group/sub/prod")),
        ("ssh://git@gitlab.example.com:2222/group/prod.git",
         ("gitlab", "https://gitlab.example.com/api/v4", "group/prod")),
        ("https://gitea.example.com:3000/acme/prod",
         ("gitea", "https://gitea.example.com:3000/api/v1", "acme/prod")),
        ("https://codeberg.org/acme/prod", ("forgejo", "https://codeberg.org/api/v1", "acme/prod")),
        ("https://github.example.com/acme/prod",
         ("github", "https://github.example.com/api/v3", "acme/prod")),
    ],
)  # fmt: skip
def test_a_forge_is_known_by_its_host(location: str, expected: tuple[str, str, str]) -> None:
    assert load(location) == expected


def test_a_forge_under_another_name_is_said() -> None:
    assert load("https://git.example.com/x/acme/prod", **{"": "gitea"}) == (
        "gitea", "https://git.example.com/api/v1", "acme/prod",
    )  # fmt: skip
    assert load(
        "https://git.example.com/x/acme/prod",
        **{"": "forgejo", "_API": "https://git.example.com/x/api/v1/"},
    ) == ("forgejo", "https://git.example.com/x/api/v1", "acme/prod")


def test_without_a_token_nobody_is_told() -> None:
    assert load_forge({"CTRLPLANE_FORGE": "github"}, "https://github.com/acme/prod") is None
    assert load_forge({"CTRLPLANE_FORGE_TOKEN": " "}, "/srv/prod") is None


@pytest.mark.parametrize(
    ("location", "more", "says"),
    [
        ("https://git.example.com/acme/prod", {}, "CTRLPLANE_FORGE to one of"),
        ("https://git.example.com/acme/prod", {"": "svn"}, "'svn' is not one of"),
        ("/srv/prod.git", {}, "CTRLPLANE_FORGE_URL"),
        ("https://github.com/prod", {}, "is not at a forge"),
        ("https://github.com/a/b", {"_API": "http://git.example.com/api/v3"}, "in clear"),
        ("https://github.com/a/b", {"_API": "ftp://git.example.com"}, "not the URL of an API"),
        ("https://github.com/a/b", {"_API": "https://u:p@git.example.com"}, "not the URL"),
        ("https://github.com/a/b", {"_TOKEN": "a\nb: c"}, "characters that no token has"),
    ],
)
def test_what_cannot_be_told_is_wrong_usage(location: str, more: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(location, **more)
    error = caught.value
    assert says in f"{error.message} {error.hint}"
    assert TOKEN not in f"{error.message} {error.hint}"
