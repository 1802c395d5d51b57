"""Which tokens are taken, and what a role may."""

from datetime import UTC, datetime, timedelta

import pytest

from ctrlplane_gitops.auth.roles import LEAST_ROLE, Permission, has_permission
from ctrlplane_gitops.auth.tokens import (
    ANONYMOUS,
    Principal,
    digest_of,
    find_token,
    new_token,
    principal_of,
)
from ctrlplane_gitops.state.access import AccessToken, Role

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def declare(token: str, name: str = "ci", **fields: object) -> AccessToken:
    return AccessToken(name, digest_of(token), **fields)  # type: ignore[arg-type]


def test_a_token_is_found_among_others_by_its_text_alone() -> None:
    tokens = [new_token() for _ in range(3)]
    declared = [declare(token, f"t{place}") for place, token in enumerate(tokens)]
    for place, token in enumerate(tokens):
        found = find_token(declared, token, NOW)
        assert found is not None
        assert found.name == f"t{place}"
        assert token not in repr(found)


@pytest.mark.parametrize("change", [str.upper, lambda text: text[:-1], lambda text: f"{text} "])
def test_what_is_nearly_a_token_is_none(change) -> None:
    token = new_token()
    assert find_token([declare(token)], change(token), NOW) is None


@pytest.mark.parametrize("text", ["", "password", "cpt_short", "\udcff", "é" * 47, digest_of("x")])
def test_what_a_person_thought_up_is_not_taken_although_it_is_declared(text: str) -> None:
    assert find_token([declare(text)], text, NOW) is None


def test_a_token_is_taken_until_it_expires() -> None:
    token = new_token()
    declared = [declare(token, expires_at=NOW)]
    assert find_token(declared, token, NOW - timedelta(microseconds=1)) is not None
    assert find_token(declared, token, NOW) is None


def test_each_role_may_what_the_one_before_it_may() -> None:
    allowed = [{item for item in Permission if has_permission(role, item)} for role in Role]
    assert allowed[0] < allowed[1] < allowed[2] == set(Permission) == set(LEAST_ROLE)


def test_a_viewer_changes_nothing_and_nobody_who_is_unknown_runs_commands() -> None:
    viewer = Principal("token:x", Role.VIEWER)
    assert {item for item in Permission if viewer.may(item)} == {Permission.READ, Permission.LOGS}
    assert not ANONYMOUS.may(Permission.EXEC)


def test_a_token_of_a_tenant_sees_that_tenant_alone() -> None:
    scoped = principal_of(declare(new_token(), tenants=frozenset({"acme"})))
    assert [scoped.can_see(name) for name in ("acme", "acm", "", "beta")] == [True] + [False] * 3
    assert principal_of(declare(new_token())).can_see("beta")
