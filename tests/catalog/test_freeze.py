"""What an error stops, and what it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ctrlplane_gitops.catalog.build import build_catalog
from ctrlplane_gitops.diagnostics import Origin, error, warning
from ctrlplane_gitops.state.key import parse_address
from tests.catalog.catalog_kit import (
    build,
    built,
    deployment,
    get,
    instance,
    plane,
    route,
    secret,
    shop,
    tenant,
)

BROKEN = error("unknown-key", "unknown key 'x'", origin=Origin("tenants/b.yaml", 3, 5), tenant="b")
UNREADABLE = error("yaml-syntax", "not YAML", origin=Origin("tenants/x.yaml", 1, 1))


def test_an_error_freezes_its_tenant_and_nobody_else() -> None:
    state, found = build(*shop("a"), *shop("b", provider="nope"))
    assert state is not None
    assert [item.code for item in found] == ["unknown-provider"]
    assert set(state.frozen) == {"b"}
    assert {key.tenant for key in state.resources} == {"a"}
    assert {key.tenant for key in state.instances} == {"a"}
    assert state.is_complete


def test_an_earlier_error_freezes_its_tenant_and_is_not_said_again() -> None:
    state, found = build(*shop("a"), *shop("b"), diagnostics=[BROKEN])
    assert state is not None
    assert not found
    assert state.frozen == {"b": "tenants/b.yaml:3:5: unknown key 'x'"}
    assert {key.tenant for key in state.resources} == {"a"}


def test_a_warning_freezes_nobody() -> None:
    state, _ = build(*shop("a"), diagnostics=[warning("w", "mind this", tenant="a")])
    assert state is not None
    assert not state.frozen


def test_the_reason_counts_the_other_errors() -> None:
    state, _ = build(*shop("b", provider="nope", secrets=["x"]), diagnostics=[BROKEN])
    assert state is not None
    assert state.frozen["b"] == "tenants/b.yaml:3:5: unknown key 'x' (and 2 more)"


def test_a_file_that_cannot_be_read_makes_the_state_incomplete() -> None:
    state, _ = build(*shop("a"), diagnostics=[UNREADABLE])
    assert state is not None
    assert not state.is_complete
    assert not state.frozen
    assert get(state, "instance/a/web")


def test_a_secret_without_a_value_freezes_its_tenant() -> None:
    state, found = build(*shop("a"), *shop("b"), secret("b/token"), digests={})
    assert state is not None
    assert not found
    assert "secret/b/token" in state.frozen["b"]
    assert set(state.frozen) == {"b"}


def test_depending_on_a_frozen_tenant_is_a_warning_and_is_not_waited_for() -> None:
    state, found = build(
        *shop("a", dependsOn=["instance/b/web", "instance/a/db"]),
        instance("a/db", line=11),
        deployment("a/db", line=21),
        *shop("b"),
        diagnostics=[BROKEN],
    )
    assert state is not None
    web = get(state, "instance/a/web")
    assert [key.address for key in web.depends_on] == ["instance/a/db"]
    assert "instance/b/web" in web.resource.attributes["dependsOn"]
    assert [(item.code, item.is_error) for item in found] == [("frozen-dependency", False)]


def test_a_dependency_that_may_stand_in_another_tenants_broken_file_freezes_nobody_else() -> None:
    for problem in (BROKEN, UNREADABLE):
        state, found = build(
            *shop("a", dependsOn=["instance/b/web"]), diagnostics=[problem], digests={}
        )
        assert state is not None
        assert "a" not in state.frozen
        assert [item.code for item in found] == ["frozen-dependency"]


def test_what_did_not_pass_is_not_called_missing_as_well() -> None:
    broken = [
        error("bad", "bad", address=address, tenant="a", origin=Origin("tenants/a.yaml", 9))
        for address in ("tenant/a", "secret/a/token", "instance/a/db", "deployment/a/web")
    ]
    web = instance("a/web", secrets=["token"], dependsOn=["instance/a/db"])
    state, found = build(web, deployment("a/db"), diagnostics=broken)
    assert not found
    assert state is not None
    assert set(state.frozen) == {"a"}


def test_a_circle_across_tenants_freezes_only_the_later_one() -> None:
    state, found = build(
        *shop("a", dependsOn=["instance/b/web"]), *shop("b", dependsOn=["instance/a/web"])
    )
    assert state is not None
    assert set(state.frozen) == {"b"}
    assert get(state, "instance/a/web").depends_on == ()
    assert sorted(item.code for item in found) == ["dependency-cycle", "frozen-dependency"]


def test_of_two_tenants_with_one_host_the_later_file_is_frozen() -> None:
    port = {"name": "http", "port": 80}
    state, _ = build(
        *shop("b", ports=[port]), *shop("a", ports=[port]), route("b/web"), route("a/web")
    )
    assert state is not None
    assert set(state.frozen) == {"b"}


def test_an_empty_repository_with_a_control_plane_is_an_empty_state() -> None:
    state = built(plane())
    assert not state.resources
    assert state.is_complete


def test_no_control_plane_is_an_error_that_names_the_file() -> None:
    state, found = build_catalog(shop(), [], {}, {})
    assert state is None
    assert [(item.code, str(item.origin)) for item in found] == [
        ("no-control-plane", "ctrlplane.yaml")
    ]


def test_a_control_plane_that_did_not_pass_is_not_called_missing() -> None:
    bad = error("bad", "bad", address="controlplane/prod", origin=Origin("ctrlplane.yaml", 1))
    assert build_catalog(shop(), [bad], {}, {}) == (None, ())


def test_a_control_plane_with_an_earlier_error_is_not_trusted() -> None:
    bad = error("bad", "bad", address="controlplane/prod", origin=Origin("ctrlplane.yaml", 1))
    state, found = build(*shop(), diagnostics=[bad])
    assert state is None
    assert not found


def test_two_control_planes_are_an_error_at_the_second() -> None:
    state, found = build(plane(), tenant(), replace(plane(), path="other/plane.yaml"))
    assert state is None
    assert [(item.code, str(item.origin)) for item in found] == [
        ("duplicate-control-plane", "other/plane.yaml:1:1")
    ]
    assert "ctrlplane.yaml:1:1" in found[0].summary


def test_a_control_plane_may_stand_in_any_file() -> None:
    moved = replace(plane(), path="infra/plane.yaml")
    assert built(moved, *shop()).plane.name == "prod"


@pytest.mark.parametrize(
    ("spec", "code", "hint"),
    [
        ({"providers": {"local": {"type": "aws"}}}, "unsupported-provider", "or process"),
        ({"providers": {"local": {"type": "dokcer"}}}, "unknown-provider-type", "'docker'"),
        ({"defaultProvider": "locale"}, "unknown-provider", "'local'"),
    ],
)
def test_a_control_plane_with_an_error_gives_no_state(
    spec: dict[str, object], code: str, hint: str
) -> None:
    state, found = build(plane(**spec), *shop())
    assert state is None
    assert [item.code for item in found] == [code]
    assert hint in found[0].hint


def test_other_problems_are_said_together_with_the_control_planes() -> None:
    _, found = build(plane(providers={"local": {"type": "aws"}}), *shop(secrets=["nope"]))
    assert {item.code for item in found} == {"unsupported-provider", "unknown-secret"}


def test_frozen_tenants_secrets_are_not_resolved_by_the_state() -> None:
    state, _ = build(*shop("b", provider="nope"), secret("b/token"))
    assert state is not None
    assert parse_address("secret/b/token") not in state.secret_refs
