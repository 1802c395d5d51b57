"""A fleet of a given size: a Git repo, and everything in it applied."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ctrlplane_gitops.app import Where, open_app
from ctrlplane_gitops.cli.plan import gc_off
from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.config import load_settings, store_location
from ctrlplane_gitops.execute.step import WorkState
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.memory import MemoryProvider
from ctrlplane_gitops.providers.memory_world import MemoryReplica, MemoryWorld
from ctrlplane_gitops.reconcile.gather import gather_documents, resolve_wanted
from ctrlplane_gitops.reconcile.run import PassParts, run_pass
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.store.registry import open_store
from tests.source.repo import commit, git, write

# Of this run alone: an engine may be shared.
PLANE = f"bench-{os.getpid()}"
WORLD = "world.json"
TENANTS = 100
_ROUTED = 5  # every fifth instance has a route

_INSTANCE = """\
apiVersion: ctrlplane.dev/v1
kind: Instance
metadata:
  tenant: {tenant}
  name: {name}
  labels: {{plan: pro, region: eu-central}}
spec:
  replicas: 1
  resources: {{cpu: 250m, memory: 128Mi}}
  ports:
    - {{name: http, port: 8080}}
  env:
    GREETING: "Hello from {tenant}"
    LOG_LEVEL: info
    NUMBER: "{number}"
---
apiVersion: ctrlplane.dev/v1
kind: Deployment
metadata:
  tenant: {tenant}
  name: {name}
spec:
  instance: {name}
  image: ctrlplane-test-app:1
  env: {{VERSION: "{version}"}}
  strategy: {{type: rolling, minReady: 0s, healthyDeadline: 30s, progressDeadline: 1m}}
"""
_ROUTE = """\
---
apiVersion: ctrlplane.dev/v1
kind: Route
metadata: {{tenant: {tenant}, name: {name}}}
spec:
  instance: {name}
  hosts: ["{name}.{tenant}.example"]
"""


@dataclass(slots=True)
class Fleet:
    """``size`` instances in ``repo``, one file each; ``environ`` is what the command runs with.
    ``written`` is how many bytes its first pass wrote for the store."""

    size: int
    repo: Path
    root: Path
    environ: Mapping[str, str]
    written: int = 0

    @property
    def world(self) -> Path:
        return self.root / "state" / PLANE / WORLD

    @property
    def parse_cache(self) -> Path:
        return self.root / "cache" / "parse"

    def path_of(self, number: int) -> str:
        return f"tenants/t{number % TENANTS:03d}/i{number:05d}.yaml"

    def commit_change(self, version: str, number: int = 0) -> str:
        """One more commit, that changes one file; its id."""
        write(self.repo, {self.path_of(number): instance_file(number, version)})
        return commit(self.repo)


def instance_file(number: int, version: str = "1") -> bytes:
    tenant, name = f"t{number % TENANTS:03d}", f"i{number:05d}"
    text = _INSTANCE + (_ROUTE if number % _ROUTED == 0 else "")
    return text.format(tenant=tenant, name=name, number=number, version=version).encode()


def make_files(size: int, provider: str) -> dict[str, bytes]:
    """``provider`` is the control plane's one provider, as flow YAML."""
    files = {
        "ctrlplane.yaml": (
            f"apiVersion: ctrlplane.dev/v1\nkind: ControlPlane\nmetadata: {{name: {PLANE}}}\n"
            f"spec: {{providers: {{here: {provider}}}, defaultProvider: here}}\n"
        ).encode()
    }
    for number in range(min(TENANTS, size)):
        files[f"tenants/t{number:03d}/tenant.yaml"] = (
            "apiVersion: ctrlplane.dev/v1\nkind: Tenant\n"
            f"metadata: {{name: t{number:03d}}}\nspec: {{displayName: Customer {number}}}\n"
        ).encode()
    for number in range(size):
        files[f"tenants/t{number % TENANTS:03d}/i{number:05d}.yaml"] = instance_file(number)
    return files


def make_fleet(root: Path, size: int, provider: str | None = None) -> Fleet:
    """The repo, packed, and its store and world after a real pass. The pass keeps the world in
    memory; then it is written once."""
    repo = root / "repo"
    repo.mkdir(parents=True)
    git(repo, "init", "-q", "-b", "main")
    # A collection that runs by itself would run beside what is measured.
    git(repo, "config", "gc.auto", "0")
    write(repo, make_files(size, provider or f"{{type: memory, path: {WORLD}}}"))
    commit(repo)
    git(repo, "repack", "-adq")
    environ = {
        **{name: text for name, text in os.environ.items() if not name.startswith("CTRLPLANE_")},
        "CTRLPLANE_STATE_DIR": str(root / "state"),
        "CTRLPLANE_CACHE_DIR": str(root / "cache"),
        "CTRLPLANE_ALLOW_FILE_URLS": "1",
    }
    fleet = Fleet(size, repo, root, environ)
    fleet.written = apply_fleet(fleet)
    return fleet


def read_replicas(fleet: Fleet) -> list[MemoryReplica]:
    return list(MemoryWorld(fleet.world).read().replicas.values())


def apply_fleet(fleet: Fleet) -> int:
    """A pass over the repo as it is; how many bytes this process wrote for the store."""
    clock, cancel = SystemClock(), threading.Event()
    settings = load_settings(fleet.environ)
    where = Where(str(fleet.repo), "main")
    world = _load_world(fleet)
    with gc_off(), open_app(
        settings, fleet.environ, clock, where, cancel, lambda effect: None
    ) as app:  # fmt: skip
        wanted = resolve_wanted(gather_documents(app.source, app.cache), app.backends)
        if wanted.desired is None:
            raise RuntimeError(f"the fleet is not valid: {wanted.diagnostics[:3]}")
        spec = wanted.desired.plane
        store = open_store(store_location(settings, spec.name, spec.store))
        config = ProviderConfig("here", "memory", {})
        provider = MemoryProvider(ProviderSettings(PLANE, config, str(fleet.root)), world)
        parts = PassParts(
            store=store,
            providers={"here": provider},
            clock=clock,
            actions=app.actions,
            looks=app.looks,
            probes=app.probes,
            cancel=cancel,
            actor="user:bench",
            on_event=lambda event: None,
            on_wait=lambda instance, what: None,
        )
        before = _count_written()
        try:
            specs = (wanted, wanted.desired)
            _, result = run_pass(specs, lambda: specs, parts, Policy(), lambda seen: None)
        finally:
            # The last one to close a store moves its log into it.
            store.close()
        written = _count_written() - before
    assert {item.state for item in result.results} <= {WorkState.DONE}, result
    _save_world(fleet, world)
    return written


def _load_world(fleet: Fleet) -> MemoryWorld:
    """In memory, for the file would be written anew for every replica."""
    world = MemoryWorld()
    if fleet.world.exists():
        _copy(MemoryWorld(fleet.world), world)
    return world


def _save_world(fleet: Fleet, world: MemoryWorld) -> None:
    _copy(world, MemoryWorld(fleet.world))


def _copy(source: MemoryWorld, target: MemoryWorld) -> None:
    found = source.read()
    with target.change() as data:
        data.replicas, data.next_id = found.replicas, found.next_id


def _count_written() -> int:
    """Bytes handed to the kernel by this process, its children left out. Source: proc(5)."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])
