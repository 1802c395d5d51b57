"""Passes over a folder of specs, with everything counted that a pass reads and does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.execute.part import ApplyResult
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.reconcile.gather import Wanted, gather_documents, resolve_wanted
from ctrlplane_gitops.reconcile.look import Look
from ctrlplane_gitops.reconcile.run import Amendment, PassParts, run_pass
from ctrlplane_gitops.source.base import Snapshot, Source
from ctrlplane_gitops.source.cache import ParseCache
from ctrlplane_gitops.source.directory import DirectorySource
from ctrlplane_gitops.state.recorded import Event
from ctrlplane_gitops.store.sqlite import SqliteStore
from tests.execute.execute_kit import Scripted

HEADER = "apiVersion: ctrlplane.dev/v1\n"
PLANE = (
    HEADER + "kind: ControlPlane\nmetadata: {{name: prod}}\n"
    "spec: {{providers: {{docker: {{type: memory}}, local: {{type: memory}}}}, "
    "defaultProvider: local{more}}}\n"
)


def tenant_file(name: str, version: str = "1", replicas: int = 1) -> str:
    """Three documents: a tenant, its instance and what it runs."""
    return (
        f"{HEADER}kind: Tenant\nmetadata: {{name: {name}}}\nspec: {{}}\n---\n"
        f"{HEADER}kind: Instance\nmetadata: {{tenant: {name}, name: web}}\n"
        f"spec: {{replicas: {replicas}}}\n---\n"
        f"{HEADER}kind: Deployment\nmetadata: {{tenant: {name}, name: web}}\n"
        f"spec: {{instance: web, image: 'shop:{version}', "
        "strategy: {type: rolling, minReady: 0s}}\n"
    )


class Counted:
    """A source that notes which paths' contents are read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.read: list[str] = []

    def fetch(self) -> Snapshot:
        snapshot = self._source.fetch()

        def read(blobs: Collection[str]) -> Mapping[str, bytes]:
            self.read += [path for path, blob in snapshot.entries.items() if blob in blobs]
            return snapshot.read(blobs)

        return replace(snapshot, read=read)


@dataclass
class Repo:
    """A folder of specs with a parse cache on disk; each ``gather`` is a new process's."""

    root: Path
    read: list[str] = field(default_factory=list)

    def write(self, path: str, text: str) -> None:
        file = self.root / "repo" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def begin(self, *tenants: str, more: str = "") -> None:
        self.write("ctrlplane.yaml", PLANE.format(more=more))
        for name in tenants:
            self.write(f"tenants/{name}.yaml", tenant_file(name))

    def gather(self, version: str = "1") -> Wanted:
        source = Counted(DirectorySource(self.root / "repo", environ={}))
        wanted = gather_documents(source, ParseCache(self.root / "cache.json", version))
        self.read = sorted(source.read)
        return wanted


class Plane:
    """What passes work with, for one control plane."""

    def __init__(self, root: Path) -> None:
        self.repo = Repo(root)
        self.clock = SystemClock()
        self.store = SqliteStore(root / "state.db")
        self.providers = {
            name: Scripted(name, root, self.clock)  # type: ignore[arg-type]
            for name in ("docker", "local")
        }
        self.pools = {name: Pool(4, name) for name in ("action", "look", "probe")}
        self.told: list[Event] = []

    def close(self) -> None:
        for pool in self.pools.values():
            pool.close()
        self.store.close()

    def run(
        self,
        approve: Callable[[Look], None] = lambda seen: None,
        amendment: Amendment | None = None,
        policy: Policy | None = None,
    ) -> tuple[Look, ApplyResult]:
        wanted = resolve_wanted(self.repo.gather(), {})
        assert wanted.desired is not None, wanted.diagnostics
        parts = PassParts(
            store=self.store,
            providers=self.providers,
            clock=self.clock,
            actions=self.pools["action"],
            looks=self.pools["look"],
            probes=self.pools["probe"],
            cancel=threading.Event(),
            actor="user:us",
            on_event=self.told.append,
            on_wait=lambda instance, text: None,
        )
        specs = (wanted, wanted.desired)
        return run_pass(specs, lambda: specs, parts, policy or Policy(), approve, amendment)

    def forget_calls(self) -> None:
        for provider in self.providers.values():
            provider.performed.clear()
            provider.looks.clear()

    @property
    def performed(self) -> int:
        return sum(len(item.performed) for item in self.providers.values())
