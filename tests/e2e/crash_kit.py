"""Worlds in which an apply is killed at its n-th effect, and what must be true afterwards."""

from __future__ import annotations

import faulthandler
import io
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctrlplane_gitops.cli.main import main

Specs = Mapping[str, str]
_HEADER = "apiVersion: ctrlplane.dev/v1\n"
# Several times as long as a rollout takes beside others.
_PATIENCE_S = 180
# Passes in every release but those whose version begins with "bad".
_CHECKS = (
    "[{name: up, type: command, interval: 100ms, timeout: 5s,"
    ' command: [sh, -c, \'[ "$VERSION" = "${VERSION#bad}" ]\']}]'
)


def tenant(name: str) -> str:
    return f"{_HEADER}kind: Tenant\nmetadata: {{name: {name}}}\nspec: {{}}\n---\n"


@dataclass(frozen=True)
class Runtime:
    """What differs between the providers: the provider's options, also those with which a bad
    release never becomes ready, what is run, and the health checks."""

    provider: str
    bad_provider: str
    program: str
    checks: str = "[]"


MEMORY = Runtime(
    "{type: memory, path: world.json}",
    '{type: memory, path: world.json, neverReady: ["instance/acme/web"]}',
    "image: app",
)
PROCESS = Runtime(
    "{type: process}",
    "{type: process}",
    "command: [sleep, '1000']",
    _CHECKS,
)
DOCKER = Runtime(
    "{type: docker}",
    "{type: docker}",
    "image: 'ctrlplane-test-app:1'",
)


def app(runtime: Runtime, tenant: str, replicas: int, version: str) -> str:
    """An instance with its deployment. ``version`` makes a revision of its own; a bad one is soon
    given up."""
    deadline = "700ms" if version.startswith("bad") else "20s"
    return (
        f"{_HEADER}kind: Instance\nmetadata: {{tenant: {tenant}, name: web}}\n"
        f"spec:\n  replicas: {replicas}\n  health: {runtime.checks}\n"
        "  files: [{path: conf/app.txt, content: hello}]\n---\n"
        f"{_HEADER}kind: Deployment\nmetadata: {{tenant: {tenant}, name: web}}\n"
        f"spec:\n  instance: web\n  {runtime.program}\n  env: {{VERSION: '{version}'}}\n"
        "  strategy: {type: rolling, minReady: 0s, progressDeadline: 30s, stopTimeout: 5s,"
        f" healthyDeadline: {deadline}}}\n---\n"
    )


@dataclass
class CrashWorld:
    """A folder of specs and the state of one control plane."""

    root: Path
    runtime: Runtime
    plane: str = "crash"
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environ |= {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "CTRLPLANE_STATE_DIR": str(self.root / "state"),
            "CTRLPLANE_CACHE_DIR": str(self.root / "cache"),
        }
        (self.root / "repo").mkdir(parents=True)

    def write(self, specs: str, *, is_bad: bool = False) -> None:
        provider = self.runtime.bad_provider if is_bad else self.runtime.provider
        plane = (
            f"{_HEADER}kind: ControlPlane\nmetadata: {{name: {self.plane}}}\n"
            f"spec:\n  providers:\n    local: {provider}\n"
        )
        (self.root / "repo" / "ctrlplane.yaml").write_text(plane)
        (self.root / "repo" / "specs.yaml").write_text(specs)

    def run(self, *arguments: str, on_effect: Callable[[str], None] | None = None) -> int:
        """One command in this process; its exit code. What it printed is in ``output``."""
        out, err = io.StringIO(), io.StringIO()
        code = main(
            ["--chdir", str(self.root / "repo"), *arguments],
            self.environ,
            out=out,
            err=err,
            on_effect=on_effect or (lambda effect: None),
        )
        self.output, self.errors = out.getvalue(), err.getvalue()
        return code

    def run_killed(self, number: int, *arguments: str) -> bool:
        """Run it in a child that is killed at its ``number``-th effect (each mutating call counts
        twice: before and after). False when it ended before it came to that."""
        child = os.fork()
        if child == 0:
            code = 70
            # Whoever hangs says where: a child that is waited for stops everything behind it.
            faulthandler.dump_traceback_later(_PATIENCE_S, exit=True, file=sys.__stderr__)
            try:
                code = self.run(*arguments, on_effect=_killer(number))
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        self.killed_code = os.waitstatus_to_exitcode(status)
        assert self.killed_code not in (1, 70), "it hung or crashed, and has said where"
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL

    def run_told(self, *arguments: str) -> tuple[int, list[str]]:
        """The same undisturbed: its exit code, and its mutating calls, each told twice."""
        told: list[str] = []
        return self.run(*arguments, on_effect=told.append), told

    def look(self) -> list[Any]:
        """The end state as it can be told apart: instances, phases, revisions, replicas."""
        assert self.run("status", "--json") == 0, self.errors
        return [
            (item["address"], item["phase"], item["revision"], item["replicas"])
            for item in json.loads(self.output)["instances"]
        ]

    def containers(self) -> tuple[list[str], list[str]]:
        """The names of this world's containers, dead ones included, and of its networks."""
        from tests.engines.dockerd import connect

        client = connect(self.environ["DOCKER_HOST"])
        ours = {"label": f"ctrlplane.dev/plane={self.plane}"}
        try:
            rows = client.containers(all=True, filters=ours)
            return (
                sorted(row["Names"][0] for row in rows),
                sorted(row["Name"] for row in client.networks(filters=ours)),
            )
        finally:
            client.close()

    def sleepers(self) -> list[int]:
        """The pids of the applications of this world, by their working directory."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    is_here = (entry / "cwd").readlink().is_relative_to(self.root / "state")
                    if is_here and b"keeper" not in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found


def _killer(number: int) -> Callable[[str], None]:
    lock, seen = threading.Lock(), [0]

    def on_effect(effect: str) -> None:
        with lock:
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
                threading.Event().wait()  # the signal ends every thread, this one as well

    return on_effect


# A process without threads, which forks for us.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])


class ApartWorld(CrashWorld):
    """For a process whose threads speak TLS: who is forked from it may find locks of OpenSSL taken,
    and waits for ever."""

    def run_killed(self, number: int, *arguments: str) -> bool:
        child = _FORKS.Process(target=_run_killed, args=(self, number, arguments))
        child.start()
        child.join()
        assert child.exitcode is not None
        self.killed_code = child.exitcode
        return self.killed_code == -signal.SIGKILL


def _run_killed(world: CrashWorld, number: int, arguments: tuple[str, ...]) -> None:
    code = 70
    try:
        code = world.run(*arguments, on_effect=_killer(number))
    finally:
        os._exit(code)
