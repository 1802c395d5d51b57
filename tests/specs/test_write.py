"""Documents that are written by us: as people write them, and read back as what was meant."""

from __future__ import annotations

from ctrlplane_gitops.diagnostics import has_errors
from ctrlplane_gitops.specs.validate import parse
from ctrlplane_gitops.specs.write import Written, render_documents

ODD = {
    "A": "yes",
    "B": "1.20",
    "C": "#no comment: really",
    "D": "",
    "E": "0x10",
    "F": "two\nlines",
    "G": "%YAML 1.1",
    "H": "null",
    "I": "12:30:45",
    "J": 'it\'s "quoted" \\',
    "K": "-x",
    "L": "é",
    "M": "1e3",
    "N": "2026-01-31",
    "O": "<<",
    "P": "*a",
}


def test_documents_look_as_people_write_them() -> None:
    text = render_documents(
        [
            Written("Tenant", {"name": "acme"}, {"displayName": "acme"}),
            Written(
                "Instance",
                {"tenant": "acme", "name": "web"},
                {
                    "replicas": 1,
                    "resources": {"cpu": "500m", "memory": "64Mi"},
                    "ports": [{"name": "http", "port": 8080}],
                },
                ("Adopted: shop.",),
            ),
        ]
    )
    assert text == (
        "apiVersion: ctrlplane.dev/v1\n"
        "kind: Tenant\n"
        "metadata: {name: acme}\n"
        "spec: {displayName: acme}\n"
        "---\n"
        "# Adopted: shop.\n"
        "apiVersion: ctrlplane.dev/v1\n"
        "kind: Instance\n"
        "metadata: {tenant: acme, name: web}\n"
        "spec:\n"
        "  replicas: 1\n"
        "  resources: {cpu: 500m, memory: 64Mi}\n"
        "  ports: [{name: http, port: 8080}]\n"
    )


def test_every_text_is_read_back_as_it_was() -> None:
    command = [*ODD.values(), "x" * 300, "a long text " * 30]
    spec = {"instance": "web", "image": "shop:1", "command": command, "env": ODD}
    text = render_documents([Written("Deployment", {"tenant": "acme", "name": "web"}, spec)])
    documents, diagnostics = parse({"a.yaml": text.encode()})
    assert not has_errors(diagnostics), diagnostics
    [document] = documents
    assert dict(document.spec["env"]) == ODD
    assert list(document.spec["command"]) == command
