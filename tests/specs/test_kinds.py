"""What each kind may say, and what it means once every default is filled in."""

from typing import Any

import pytest

from tests.specs.build import complain, envelope, normalise, parse_value


def test_an_empty_control_plane_runs_processes_on_this_machine() -> None:
    assert normalise("ControlPlane") == {
        "providers": {"local": {"type": "process"}},
        "defaultProvider": "local",
        "prune": {"maxDelete": "20%", "volumes": False},
        "ignore": [],
    }


def test_options_of_a_provider_and_a_router_stay_as_they_are_written() -> None:
    options = {"type": "docker", "host": "unix:///run/docker.sock", "pull": {"always": True}}
    router = {"type": "traefik", "entryPoints": {"web": ":8080"}}
    spec = normalise("ControlPlane", {"providers": {"box": options}, "router": router})
    assert spec["providers"] == {"box": options}
    assert spec["router"] == router
    assert spec["defaultProvider"] == "box"


def test_two_providers_need_a_default() -> None:
    providers = {"a": {"type": "process"}, "b": {"type": "docker"}}
    found = complain("ControlPlane", {"providers": providers})
    assert found == ["missing-key at spec.defaultProvider"]
    assert normalise("ControlPlane", {"providers": providers, "defaultProvider": "b"})


@pytest.mark.parametrize(
    "options",
    [
        {"password": "x"},
        {"registry": {"authToken": "x"}},
        {"apiKey": "x"},
        {"aws_secret_access_key": "x"},
        {"host": "tcp://me:pw@example.com"},
        {"hosts": [{"client_secret": "x"}]},
        {"pem": "-----BEGIN RSA PRIVATE KEY-----\nx"},
        {"password": 12345},
    ],
)
def test_a_credential_in_clear_is_refused_and_not_shown(options: dict[str, Any]) -> None:
    spec = {"providers": {"local": {"type": "docker", **options}}}
    _, diagnostics = parse_value(envelope("ControlPlane", spec))
    assert [item.code for item in diagnostics] == ["clear-secret"]
    for value in ("'x'", "pw", "12345"):
        assert value not in diagnostics[0].render()


def test_where_a_credential_is_may_be_said() -> None:
    options = {"type": "docker", "tokenFile": "/run/t", "passwordEnv": "PW", "secretName": "s"}
    assert normalise("ControlPlane", {"providers": {"local": options}})["providers"] == {
        "local": options
    }
    assert complain("ControlPlane", {"store": "postgres://a:b@c/d"}) == [
        "clear-secret at spec.store"
    ]


def test_a_tenant_has_no_limits_unless_it_says_so() -> None:
    assert normalise("Tenant") == {
        "displayName": "",
        "quota": {},
        "suspended": False,
        "protect": False,
    }
    quota = {"cpu": 1.5, "memory": "1024Mi", "disk": 0, "instances": 3, "secrets": 0}
    assert normalise("Tenant", {"quota": quota})["quota"] == {
        "instances": 3,
        "cpu": "1500m",
        "memory": "1Gi",
        "disk": "0",
        "secrets": 0,
    }


def test_an_instance_has_every_default_filled_in() -> None:
    assert normalise("Instance", {"ports": []}) == {
        "replicas": 1,
        "resources": {},
        "ports": [],
        "env": {},
        "secrets": [],
        "volumes": [],
        "files": [],
        "health": [],
        "dependsOn": [],
        "protect": False,
    }


def test_two_ways_to_write_the_same_are_equal() -> None:
    first = {"resources": {"cpu": "0.5", "memory": "1024Mi"}, "files": [_file("/a//b/./c", "644")]}
    second = {"resources": {"cpu": "500m", "memory": "1Gi"}, "files": [_file("/a/b/c", "0644")]}
    assert normalise("Instance", first) == normalise("Instance", second)
    slow = {"strategy": {"minReady": "60s", "healthyDeadline": "90m", "progressDeadline": "2h"}}
    same = {"strategy": {"minReady": "1m", "healthyDeadline": "1h30m", "progressDeadline": "120m"}}
    assert normalise("Deployment", slow) == normalise("Deployment", same)


def _file(path: str, mode: str) -> dict[str, str]:
    return {"path": path, "content": "x", "mode": mode}


