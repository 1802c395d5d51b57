"""Normalised documents by hand: only what a test is about is written, defaults fill the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ctrlplane_gitops.catalog.build import build_catalog
from ctrlplane_gitops.catalog.secret import secret_refs_of
from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import DesiredInstance, DesiredState
from ctrlplane_gitops.state.key import Kind, ResourceKey, parse_address

STRATEGY = {
    "type": "rolling",
    "minReady": "10s",
    "healthyDeadline": "5m",
    "progressDeadline": "10m",
    "drainTimeout": "30s",
    "stopTimeout": "30s",
    "autoRollback": True,
    "revisionHistoryLimit": 10,
}
CHECK = {
    "path": "/",
    "command": [],
    "interval": "5s",
    "timeout": "2s",
    "retries": 3,
    "statuses": "200-399",
}
_DEFAULTS: dict[Kind, dict[str, Any]] = {
    Kind.CONTROL_PLANE: {
        "providers": {"local": {"type": "memory"}, "docker": {"type": "docker"}},
        "defaultProvider": "local",
        "prune": {"maxDelete": "20%", "volumes": False},
        "ignore": [],
    },
    Kind.TENANT: {"displayName": "", "quota": {}, "suspended": False, "protect": False},
    Kind.INSTANCE: {
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
    },
    Kind.DEPLOYMENT: {"command": [], "env": {}, "strategy": STRATEGY, "protect": False},
    Kind.ROUTE: {
        "path": "/",
        "stripPrefix": False,
        "sticky": False,
        "previewHosts": [],
        "protect": False,
    },
    Kind.SECRET: {"type": "env", "protect": False},
}


def make(kind: Kind, address: str, spec: Mapping[str, Any], **more: Any) -> Document:
    """``address`` is ``tenant/name`` (a tenant's or control plane's is its name); below, ``at``
    is the file."""
    tenant, _, name = address.rpartition("/")
    if kind is Kind.TENANT:
        tenant = name
    place = {"path": f"tenants/{tenant or name}.yaml", "index": 0, "line": 1} | more
    return Document(kind, tenant, name, _DEFAULTS[kind] | dict(spec), **place)


def plane(**spec: Any) -> Document:
    return make(Kind.CONTROL_PLANE, "prod", spec, path="ctrlplane.yaml")


def tenant(name: str = "acme", **spec: Any) -> Document:
    return make(Kind.TENANT, name, spec)


def instance(address: str = "acme/web", line: int = 10, at: str = "", **spec: Any) -> Document:
    return _place(make(Kind.INSTANCE, address, spec), line, at)


def deployment(address: str = "acme/web", line: int = 20, at: str = "", **spec: Any) -> Document:
    spec = {"instance": address.rpartition("/")[2], "image": "shop:1"} | spec
    return _place(make(Kind.DEPLOYMENT, address, spec), line, at)


def secret(address: str = "acme/token", line: int = 30, at: str = "", **spec: Any) -> Document:
    spec = {"key": "TOKEN", "from": {"env": "ACME_TOKEN"}} | spec
    return _place(make(Kind.SECRET, address, spec), line, at)


def route(address: str = "acme/web", line: int = 40, at: str = "", **spec: Any) -> Document:
    spec = {"instance": address.rpartition("/")[2], "hosts": ["shop.example"]} | spec
    return _place(make(Kind.ROUTE, address, spec), line, at)


def _place(document: Document, line: int, at: str) -> Document:
    more = document.to_json() | {"line": line, "index": line}
    return Document(**{**more, "kind": document.kind, "path": at or document.path})


ROUTER = {
    "type": "traefik",
    "entryPoints": {"web": ":80", "websecure": {"address": ":443", "tls": True}},
}


def shop(name: str = "acme", **spec: Any) -> list[Document]:
    """A tenant with one instance ``web`` and its deployment."""
    return [tenant(name), instance(f"{name}/web", **spec), deployment(f"{name}/web")]


def digests_of(documents: Sequence[Document]) -> dict[ResourceKey, str]:
    return {key: f"digest-of-{key.name}" for key in secret_refs_of(documents)}


def build(
    *documents: Document,
    diagnostics: Sequence[Diagnostic] = (),
    entries: Mapping[str, str] | None = None,
    digests: Mapping[ResourceKey, str] | None = None,
) -> tuple[DesiredState | None, tuple[Diagnostic, ...]]:
    """With a control plane unless there is one among the documents."""
    if not any(item.kind is Kind.CONTROL_PLANE for item in documents):
        documents = (plane(), *documents)
    return build_catalog(
        documents,
        diagnostics,
        entries or {},
        digests_of(documents) if digests is None else digests,
    )


def built(*documents: Document, **more: Any) -> DesiredState:
    """The state, when nothing is an error."""
    state, found = build(*documents, **more)
    assert state is not None
    assert not [item.render() for item in found if item.is_error]
    return state


def problems(*documents: Document, **more: Any) -> list[tuple[str, str, tuple[str | int, ...]]]:
    """(code, address, field below spec) of every finding, in order."""
    _, found = build(*documents, **more)
    return [(item.code, item.address, item.field[1:]) for item in found]


def only(*documents: Document, **more: Any) -> Diagnostic:
    """The one finding there is."""
    _, found = build(*documents, **more)
    assert len(found) == 1, [item.render() for item in found]
    return found[0]


def get(state: DesiredState, address: str = "instance/acme/web") -> DesiredInstance:
    return state.instances[parse_address(address)]
