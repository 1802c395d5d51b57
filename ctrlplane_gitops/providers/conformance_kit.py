"""What the provider conformance suite is written with: its hooks and its verbs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.providers.base import Capability, Provider
from ctrlplane_gitops.providers.scaling import replica_name
from ctrlplane_gitops.state.action import (
    Action,
    Material,
    Outcome,
    RemoveInstance,
    RemoveTenant,
    ScaleReplicaSet,
)
from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.state.key import ResourceKey, instance_key, tenant_key
from ctrlplane_gitops.state.observed import ObservedReplica, ObservedReplicaSet
from ctrlplane_gitops.state.template import (
    FileMount,
    Port,
    Release,
    ReleaseTemplate,
    SecretMount,
    Volume,
)

PATIENCE_S = 20.0
WEB = instance_key("acme", "web")
DB = instance_key("acme", "db")
APP = """
import os, signal, sys, time
def leave(*_):
    if os.environ.get("BYE"):
        open(os.environ["BYE"], "w").write("bye")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("hello", flush=True)
print("oops", file=sys.stderr, flush=True)
while True:
    time.sleep(0.05)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
while True:
    time.sleep(0.05)
"""
BUSY = """
import os
held = os.urandom(8 << 20)
while True:
    sum(range(10000))
"""


def blob_digest(content: bytes) -> str:
    """The Git blob id of a content, as ``FileMount.digest`` wants it.

    >>> blob_digest(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Poll until it holds; fail with ``what`` after ``PATIENCE_S``."""
    deadline = monotonic_s() + PATIENCE_S
    while not holds():
        assert monotonic_s() < deadline, f"still waiting for: {what}"
        sleep(0.05)


class ConformanceKit:
    """The hooks, and the verbs the claims are written with."""

    alias = "here"
    image: str | None = None
    # One of its own for each process that shares a backend with others.
    plane = "conf"
    # Whether what replicas use is asked of what may not answer, rather than of the kernel.
    is_usage_asked = True

    def make_provider(self, plane: str, root: Path) -> Provider:
        """A provider of that plane on the same real backend; ``root`` is the test's directory."""
        raise AssertionError("a subclass says how its provider is made")

    def kill_replica(self, provider: Provider, replica: ObservedReplica) -> None:
        """Make the replica die as a crash would."""
        raise AssertionError("a subclass says how its replicas die")

    def break_provider(self, provider: Provider) -> AbstractContextManager[None] | None:
        """Make the backend not answer inside the block; None where that cannot be faked."""
        return None

    def spend(self, provider: Provider, replica: ObservedReplica) -> None:
        """Make a replica whose command is ``BUSY`` have used some more, where it does not."""

    def path(self, name: str) -> str:
        """A path for files and volumes as this provider wants it (containers: absolute)."""
        return name

    def replica(self, index: int, release: int = 1) -> str:
        """The name of a replica of ``WEB``."""
        return replica_name(self.plane, WEB, release, index)

    def observable_text(self, provider: Provider, root: Path) -> str:
        """All that others may see of the replicas: labels, arguments, files on disk."""
        return repr(provider.observe())

    def make_release(
        self,
        number: int = 1,
        *,
        instance: ResourceKey = WEB,
        command: tuple[str, ...] | None = None,
        env: Mapping[str, str] | None = None,
        files: tuple[FileMount, ...] = (),
        secrets: tuple[SecretMount, ...] = (),
        volumes: tuple[Volume, ...] = (),
    ) -> Release:
        template = ReleaseTemplate(
            provider=self.alias,
            image=self.image,
            command=("python3", "-u", "-c", APP) if command is None else command,
            env=env or {},
            ports=(Port("http", 8080),),
            volumes=volumes,
            files=files,
            secrets=secrets,
        )
        at = datetime(2026, 1, 1, tzinfo=UTC)
        return Release(instance, number, f"rev{number}", template, "c0ffee", at)

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path

    @pytest.fixture
    def provider(self, root: Path) -> Iterator[Provider]:
        provider = self.make_provider(self.plane, root)
        yield provider
        self.clean(provider)
        provider.close()

    def clean(self, provider: Provider) -> None:
        """Remove everything of the plane, volumes as well."""
        quick = timedelta(0)
        keys = {item.instance for item in provider.observe().replica_sets} | {WEB, DB}
        for key in sorted(keys):
            self.perform(provider, RemoveInstance(key, self.alias, quick, is_volumes=True))
        for name in sorted({key.tenant for key in keys}):
            self.perform(provider, RemoveTenant(tenant_key(name), self.alias))

    def attempt(
        self, provider: Provider, action: Action, material: Material | None = None
    ) -> Outcome:
        return provider.perform(action, material or Material())

    def perform(
        self, provider: Provider, action: Action, material: Material | None = None
    ) -> Outcome:
        outcome = self.attempt(provider, action, material)
        assert outcome.error is None, outcome.error
        return outcome

    def scale(
        self,
        provider: Provider,
        release: Release,
        replicas: int,
        material: Material | None = None,
        *,
        resources: Resources | None = None,
        stop_timeout: timedelta = timedelta(seconds=5),
        retire: tuple[str, ...] = (),
    ) -> Outcome:
        action = ScaleReplicaSet(
            release.instance,
            self.alias,
            release,
            replicas,
            resources or Resources(),
            stop_timeout,
            retire,
        )
        return self.perform(provider, action, material)

    def sets(
        self, provider: Provider, instance: ResourceKey = WEB
    ) -> Mapping[int, ObservedReplicaSet]:
        found = provider.observe().by_instance().get(instance, ())
        return {item.release: item for item in found}

    def live(
        self, provider: Provider, release: int = 1, instance: ResourceKey = WEB
    ) -> tuple[ObservedReplica, ...]:
        replica_set = self.sets(provider, instance).get(release)
        return replica_set.live if replica_set else ()

    def needs(self, provider: Provider, *capabilities: Capability) -> None:
        for capability in capabilities:
            if capability not in provider.capabilities:
                pytest.skip(f"has no capability {capability.value!r}")

    def run(self, provider: Provider, replica: str, script: str) -> tuple[int, str]:
        result = provider.execute(replica, ("python3", "-c", script), timedelta(seconds=20))
        return result.exit_code, result.output.decode()

    def log_text(self, provider: Provider, replica: str) -> list[str]:
        return [line.text for line in provider.read_logs(replica, tail=None, is_follow=False)]