def test_a_health_check_is_named_after_its_type_and_asks_the_first_port() -> None:
    health = normalise("Instance", {"health": [{"type": "http", "statuses": 204}]})["health"]
    assert health == [
        {
            "name": "http",
            "type": "http",
            "port": "http",
            "path": "/",
            "command": [],
            "interval": "5s",
            "timeout": "2s",
            "retries": 3,
            "statuses": "204-204",
        }
    ]


def test_a_health_command_may_be_one_string() -> None:
    check = normalise("Instance", {"health": [{"type": "command", "command": "sh -c 'a b'"}]})
    assert check["health"][0]["command"] == ["sh", "-c", "a b"]
    assert "port" not in check["health"][0]


def test_a_grpc_check_asks_the_first_port_about_the_whole_server() -> None:
    [check] = normalise("Instance", {"health": [{"type": "grpc"}]})["health"]
    assert (check["name"], check["port"], check["service"]) == ("grpc", "http", "")
    named = {"type": "grpc", "service": "shop.v1.Cart"}
    [check] = normalise("Instance", {"health": [named]})["health"]
    assert check["service"] == "shop.v1.Cart"


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"replicas": 1001}, "wrong-value at spec.replicas"),
        ({"replicas": -1}, "wrong-value at spec.replicas"),
        ({"replicas": True}, "wrong-type at spec.replicas"),
        ({"resources": {"memory": "0"}}, "wrong-value at spec.resources.memory"),
        ({"resources": {"cpu": "1" * 5000}}, "wrong-value at spec.resources.cpu"),
        ({"resources": {"memory": True}}, "wrong-type at spec.resources.memory"),
        ({"env": {"A": 1}}, "wrong-type at spec.env.A"),
        ({"env": {"A": None}}, "empty-value at spec.env.A"),
        ({"env": {"A B": "x"}}, "wrong-key at spec.env.A B"),
        ({"secrets": ["a", "a"]}, "duplicate at spec.secrets.1"),
        ({"secrets": ["A"]}, "wrong-value at spec.secrets.0"),
        ({"volumes": [{"name": "a", "path": "../b"}]}, "wrong-value at spec.volumes.0.path"),
        ({"volumes": [{"name": "a", "path": "/"}]}, "wrong-value at spec.volumes.0.path"),
        ({"files": [{"path": "a"}]}, "wrong-choice at spec.files.0"),
        ({"files": [{"path": "a", "source": "/b"}]}, "wrong-value at spec.files.0.source"),
        ({"files": [_file("a", "999")]}, "wrong-value at spec.files.0.mode"),
        (
            {"files": [{"path": "a", "content": "", "mode": 420}]},
            "wrong-value at spec.files.0.mode",
        ),
        ({"health": [{"type": "tcp", "path": "/x"}]}, "unused-key at spec.health.0.path"),
        ({"health": [{"type": "grpc", "path": "/x"}]}, "unused-key at spec.health.0.path"),
        ({"health": [{"type": "grpc", "statuses": 200}]}, "unused-key at spec.health.0.statuses"),
        ({"health": [{"type": "grpc", "command": "a"}]}, "unused-key at spec.health.0.command"),
        ({"health": [{"type": "http", "service": "a"}]}, "unused-key at spec.health.0.service"),
        ({"health": [{"type": "tcp", "service": "a"}]}, "unused-key at spec.health.0.service"),
        (
            {"health": [{"type": "command", "command": "a", "service": "a"}]},
            "unused-key at spec.health.0.service",
        ),
        ({"health": [{"type": "grpc", "service": "a b"}]}, "wrong-value at spec.health.0.service"),
        ({"health": [{"type": "command"}]}, "missing-key at spec.health.0.command"),
        ({"health": [{"type": "tcp"}, {"type": "tcp"}]}, "duplicate at spec.health.1.name"),
        ({"health": [{"type": "tcp", "timeout": "0s"}]}, "wrong-value at spec.health.0.timeout"),
        (
            {"health": [{"type": "http", "statuses": "399-200"}]},
            "wrong-value at spec.health.0.statuses",
        ),
        ({"dependsOn": ["db"]}, "wrong-value at spec.dependsOn.0"),
        ({"dependsOn": ["route/acme/db"]}, "wrong-value at spec.dependsOn.0"),
        ({"ports": {"http": 80}}, "wrong-type at spec.ports"),
    ],
)
def test_a_wrong_instance_is_told_where(spec: dict[str, Any], found: str) -> None:
    assert complain("Instance", spec) == [found]


