"""Documents of each kind, small and sound, to be changed by a test."""

import json
from typing import Any

from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.specs.validate import parse

SPECS: dict[str, dict[str, Any]] = {
    "ControlPlane": {},
    "Tenant": {},
    "Instance": {"ports": [{"name": "http", "port": 8080}]},
    "Deployment": {"instance": "web", "image": "shop:1"},
    "Route": {"instance": "web", "hosts": ["shop.example.com"]},
    "Secret": {"type": "env", "key": "DATABASE_URL", "from": {"env": "ACME_DATABASE_URL"}},
}


def envelope(kind: str, spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """A document; ``spec`` is laid over the sound one of its kind."""
    owned = {} if kind in ("ControlPlane", "Tenant") else {"tenant": "acme"}
    return {
        "apiVersion": "ctrlplane.dev/v1",
        "kind": kind,
        "metadata": {"name": "web", **owned, **metadata},
        "spec": SPECS[kind] | (spec or {}),
    }


def parse_value(*values: Any) -> tuple[tuple[Document, ...], tuple[Diagnostic, ...]]:
    """JSON is YAML, so values of a test become a file without a writer of YAML."""
    text = "".join(f"---\n{json.dumps(value)}\n" for value in values)
    return parse({"a.yaml": text.encode()})


def normalise(kind: str, spec: dict[str, Any] | None = None) -> dict[str, Any]:
    """The normalised spec; AssertionError with the diagnostics when it is not sound."""
    documents, diagnostics = parse_value(envelope(kind, spec))
    assert not diagnostics, [item.render() for item in diagnostics]
    return dict(documents[0].spec)


def complain(kind: str, spec: dict[str, Any], **metadata: Any) -> list[str]:
    """``code at field`` of every diagnostic."""
    documents, diagnostics = parse_value(envelope(kind, spec, **metadata))
    assert not documents or not diagnostics
    return [f"{item.code} at {'.'.join(map(str, item.field))}" for item in diagnostics]
