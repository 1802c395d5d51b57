"""The JSON Schemas in ``schemas/``: equal to the models, and of one mind with ``parse``."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ctrlplane_gitops.specs.jsonschema import ALL_KINDS, build_schemas, render_schema
from tests.specs.build import SPECS, envelope, parse_value

FOLDER = Path(__file__).parents[2] / "schemas"
SCHEMAS = build_schemas()
RICH: dict[str, dict[str, Any]] = {
    "ControlPlane": {
        "providers": {
            "local": {"type": "process"},
            "docker": {"type": "docker", "host": "unix:///run/docker.sock"},
        },
        "defaultProvider": "local",
        "router": {"type": "traefik", "entryPoints": {"web": ":8080"}},
        "prune": {"maxDelete": "20%", "volumes": True},
        "store": "state.db",
        "ignore": ["charts/**"],
    },
    "Tenant": {
        "displayName": "Acme",
        "quota": {"instances": 10, "cpu": "16", "memory": "32Gi", "disk": 1024, "domains": 2},
        "suspended": True,
        "protect": True,
    },
    "Instance": {
        "provider": "docker",
        "replicas": 3,
        "resources": {"cpu": 0.5, "memory": "256Mi"},
        "ports": [{"name": "http", "port": 8080}],
        "env": {"LOG_LEVEL": "info"},
        "secrets": ["database-url"],
        "volumes": [{"name": "data", "path": "/var/lib/app", "size": "1Gi"}],
        "files": [{"path": "/etc/a", "source": "files/a"}, {"path": "b", "content": ""}],
        "health": [
            {"type": "http", "statuses": 204},
            {"type": "command", "command": ["true"], "interval": "1h30m"},
            {"type": "grpc", "port": "http", "service": "shop.v1.Cart"},
        ],
        "dependsOn": ["instance/acme/db"],
    },
    "Deployment": {
        "command": "sleep 5",
        "strategy": {
            "type": "canary",
            "minReady": "500ms",
            "canary": {"steps": [{"weight": 10, "pause": "manual"}, {"weight": 100}]},
        },
    },
    "Route": {"path": "/a", "port": "http", "stripPrefix": True, "tls": {"certificate": "auto"}},
    "Secret": {"protect": True},
}
WRONG: dict[str, list[dict[str, Any]]] = {
    "ControlPlane": [
        {"providers": {"Local": {"type": "process"}}},
        {"providers": {"local": {}}},
        {"prune": {"maxDelete": 20}},
    ],
    "Tenant": [{"quota": {"cpu": "x"}}, {"suspended": "yes"}, {"quota": {"cpus": 1}}],
    "Instance": [
        {"replicas": "3"},
        {"replcias": 3},
        {"env": {"A": 1}},
        {"env": {"A B": "x"}},
        {"env": None},
        {"resources": {"memory": "12Q"}},
        {"files": [{"path": "a"}]},
        {"files": [{"path": "a", "source": "../b"}]},
        {"health": [{"type": "http", "interval": "5"}]},
        {"health": [{"type": "http", "statuses": "900"}]},
        {"dependsOn": ["db"]},
    ],
    "Deployment": [
        {"strategy": {"type": "bluegreen"}},
        {"strategy": {"rolling": {"maxSurge": "101%"}}},
        {"strategy": {"type": "canary", "canary": {"steps": []}}},
    ],
    "Route": [{"hosts": []}, {"hosts": ["http://a"]}, {"path": "a"}],
    "Secret": [
        {"type": "file"},
        {"value": "x"},
        {"from": {"env": "A", "file": "b"}},
        {"registry": "ghcr.io"},
    ],
}


def _is_valid(kind: str, value: Any) -> bool:
    own = Draft202012Validator(SCHEMAS[f"{kind.lower()}.json"]).is_valid(value)
    assert Draft202012Validator(SCHEMAS[ALL_KINDS]).is_valid(value) is own
    return bool(own)


def test_the_files_are_what_the_models_say() -> None:
    built = {name: render_schema(schema) for name, schema in SCHEMAS.items()}
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == built


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_schema_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_field_is_described_and_takes_no_null(name: str) -> None:
    nodes: list[Any] = [SCHEMAS[name]]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            for field, schema in node.get("properties", {}).items():
                assert schema is False or "const" in schema or schema.get("description"), field
            assert node.get("type") != "null"
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_what_parse_takes_the_schema_takes(kind: str) -> None:
    for spec in ({}, RICH[kind]):
        value = envelope(kind, spec)
        if spec.get("command"):
            del value["spec"]["image"]
        documents, diagnostics = parse_value(value)
        assert [item.render() for item in diagnostics] == []
        assert len(documents) == 1
        assert _is_valid(kind, value)


@pytest.mark.parametrize(
    ("kind", "spec"), [(kind, spec) for kind in sorted(WRONG) for spec in WRONG[kind]]
)
def test_what_the_schema_refuses_parse_refuses(kind: str, spec: dict[str, Any]) -> None:
    value = envelope(kind, spec)
    assert not _is_valid(kind, value)
    assert parse_value(value)[1]


def test_the_envelope_is_checked_too() -> None:
    value = envelope("Tenant")
    for key in ("apiVersion", "kind", "metadata"):
        broken = copy.deepcopy(value)
        del broken[key]
        assert not Draft202012Validator(SCHEMAS["tenant.json"]).is_valid(broken)
    assert not _is_valid("Tenant", value | {"apiVersion": "v1"})
    assert not _is_valid("Tenant", json.loads(json.dumps(value)) | {"state": {}})