def test_ports_may_repeat_neither_name_nor_number() -> None:
    ports = [{"name": "a", "port": 1}, {"name": "b", "port": 1}, {"name": "a", "port": 2}]
    assert complain("Instance", {"ports": ports}) == [
        "duplicate at spec.ports.1.port",
        "duplicate at spec.ports.2.name",
    ]


def test_a_deployment_moves_by_rolling_unless_it_says_so() -> None:
    assert normalise("Deployment") == {
        "instance": "web",
        "image": "shop:1",
        "command": [],
        "env": {},
        "strategy": {
            "type": "rolling",
            "minReady": "10s",
            "healthyDeadline": "5m",
            "progressDeadline": "10m",
            "drainTimeout": "30s",
            "stopTimeout": "30s",
            "autoRollback": True,
            "revisionHistoryLimit": 10,
            "rolling": {"maxSurge": "25%", "maxUnavailable": "0"},
        },
        "protect": False,
    }


@pytest.mark.parametrize(
    ("type_", "block"),
    [
        ("blueGreen", {"autoPromote": True, "scaleDownDelay": "30s", "bakeTime": "0s"}),
        (
            "canary",
            {
                "steps": [
                    {"weight": 10, "pause": "2m"},
                    {"weight": 50, "pause": "2m"},
                    {"weight": 100},
                ]
            },
        ),
    ],
)
def test_only_the_block_of_the_strategy_is_kept(type_: str, block: dict[str, Any]) -> None:
    strategy = normalise("Deployment", {"strategy": {"type": type_}})["strategy"]
    assert strategy[type_] == block
    assert not {"rolling", "blueGreen", "canary"} - {type_} & set(strategy)


def test_recreate_has_no_block() -> None:
    strategy = normalise("Deployment", {"strategy": {"type": "recreate"}})["strategy"]
    assert not {"rolling", "blueGreen", "canary"} & set(strategy)


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"image": "a b"}, "wrong-value at spec.image"),
        ({"command": "a 'b"}, "wrong-value at spec.command"),
        ({"command": ["a", 1]}, "wrong-type at spec.command.1"),
        ({"instance": "Web"}, "wrong-value at spec.instance"),
        ({"strategy": {"type": "bluegreen"}}, "unknown-value at spec.strategy.type"),
        ({"strategy": {"canary": {}}}, "unused-strategy-block at spec.strategy.canary"),
        ({"strategy": {"minReady": 10}}, "wrong-type at spec.strategy.minReady"),
        (
            {"strategy": {"type": "canary", "canary": {"steps": []}}},
            "wrong-value at spec.strategy.canary.steps",
        ),
        (
            {"strategy": {"rolling": {"maxSurge": 0, "maxUnavailable": "0%"}}},
            "wrong-value at spec.strategy.rolling",
        ),
        (
            {"strategy": {"rolling": {"maxSurge": "101%"}}},
            "wrong-value at spec.strategy.rolling.maxSurge",
        ),
        ({"strategy": {"healthyDeadline": "11m"}}, "wrong-order at spec.strategy.healthyDeadline"),
        ({"strategy": {"progressDeadline": "1m"}}, "wrong-order at spec.strategy.progressDeadline"),
    ],
)
def test_a_wrong_deployment_is_told_where(spec: dict[str, Any], found: str) -> None:
    assert complain("Deployment", spec) == [found]


def test_a_deadline_that_only_breaks_a_default_says_so() -> None:
    _, found = parse_value(envelope("Deployment", {"strategy": {"minReady": "6m"}}))
    assert "5m is the default of healthyDeadline" in found[0].hint


def test_a_deployment_needs_an_image_or_a_command() -> None:
    value = envelope("Deployment")
    del value["spec"]["image"]
    _, found = parse_value(value)
    assert [item.code for item in found] == ["missing-key"]


