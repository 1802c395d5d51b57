"""What runs already, as documents."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ctrlplane_gitops.errors import ConflictError
from ctrlplane_gitops.providers.adopting import Foreign
from ctrlplane_gitops.reconcile.adopt import Adopted, describe_adopted, is_secret
from ctrlplane_gitops.specs.write import render_documents
from ctrlplane_gitops.state.key import instance_key

WEB = instance_key("acme", "my-web")
FOREIGN = Foreign("shop", "0123456789abcdef", "shop:1", env={"LOG_LEVEL": "info"})


def describe(foreign: Foreign, **more: object) -> Adopted:
    given = {"is_default": True, "has_tenant": True, **more}
    return describe_adopted(foreign, WEB, "docker", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASSWORD", "x"),
        ("PGPASS", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("GITHUB_TOKEN", "x"),
        ("apiKey", "x"),
        ("KEY", "x"),
        ("SIGNING_KEY", "x"),
        ("SENTRY_DSN", "https://abc@sentry.example/1"),
        ("REDIS", "redis://:hunter2@cache:6379/0"),
        ("X", "-----BEGIN PRIVATE KEY-----\nMIIE"),
        ("X", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
        ("X", "eyJhbGciOiJIUzI1NiJ9eyJzdWIiOiIx0"),
    ],
)
def test_what_looks_like_a_secret_is_one(name: str, value: str) -> None:
    assert is_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG_LEVEL", "info"),
        ("MONKEY", "x"),
        ("KEYBOARD", "qwerty"),
        ("DATABASE_HOST", "db.internal.example.com"),
        ("URL", "https://example.com/a/b?c=d"),
        ("PORT", "8080"),
        ("DB_PASSWORD", ""),
        ("PATHS", "/usr/local/share/app/templates"),
    ],
)
def test_what_does_not_stays_readable(name: str, value: str) -> None:
    assert not is_secret(name, value)


def test_a_secret_is_a_reference_and_its_value_is_handed_back_beside() -> None:
    found = describe(replace(FOREIGN, env={"DATABASE_URL": "pg://a:hunter2@db", "A": "b"}))
    assert found.variables == {"ACME_MY_WEB_DATABASE_URL": "pg://a:hunter2@db"}
    assert "hunter2" not in render_documents(found.documents)
    secret = found.documents[-1]
    assert (secret.kind, secret.metadata["name"]) == ("Secret", "database-url")
    assert secret.spec == {
        "type": "env",
        "key": "DATABASE_URL",
        "from": {"env": "ACME_MY_WEB_DATABASE_URL"},
    }


def test_a_name_the_tenant_has_is_not_taken() -> None:
    foreign = replace(FOREIGN, env={"API_TOKEN": "x"})
    assert describe(foreign, secrets=["api-token"]).documents[-1].metadata["name"] == (
        "my-web-api-token"
    )
    with pytest.raises(ConflictError, match="api-token"):
        describe(foreign, secrets=["api-token", "my-web-api-token"])


def test_variables_that_would_be_one_name_are_two_secrets() -> None:
    found = describe(replace(FOREIGN, env={"API_TOKEN": "x", "api_token": "y"}))
    names = [item.metadata["name"] for item in found.documents if item.kind == "Secret"]
    assert sorted(names) == ["api-token", "my-web-api-token"]


@pytest.mark.parametrize(
    "command",
    [
        ("serve", "--password=x"),
        ("serve", "--api-token", "abc"),
        ("serve", "postgres://a:hunter2@db/x"),
    ],
)
def test_a_secret_in_an_argument_is_refused(command: tuple[str, ...]) -> None:
    with pytest.raises(ConflictError, match="argument") as caught:
        describe(replace(FOREIGN, command=command))
    assert "hunter2" not in str(caught.value)


def test_obstacles_are_named_all_at_once() -> None:
    with pytest.raises(ConflictError, match="one; two"):
        describe(replace(FOREIGN, obstacles=("one", "two")))


def test_the_tenant_and_the_provider_are_written_where_they_are_needed() -> None:
    short, long = describe(FOREIGN), describe(FOREIGN, is_default=False, has_tenant=False)
    assert [item.kind for item in short.documents] == ["Instance", "Deployment"]
    assert [item.kind for item in long.documents] == ["Tenant", "Instance", "Deployment"]
    assert "provider" not in short.documents[0].spec
    assert long.documents[1].spec["provider"] == "docker"
