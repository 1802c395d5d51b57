"""What is refused, where, and with which way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ctrlplane_gitops.catalog.runtime import AUTOSCALING
from ctrlplane_gitops.providers.base import Capability, ProviderSettings
from ctrlplane_gitops.providers.registry import build_provider
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import ProviderConfig
from tests.catalog.catalog_kit import (
    CHECK,
    STRATEGY,
    build,
    deployment,
    instance,
    only,
    plane,
    problems,
    secret,
    shop,
    tenant,
)

HTTP = {"name": "http", "port": 80}
PROCESS = {"providers": {"local": {"type": "process"}}}
DOCKER = {"providers": {"local": {"type": "docker"}}}


def test_an_address_may_stand_only_once_and_both_places_are_named() -> None:
    found = only(*shop(), instance(at="tenants/b.yaml", line=7))
    assert (found.code, found.address, found.tenant) == (
        "duplicate-address",
        "instance/acme/web",
        "acme",
    )
    assert "tenants/acme.yaml:10:1" in found.summary
    assert "tenants/b.yaml:7:1" in found.summary


def test_a_tenant_may_be_declared_only_once() -> None:
    assert problems(tenant(), tenant()) == [("duplicate-address", "tenant/acme", ())]


def test_documents_of_an_unknown_tenant_each_say_so() -> None:
    state, found = build(tenant("acme"), *shop("acmee")[1:])
    assert [(item.code, item.tenant, item.hint) for item in found if item.is_error] == [
        ("unknown-tenant", "acmee", "did you mean 'acme'?")
    ] * 2
    assert state is not None
    assert set(state.frozen) == {"acmee"}


def test_a_deployment_needs_its_instance() -> None:
    found = only(*shop(), deployment("acme/wep"))
    assert (found.code, found.field) == ("unknown-instance", ("spec", "instance"))
    assert found.hint == "did you mean 'web'?"


def test_an_instance_has_one_deployment() -> None:
    found = only(*shop(), deployment("acme/other", line=21, instance="web"))
    assert (found.code, found.address) == ("second-deployment", "deployment/acme/other")
    assert "tenants/acme.yaml:20:1" in found.summary


@pytest.mark.parametrize(
    ("spec", "code", "field"),
    [
        ({"provider": "dokcer"}, "unknown-provider", ("provider",)),
        ({"secrets": ["tokne"]}, "unknown-secret", ("secrets", 0)),
        (
            {"ports": [HTTP], "health": [CHECK | {"name": "a", "type": "tcp", "port": "htpp"}]},
            "unknown-port",
            ("health", 0, "port"),
        ),
        ({"health": [CHECK | {"name": "a", "type": "tcp"}]}, "unknown-port", ("health", 0)),
        ({"health": [CHECK | {"name": "a", "type": "grpc"}]}, "unknown-port", ("health", 0)),
        ({"dependsOn": ["instance/acme/dbb"]}, "unknown-instance", ("dependsOn", 0)),
        ({"dependsOn": ["instance/acm/db"]}, "unknown-instance", ("dependsOn", 0)),
        ({"dependsOn": ["route/acme/web"]}, "invalid-address", ("dependsOn", 0)),
        (
            {"files": [{"path": "/a", "source": "conf/appp.yaml", "mode": "0644"}]},
            "missing-file",
            ("files", 0, "source"),
        ),
    ],
)
def test_a_reference_that_leads_nowhere_is_an_error_with_a_suggestion(
    spec: dict[str, Any], code: str, field: tuple[str | int, ...]
) -> None:
    found = only(
        *shop(**spec),
        secret(),
        instance("acme/db", line=11),
        deployment("acme/db", line=21),
        entries={"conf/app.yaml": "b10b"},
    )
    assert (found.code, found.field[1:], found.is_error) == (code, field, True)
    assert found.hint


def test_a_path_counted_from_the_documents_folder_is_explained() -> None:
    file = {"path": "/a", "source": "app.conf", "mode": "0644"}
    found = only(*shop(files=[file]), entries={"tenants/app.conf": "b10b"})
    assert "did you mean 'tenants/app.conf'?" in found.hint


def test_health_checks_of_type_command_need_no_port() -> None:
    check = CHECK | {"name": "a", "type": "command", "command": ["true"]}
    assert not problems(*shop(health=[check]))


def test_kubernetes_makes_one_check_with_the_statuses_it_takes() -> None:
    kube = {"providers": {"local": {"type": "kubernetes"}}}
    one = CHECK | {"name": "a", "type": "http", "port": "http"}
    checks = [one, one | {"name": "b", "statuses": "200-299"}]
    specs = (tenant(), instance(health=checks, ports=[HTTP]), deployment())
    found = [item[0] for item in problems(plane(**kube), *specs)]
    assert sorted(found) == ["fixed-statuses", "too-many-checks"]
    assert not problems(plane(**DOCKER), *specs)


def test_an_autoscaler_is_for_providers_that_have_one() -> None:
    scaled = {"owner": "autoscaler", "initial": 2}
    specs = shop(replicas=scaled)
    assert not problems(*specs)
    assert not problems(plane(providers={"local": {"type": "kubernetes"}}), *specs)
    found = only(plane(**DOCKER), *specs)
    assert (found.code, found.field[1:]) == ("no-autoscaler", ("replicas",))
    assert "no capability 'autoscaling'" in found.summary


def test_who_may_leave_replicas_to_an_autoscaler_says_so_itself(tmp_path: Path) -> None:
    for kind in ("docker", "kubernetes", "memory", "process"):
        config = ProviderConfig("here", kind, {})
        provider = build_provider(ProviderSettings("prod", config, str(tmp_path)))
        assert (Capability.AUTOSCALING in provider.capabilities) is (kind in AUTOSCALING)
        provider.close()


def test_of_an_autoscaled_instance_the_initial_replicas_count() -> None:
    limits = {"cpu": "1"}
    specs = [instance(replicas={"owner": "autoscaler", "initial": 3}, resources=limits),
             deployment()]  # fmt: skip
    assert not problems(tenant(quota={"cpu": "3"}), *specs)
    assert "declares 3 cpu" in only(tenant(quota={"cpu": "2"}), *specs).summary


def test_a_certificate_is_not_handed_to_replicas() -> None:
    found = only(*shop(secrets=["cert"]), secret("acme/cert", type="tls", key=None))
    assert (found.code, found.field) == ("wrong-secret-type", ("spec", "secrets", 0))


def test_a_circle_of_dependencies_is_printed() -> None:
    found = only(
        tenant(),
        *(
            item
            for place, (name, other) in enumerate([("a", "b"), ("b", "c"), ("c", "a")])
            for item in (
                instance(f"acme/{name}", 10 + place, dependsOn=[f"instance/acme/{other}"]),
                deployment(f"acme/{name}", 20 + place),
            )
        ),
    )
    assert (found.code, found.address) == ("dependency-cycle", "instance/acme/c")
    assert found.summary.endswith(
        "instance/acme/a -> instance/acme/b -> instance/acme/c -> instance/acme/a"
    )


def test_an_instance_that_waits_for_itself_is_a_circle() -> None:
    found = only(*shop(dependsOn=["instance/acme/web"]))
    assert found.summary.endswith("instance/acme/web -> instance/acme/web")


def test_a_dependency_that_runs_nothing_is_a_warning() -> None:
    found = problems(*shop(dependsOn=["instance/acme/db"]), instance("acme/db", line=11))
    assert found == [
        ("idle-dependency", "instance/acme/web", ("dependsOn", 0)),
        ("no-deployment", "instance/acme/db", ()),
    ]


@pytest.mark.parametrize(
    ("provider", "program", "codes"),
    [
        ("docker", {"image": "a"}, []),
        ("docker", {"image": None, "command": ["a"]}, ["image-required"]),
        ("process", {"image": None, "command": ["a"]}, []),
        ("process", {"image": "a"}, ["command-required"]),
        ("process", {"image": "a", "command": ["a"]}, []),
        ("memory", {"image": "a", "command": ["a"]}, []),
        ("memory", {"image": None, "command": ["a"]}, []),
        ("memory", {"image": None}, ["image-required"]),
    ],
)
def test_a_providers_type_says_what_a_deployment_needs(
    provider: str, program: dict[str, Any], codes: list[str]
) -> None:
    document = plane(providers={"local": {"type": provider}})
    found = problems(document, tenant(), instance(), deployment(**program))
    assert [item[0] for item in found] == codes


@pytest.mark.parametrize("name", ["PORT", "PORT_HTTP", "CTRLPLANE_TENANT"])
@pytest.mark.parametrize("where", ["instance", "deployment", "secret"])
def test_names_the_control_plane_sets_are_reserved(name: str, where: str) -> None:
    env = {"env": {name: "1"}}
    found = only(
        tenant(),
        instance(**env if where == "instance" else {}),
        deployment(**env if where == "deployment" else {}),
        secret(key=name if where == "secret" else "TOKEN"),
    )
    assert (found.code, found.address.partition("/")[0]) == ("reserved-env", where)


def test_a_variable_has_one_source() -> None:
    found = problems(
        tenant(),
        instance(env={"A": "1"}, secrets=["a", "b", "c", "d"]),
        deployment(env={"B": "1"}),
        secret("acme/a", line=31, key="A"),
        secret("acme/b", line=32, key="B"),
        secret("acme/c", line=33, key="C"),
        secret("acme/d", line=34, key="C"),
    )
    assert sorted(item[2] for item in found) == [("secrets", 0), ("secrets", 1), ("secrets", 3)]
    assert {item[0] for item in found} == {"env-conflict"}


def test_a_secret_never_becomes_an_argument() -> None:
    command = ["run", "$(TOKEN)", "$$(TOKEN)", "$(UNKNOWN)"]
    found = only(tenant(), instance(secrets=["token"]), deployment(command=command), secret())
    assert (found.code, found.field) == ("secret-in-command", ("spec", "command", 1))


@pytest.mark.parametrize(
    ("provider", "path", "codes"),
    [
        (PROCESS, "conf/app.yaml", []),
        (PROCESS, "/etc/app.yaml", ["absolute-path"]),
        (PROCESS, "../app.yaml", ["path-outside"]),
        (DOCKER, "/etc/app.yaml", []),
        (DOCKER, "conf/app.yaml", []),
        (DOCKER, "../app.yaml", ["path-outside"]),
    ],
)
@pytest.mark.parametrize("what", ["files", "volumes", "secrets"])
def test_paths_stay_below_the_working_directory_and_only_in_containers_are_absolute(
    provider: dict[str, Any], path: str, codes: list[str], what: str
) -> None:
    specs: dict[str, dict[str, Any]] = {
        "files": {"files": [{"path": path, "content": "", "mode": "0644"}]},
        "volumes": {"volumes": [{"name": "data", "path": path}]},
        "secrets": {"secrets": ["key"]},
    }
    program = {"image": None, "command": ["run"]} if provider is PROCESS else {}
    found = problems(
        plane(**provider),
        tenant(),
        instance(**specs[what]),
        deployment(**program),
        secret("acme/key", type="file", key=None, path=path if what == "secrets" else "/unused"),
    )
    assert [item[0] for item in found] == codes


@pytest.mark.parametrize(
    ("provider", "volume", "file", "is_conflict"),
    [
        (PROCESS, "data", "data/app.yaml", True),
        (PROCESS, "data/deep", "data", True),
        (PROCESS, "data", "database", False),
        (DOCKER, "/data", "/data/app.yaml", False),
        (DOCKER, "/data", "/data/", True),
    ],
)
def test_two_things_never_take_one_place(
    provider: dict[str, Any], volume: str, file: str, is_conflict: bool
) -> None:
    program = {"image": None, "command": ["run"]} if provider is PROCESS else {}
    found = problems(
        plane(**provider),
        tenant(),
        instance(
            volumes=[{"name": "data", "path": volume}],
            files=[{"path": file, "content": "", "mode": "0644"}],
        ),
        deployment(**program),
    )
    expected = [("path-conflict", "instance/acme/web", ("files", 0, "path"))]
    assert found == (expected if is_conflict else [])


def _quota(**quota: Any) -> list[Document]:
    size = {"resources": {"cpu": "500m", "memory": "256Mi"}}
    return [
        tenant(quota=quota),
        instance(replicas=3, volumes=[{"name": "d", "path": "/d", "size": "1Gi"}], **size),
        deployment(),
        instance("acme/db", line=11, **size),
        deployment("acme/db", line=21),
        secret(),
    ]


@pytest.mark.parametrize(
    ("name", "limit", "low", "total"),
    [
        ("instances", 2, 1, "2"),
        ("cpu", "2", "1999m", "2"),
        ("memory", "1Gi", "1023Mi", "1Gi"),
        ("disk", "1Gi", "1000Mi", "1Gi"),
        ("secrets", 1, 0, "1"),
    ],
)
def test_declared_totals_stay_within_the_quota(
    name: str, limit: object, low: object, total: str
) -> None:
    assert not problems(*_quota(**{name: limit}))
    found = only(*_quota(**{name: low}))
    assert (found.code, found.address, found.field) == (
        "over-quota",
        "tenant/acme",
        ("spec", "quota", name),
    )
    assert found.summary == f"tenant 'acme' declares {total} {name}, its quota is {low}"


def test_what_a_quota_counts_must_be_given() -> None:
    quota = {"cpu": "9", "memory": "9Gi", "disk": "9Gi"}
    found = problems(
        tenant(quota=quota), instance(volumes=[{"name": "d", "path": "/d"}]), deployment()
    )
    assert found == [
        ("unlimited", "instance/acme/web", ("resources",)),
        ("unlimited", "instance/acme/web", ("resources",)),
        ("unlimited", "instance/acme/web", ("volumes", 0)),
    ]


def test_every_problem_is_said_at_once() -> None:
    found = problems(
        tenant(quota={"instances": 0}),
        instance(provider="x", secrets=["y"], env={"PORT": "1"}),
        deployment(strategy=STRATEGY | {"type": "canary"}),
        deployment("acme/other", line=21, instance="nope"),
    )
    assert sorted(item[0] for item in found) == [
        "no-traffic",
        "over-quota",
        "reserved-env",
        "unknown-instance",
        "unknown-provider",
        "unknown-secret",
    ]