def test_hosts_are_lower_case_and_stand_once() -> None:
    assert normalise("Route", {"hosts": ["Shop.Example.COM"]})["hosts"] == ["shop.example.com"]
    assert complain("Route", {"hosts": ["a.b", "A.b"]}) == ["duplicate at spec.hosts.1"]
    for host in ("", "a_b", "-a", "a..b", "http://a", "a:80", "x" * 64, ".".join(["ab"] * 100)):
        assert complain("Route", {"hosts": [host]}) == ["wrong-value at spec.hosts.0"]
    assert complain("Route", {"hosts": []}) == ["wrong-value at spec.hosts"]


def test_a_route_answers_everything_of_its_host_unless_it_says_so() -> None:
    assert normalise("Route", {"tls": {}}) == {
        "instance": "web",
        "hosts": ["shop.example.com"],
        "path": "/",
        "stripPrefix": False,
        "tls": {"certificate": "auto"},
        "sticky": False,
        "previewHosts": [],
        "protect": False,
    }


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"type": "file"}, ["missing-key", "unused-key"]),
        ({"from": {}}, ["wrong-choice"]),
        ({"from": {"env": "A", "file": "b"}}, ["wrong-choice"]),
        ({"value": "x"}, ["clear-secret"]),
        ({"data": {"a": "x"}}, ["clear-secret"]),
        ({"key": "1"}, ["wrong-value"]),
    ],
)
def test_a_wrong_secret_is_told_what(spec: dict[str, Any], found: list[str]) -> None:
    _, diagnostics = parse_value(envelope("Secret", spec))
    assert sorted(item.code for item in diagnostics) == found


def test_a_secret_says_where_its_value_comes_from_and_goes() -> None:
    assert normalise("Secret") == {
        "type": "env",
        "key": "DATABASE_URL",
        "from": {"env": "ACME_DATABASE_URL"},
        "protect": False,
    }


@pytest.mark.parametrize("kind", ["Instance", "Deployment", "Route", "Secret"])
def test_what_a_tenant_owns_needs_a_tenant(kind: str) -> None:
    value = envelope(kind)
    del value["metadata"]["tenant"]
    _, found = parse_value(value)
    assert [(item.code, item.tenant) for item in found] == [("missing-key", "")]
    assert found[0].summary == "metadata.tenant is required"


@pytest.mark.parametrize("kind", ["Tenant", "ControlPlane"])
def test_a_tenant_and_a_control_plane_have_no_tenant(kind: str) -> None:
    assert complain(kind, {}, tenant="acme") == ["unknown-key at metadata.tenant"]


def test_names_are_dns_labels_and_short_where_they_become_part_of_others() -> None:
    for kind in ("Tenant", "Instance"):
        assert complain(kind, {}, name="x" * 40) == []
        assert complain(kind, {}, name="x" * 41) == ["wrong-value at metadata.name"]
    assert complain("Route", {}, name="x" * 63) == []
    for name in ("A", "a_b", "-a", "a-", "", "a.b", "é", "a\n", "x" * 64):
        assert complain("Route", {}, name=name) == ["wrong-value at metadata.name"]
    assert complain("Route", {}, labels={"a": 1}) == ["wrong-type at metadata.labels.a"]


@pytest.mark.parametrize(
    ("path", "kept"), [("/", "/"), ("/api", "/api"), ("/api/", "/api"), ("/a.b(c)", "/a.b(c)")]
)
def test_a_route_is_by_whole_segments_so_a_slash_at_the_end_says_nothing(
    path: str, kept: str
) -> None:
    spec = normalise("Route", {"instance": "web", "hosts": ["a.example"], "path": path})
    assert spec["path"] == kept


@pytest.mark.parametrize("path", ["api", "//", "/a//b", "/a/../b", "/./a", "/a?b", "/a b", "/a`b"])
def test_a_path_that_routers_read_differently_is_refused(path: str) -> None:
    assert complain("Route", {"path": path}) == ["wrong-value at spec.path"]


def test_a_preview_has_a_host_of_its_own() -> None:
    spec = {"hosts": ["a.example"], "previewHosts": ["A.example"]}
    assert complain("Route", spec) == ["duplicate at spec.previewHosts.0"]
    for header in ({"name": "X Y", "value": "1"}, {"name": "X", "value": "`"}):
        assert len(complain("Route", {"canaryHeader": header})) == 1
