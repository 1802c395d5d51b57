"""Replicas of the web application as plain processes, for tests without a provider."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.state.traffic import Member
from tests.engines.program import free_port

WEB_APP = Path(__file__).parents[1] / "engines" / "web_app.py"
_PATIENCE_S = 15


class Replica:
    """One process. ``environ`` is what the application reads, VERSION among it."""

    def __init__(self, name: str, **environ: str) -> None:
        self.name = name
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, WEB_APP],
            env={
                **os.environ,
                "PORT": str(self.port),
                "CTRLPLANE_REPLICA": name,
                "VERSION": "1",
                **environ,
            },
            stdout=subprocess.DEVNULL,
        )

    def wait_answering(self) -> None:
        """Whatever it says of its health."""
        deadline = monotonic_s() + _PATIENCE_S
        while not self._is_ready():
            assert monotonic_s() < deadline, f"{self.name} does not answer"
            sleep(0.02)

    @property
    def member(self) -> Member:
        return Member(self.name, "127.0.0.1", self.port)

    @property
    def cpu_s(self) -> float:
        """Processor seconds it has used so far."""
        ticks = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> int:
        """As a rollout ends one: SIGTERM, and wait. The exit code."""
        self.process.terminate()
        return self.process.wait(_PATIENCE_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _is_ready(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz").close()
        except urllib.error.HTTPError as sick:
            sick.close()
        except OSError:
            return False
        return True


class Replicas:
    """Starts replicas; ``running_replicas`` ends what is left of them."""

    def __init__(self) -> None:
        self.started: list[Replica] = []

    def start(self, name: str, **environ: str) -> Replica:
        self.started.append(Replica(name, **environ))
        self.started[-1].wait_answering()
        return self.started[-1]

    def set_of(self, version: str, count: int = 3, **environ: str) -> list[Replica]:
        """A replica set: ``v1.0``, ``v1.1`` and so on."""
        names = [f"v{version}.{number}" for number in range(count)]
        return [self.start(name, VERSION=version, **environ) for name in names]


@contextmanager
def running_replicas() -> Iterator[Replicas]:
    replicas = Replicas()
    try:
        yield replicas
    finally:
        for replica in replicas.started:
            replica.kill()
