"""What the Docker provider's tests are written with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from ctrlplane_gitops.providers.base import LABEL_PLANE, Provider, ProviderSettings
from ctrlplane_gitops.providers.conformance_kit import ConformanceKit
from ctrlplane_gitops.providers.docker.provider import DockerProvider
from ctrlplane_gitops.state.desired import Json, ProviderConfig
from ctrlplane_gitops.state.observed import ObservedReplica
from tests.engines.dockerd import connect
from tests.engines.outage import Relay, relay


def run_beside(tasks: Sequence[Callable[[], None]]) -> None:
    """All at once; the first failure is raised when all have ended."""
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(task) for task in tasks]
    for future in futures:
        future.result()


def ignore(effect: str) -> None:
    """Nobody listens."""


class DockerHooks(ConformanceKit):
    # Several processes share the engine.
    plane = f"conf-{os.getpid()}"
    image = "ctrlplane-test-app:1"
    is_usage_asked = False

    @pytest.fixture(autouse=True)
    def connected(self, docker_engine: str) -> Iterator[None]:
        """Everything goes through a relay, so that the engine can fail to answer."""
        self.engine = docker_engine
        self.client: docker.APIClient = connect(docker_engine)
        with relay(docker_engine) as (self.host, self.relay):
            yield
        self.client.close()

    def make_provider(self, plane: str, root: Path) -> DockerProvider:
        return self.build(plane, root, {})

    def build(
        self, plane: str, root: Path, options: Json, on_effect: Callable[[str], None] = ignore
    ) -> DockerProvider:
        config = ProviderConfig(self.alias, "docker", {"host": self.host} | dict(options))
        settings = ProviderSettings(plane, config, str(root), run_beside, run_beside, on_effect)
        return DockerProvider(settings)

    def path(self, name: str) -> str:
        return f"/srv/{name}"

    def kill_replica(self, provider: Provider, replica: ObservedReplica) -> None:
        self.client.kill(replica.id, "SIGKILL")

    @contextmanager
    def break_provider(self, provider: Provider) -> Iterator[None]:
        self.relay.is_down = True
        yield
        self.relay.is_down = False

    def observable_text(self, provider: Provider, root: Path) -> str:
        """What the list and an inspect show, but for the environment: the engine has no other way
        to hand one over, and shows it to whoever may speak to it."""
        seen = [repr(provider.observe())]
        for row in self.client.containers(
            all=True, filters={"label": f"{LABEL_PLANE}={self.plane}"}
        ):
            found = self.client.inspect_container(row["Id"])
            found["Config"].pop("Env")
            seen += [json.dumps(row), json.dumps(found), repr(self.client.top(row["Id"]))]
        seen += [repr(path.read_bytes()) for path in root.rglob("*") if path.is_file()]
        return "\n".join(seen)


__all__ = ["DockerHooks", "Relay", "connect", "ignore", "run_beside"]
