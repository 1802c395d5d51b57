"""``spec.access``: tokens by their digests."""

from typing import Any

import pytest

from tests.specs.build import complain, normalise


def test_tokens_are_declared_by_digest_with_a_role_and_a_scope() -> None:
    token = {"name": "ci", "sha256": "0a" * 32}
    whole = {**token, "name": "x", "sha256": "1b" * 32, "role": "admin", "tenants": ["acme"],
             "expires": "2027-01-31T00:00:00+01:00"}  # fmt: skip
    spec = normalise("ControlPlane", {"access": {"tokens": [token, whole]}})
    assert spec["access"] == {"tokens": [{**token, "role": "viewer"}, whole]}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"role": "root"}, "role"),
        ({"sha256": "cpt_" + "x" * 43}, "sha256"),
        ({"sha256": "0A" * 32}, "sha256"),
        ({"tenants": []}, "tenants"),
        ({"expires": "2027-01-31"}, "expires"),
        ({"expires": "2027-02-31T00:00:00Z"}, "expires"),
        ({"expires": "0001-01-01T00:00:00+14:00"}, "expires"),
        ({"token": "x"}, "token"),
    ],
)
def test_a_token_that_means_nothing_is_refused(change: dict[str, Any], where: str) -> None:
    token = {"name": "ci", "sha256": "0a" * 32, **change}
    [found] = complain("ControlPlane", {"access": {"tokens": [token]}})
    assert found.endswith(f" at spec.access.tokens.0.{where}")


def test_no_two_tokens_have_one_name_or_one_digest() -> None:
    one, other = {"name": "a", "sha256": "0a" * 32}, {"name": "b", "sha256": "1b" * 32}
    for twin, key in (({**other, "name": "a"}, "name"), ({**one, "name": "b"}, "sha256")):
        found = complain("ControlPlane", {"access": {"tokens": [one, twin]}})
        assert found == [f"duplicate at spec.access.tokens.1.{key}"]
