"""Row 7c: what it takes to measure the containers of a fleet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.docker.provider import DockerProvider
from ctrlplane_gitops.providers.docker.stats import ask_socket
from ctrlplane_gitops.state.action import Material, RemoveInstance, RemoveTenant, ScaleReplicaSet
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.state.key import instance_key, tenant_key
from ctrlplane_gitops.state.observed import ObservedReplica
from ctrlplane_gitops.state.template import Release, ReleaseTemplate
from ctrlplane_gitops.state.usage import Usage
from tests.bench.measure import ROUNDS, Verdict
from tests.bench.raw import COMMAND, IMAGE

_INSTANCE = instance_key("bench", "usage")


def measure_usage(root: Path, socket: str | None, count: int) -> Iterator[Verdict]:
    """``socket`` is that of a Docker engine, which gets ``count`` containers for a while."""
    text = f"telemetry of {count} containers"
    if socket is None:
        yield Verdict("7c", text, note="no Docker engine")
        return
    config = ProviderConfig("here", "docker", {"host": f"unix://{socket}"})
    settings = ProviderSettings("bench-usage", config, str(root), _beside, _beside)
    provider = DockerProvider(settings)
    template = ReleaseTemplate("here", image=IMAGE, command=COMMAND)
    release = Release(_INSTANCE, 1, "r1", template, "", datetime.now(UTC))
    try:
        outcome = provider.perform(ScaleReplicaSet(_INSTANCE, "here", release, count), Material())
        assert outcome.is_ok, outcome.error
        replicas = [item for found in provider.observe().replica_sets for item in found.live]
        assert len(replicas) == count
        api = _time(lambda: ask_socket("here", socket, 60, replicas), replicas)
        yield Verdict("7c", f"{text}, by asking the engine", api, 3, "s")
        near = _time(lambda: provider.read_usage(replicas), replicas)
        yield Verdict("7c", f"{text}, from control groups", near * 1000, 50, "ms")
    finally:
        provider.perform(RemoveInstance(_INSTANCE, "here", timedelta(0)), Material())
        provider.perform(RemoveTenant(tenant_key("bench"), "here"), Material())
        provider.close()


def _time(read: Callable[[], Mapping[str, Usage]], replicas: Sequence[ObservedReplica]) -> float:
    """The median of a few rounds, none of which may miss a container."""
    taken = []
    for _ in range(ROUNDS):
        began = monotonic_s()
        found = read()
        taken.append(monotonic_s() - began)
        assert found.keys() == {item.name for item in replicas}, "a container was missed"
        assert all(item.cpu_s and item.memory_bytes for item in found.values())
    return median(taken)


def _beside(calls: Sequence[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()
