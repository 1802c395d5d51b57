"""A source whose files are set by hand, and the specs it holds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ctrlplane_gitops.reconcile.gather import Wanted, gather_documents, resolve_wanted
from ctrlplane_gitops.secrets.env import EnvBackend
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.source.tree import blob_id
from ctrlplane_gitops.value import replace

HEADER = "---\napiVersion: ctrlplane.dev/v1\n"
PLANE = (
    f"{HEADER}kind: ControlPlane\nmetadata: {{name: prod}}\n"
    "spec: {providers: {here: {type: memory}}, defaultProvider: here}\n"
)
BACKENDS = {"env": EnvBackend({"TOKEN": "s3cret-value"})}


class ScriptedSource:
    """A source whose files are set by hand; with ``has_commits`` it says what has changed since the
    fetch before, as a Git repository does."""

    def __init__(self, *, has_commits: bool = False) -> None:
        self.files: dict[str, bytes] = {"ctrlplane.yaml": PLANE.encode()}
        self._has_commits = has_commits
        self._last = Snapshot({}, dict)

    def fetch(self) -> Snapshot:
        contents = {blob_id(content): content for content in self.files.values()}
        entries = {path: blob_id(content) for path, content in self.files.items()}
        made = Snapshot(entries, partial(_pick, contents))
        before = self._last
        if self._has_commits and entries == before.entries:
            made = replace(made, commit=before.commit, changes=before.changes)
        elif self._has_commits:
            paths = {*entries, *before.entries}
            changed = {path for path in paths if entries.get(path) != before.entries.get(path)}
            number = str(int(before.commit or 0) + 1)
            made = replace(made, commit=number, changes=(before.commit, frozenset(changed)))
        self._last = made
        return made


def _pick(contents: Mapping[str, bytes], blobs: Any) -> dict[str, bytes]:
    return {blob: contents[blob] for blob in blobs}


def tenant(name: str) -> str:
    return f"{HEADER}kind: Tenant\nmetadata: {{name: {name}}}\nspec: {{}}\n"


def app(tenant: str, spec: str = "", version: str = "1", name: str = "web") -> str:
    meta = f"metadata: {{tenant: {tenant}, name: {name}}}\n"
    return (
        f"{HEADER}kind: Instance\n{meta}spec: {{ports: [{{name: http, port: 80}}], {spec}}}\n"
        f"{HEADER}kind: Deployment\n{meta}"
        f"spec: {{instance: {name}, image: shop, env: {{V: '{version}'}}}}\n"
    )


def route(tenant: str, host: str, path: str = "/", name: str = "web") -> str:
    return (
        f"{HEADER}kind: Route\nmetadata: {{tenant: {tenant}, name: {name}}}\n"
        f"spec: {{instance: web, hosts: [{host}], path: {path}}}\n"
    )


def secret(tenant: str, variable: str = "TOKEN") -> str:
    return (
        f"{HEADER}kind: Secret\nmetadata: {{tenant: {tenant}, name: token}}\n"
        f"spec: {{type: env, key: TOKEN, from: {{env: {variable}}}}}\n"
    )


def write(source: ScriptedSource, edits: Mapping[str, str | None]) -> None:
    for path, text in edits.items():
        if text is None:
            source.files.pop(path, None)
        else:
            source.files[path] = text.encode()


def read_everything(source: ScriptedSource) -> Wanted:
    return resolve_wanted(gather_documents(source, None), BACKENDS)
