"""Worlds with a router in front of the replicas, a light load through it, and what must be true
of such a world once an apply has ended."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctrlplane_gitops.network.conformance_kit import Client
from ctrlplane_gitops.network.registry import build_router
from ctrlplane_gitops.network.router import Router, RouterSettings
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.registry import build_provider
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.state.observed import ObservedReplica
from ctrlplane_gitops.state.traffic import RouterState
from tests.e2e.crash_kit import CrashWorld, Runtime
from tests.e2e.plane import wait_until
from tests.engines.program import free_port

SERVER = Path(__file__).with_name("route_server.py")
CLIENT = Path(__file__).with_name("route_client.py")
HOST = "shop.acme.test"
WEB = "instance/acme/web"
_HEADER = "apiVersion: ctrlplane.dev/v1\n"
_HTTP = "{name: up, type: http, path: /healthz, interval: 200ms, timeout: 2s}"
# Of a bad version: fails as soon as it was sent a request. A router cannot do such a check, so it
# goes on sending requests to those that fail it.
_SERVED = (
    "{name: up, type: command, interval: 250ms, timeout: 5s, command: [sh, -c, '[ ! -e served ]']}"
)

MEMORY = Runtime("{type: memory, path: world.json}", "{type: memory, path: world.json}", "image: x")
PROCESS = Runtime(
    "{type: process}",
    "{type: process}",
    f"command: ['{sys.executable}', -S, -E, app/server.py]",
    _HTTP,
)


@dataclass(frozen=True)
class Routing:
    """A type of router. ``drain_timeout`` must outlast the slow requests where the router cannot
    count them; ``points`` says whether it listens."""

    type: str
    drain_timeout: str
    is_real: bool = True


MEMORY_ROUTER = Routing("memory", "0s", is_real=False)
HAPROXY = Routing("haproxy", "10s")
TRAEFIK = Routing("traefik", "600ms")


def app(world: RouteWorld, version: str, strategy: str, *, replicas: int = 2) -> str:
    """A tenant, an instance with two routes and its deployment."""
    runtime = world.runtime
    is_probed = "bakeTime" in strategy
    deadline = "3s" if is_probed or version.startswith("never") else "20s"
    checks = f"[{_SERVED if is_probed else runtime.checks}]" if runtime.checks != "[]" else "[]"
    return (
        f"{_HEADER}kind: Tenant\nmetadata: {{name: acme}}\nspec: {{}}\n---\n"
        f"{_HEADER}kind: Instance\nmetadata: {{tenant: acme, name: web}}\n"
        f"spec:\n  replicas: {replicas}\n  ports: [{{name: http, port: 8080}}]\n"
        f"  health: {checks}\n  files: [{{path: app/server.py, source: app/server.py}}]\n---\n"
        f"{_HEADER}kind: Deployment\nmetadata: {{tenant: acme, name: web}}\n"
        f"spec:\n  instance: web\n  {runtime.program}\n  env: {{VERSION: '{version}'}}\n"
        f"  strategy: {{{strategy}, minReady: 0s, progressDeadline: 40s,"
        f" healthyDeadline: {deadline},"
        f" stopTimeout: 5s, drainTimeout: {world.routing.drain_timeout}}}\n---\n"
        f"{_HEADER}kind: Route\nmetadata: {{tenant: acme, name: shop}}\n"
        f"spec: {{instance: web, hosts: [{HOST}], previewHosts: [next.acme.test],"
        " canaryHeader: {name: X-Canary, value: 'yes'}}\n---\n"
        f"{_HEADER}kind: Route\nmetadata: {{tenant: acme, name: api}}\n"
        f"spec: {{instance: web, hosts: [{HOST}], path: /api, port: http, stripPrefix: true}}\n"
    )


@dataclass
class RouteWorld(CrashWorld):
    """``port`` is where the entry point ``web`` listens, ``secure_port`` where ``websecure`` does.
    ``binary``: the router's program."""

    routing: Routing = MEMORY_ROUTER
    binary: str = ""
    port: int = field(default_factory=free_port)
    secure_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        super().__post_init__()
        (self.root / "repo" / "app").mkdir()
        (self.root / "repo" / "app" / "server.py").write_text(SERVER.read_text())

    @property
    def router_options(self) -> dict[str, Any]:
        if not self.routing.is_real:
            return {"path": "router.json"}
        secure = {"address": f"127.0.0.1:{self.secure_port}", "tls": True}
        points = {"web": f"127.0.0.1:{self.port}", "websecure": secure}
        return {"binary": self.binary, "entryPoints": points}

    def write(self, specs: str, *, is_bad: bool = False) -> None:
        router = json.dumps({"type": self.routing.type, **self.router_options})
        plane = (
            f"{_HEADER}kind: ControlPlane\nmetadata: {{name: {self.plane}}}\n"
            f"spec:\n  ignore: [app]\n  router: {router}\n"
            f"  providers:\n    local: {self.runtime.provider}\n"
        )
        (self.root / "repo" / "ctrlplane.yaml").write_text(plane)
        (self.root / "repo" / "specs.yaml").write_text(specs)

    @property
    def state_dir(self) -> Path:
        return self.root / "state" / self.plane

    def router(self) -> Router:
        return build_router(
            RouterSettings(self.plane, self.routing.type, str(self.state_dir), self.router_options)
        )

    def routed(self) -> RouterState:
        """What the router serves, past the command line."""
        with closing(self.router()) as router:
            return router.observe()

    def replicas(self) -> dict[str, tuple[int, ObservedReplica]]:
        """Everything the provider has, with its release, by name."""
        kind = "memory" if "memory" in self.runtime.provider else "process"
        options = {"path": "world.json"} if kind == "memory" else {}
        config = ProviderConfig("local", kind, options)
        settings = ProviderSettings(self.plane, config, str(self.state_dir))
        with closing(build_provider(settings)) as provider:
            sets = provider.observe().replica_sets
        return {x.name: (item.release, x) for item in sets for x in item.replicas}

    def servers(self) -> list[int]:
        """The pids of the applications of this world."""
        return [
            pid
            for pid in self.sleepers()
            if b"app/server.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        uri = f"{(self.state_dir / 'state.db').as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
            return connection.execute(sql).fetchall()

    def kill_router(self) -> None:
        """SIGKILL to all of its processes, and wait until that can be seen."""
        record = self.state_dir / "router" / self.routing.type / "process.json"
        pid = json.loads(record.read_text())["pid"]
        if self.routing.type == "haproxy":
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.routed().is_stopped)

    def close(self) -> None:
        self.run("destroy", "-y")
        with closing(self.router()) as router:
            router.stop()

    def ask(self, path: str = "/", host: str = HOST, **headers: str) -> str:
        """What is answered at the entry point ``web``: the status where it is not 200."""
        client = Client(self.port, host)
        reply = client.get(path, {name.replace("_", "-"): text for name, text in headers.items()})
        client.close()
        return reply.body if reply.status == 200 else str(reply.status)

    @contextmanager
    def load(self, host: str = HOST) -> Iterator[Mapping[str, Any]]:
        """Requests from a program of its own for the block; what it met, once the block is over.
        On a router that serves nobody: nothing."""
        met: dict[str, Any] = {"answers": {}, "failures": []}
        if not self.routing.is_real:
            yield met
            return
        command = [sys.executable, str(CLIENT), str(self.port), host]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as client:
            assert client.stdout is not None
            client.stdout.readline()
            try:
                yield met
            finally:
                out, _ = client.communicate(timeout=30)
                met |= json.loads(out)


def assert_whole(world: RouteWorld, where: str, version: str, *, replicas: int = 2) -> int:
    """Nothing twice, nothing left over, nothing open: ``replicas`` of one release, whose number is
    returned, with the version in their environment, and everything is sent to all of them."""
    seen = world.replicas()
    assert len(seen) == replicas, f"{where}: {sorted(seen)}"
    assert {str(item.phase) for _, item in seen.values()} == {"running"}, where
    (release,) = {release for release, _ in seen.values()}
    if "process" in world.runtime.provider:
        servers = world.servers()
        assert len(servers) == replicas, f"{where}: {servers}"
        for pid in servers:
            assert f"VERSION={version}".encode() in Path(f"/proc/{pid}/environ").read_bytes(), where
    state = world.routed()
    assert state.is_live and not state.faults, f"{where}: {state}"
    names = [(entry.key.name, entry.variant) for entry in state.table.entries]
    assert names == [("api", ""), ("shop", ""), ("shop", "preview")], f"{where}: {names}"
    for entry in state.table.entries:
        (backend,) = entry.backends
        assert (backend.release, backend.weight) == (release, 100), f"{where}: {entry}"
        assert [member.replica for member in backend.members] == sorted(seen), f"{where}: {entry}"
        assert entry.header is None, where
    assert world.query("SELECT * FROM open_intents") == [], where
    return release


def assert_settled(world: RouteWorld, where: str, *, is_bad: bool = False) -> None:
    """The plan is empty, and an apply does nothing. ``is_bad``: Git's release is known to be so."""
    expected = 2 if is_bad else 0
    assert world.run("plan", "--detailed-exitcode") == expected, f"{where}\n{world.output}"
    assert "0 to add, 0 to change" in world.output or "No changes." in world.output, (
        f"{where}\n{world.output}"
    )
    code, told = world.run_told("apply", "-y")
    assert (code, told) == (4 if is_bad else 0, []), f"{where}: {code} {told}\n{world.errors}"


@contextmanager
def opened(world: RouteWorld) -> Iterator[RouteWorld]:
    """Nothing of it is left after the block."""
    try:
        yield world
    finally:
        world.close()
    assert world.servers() == [] and world.sleepers() == []
