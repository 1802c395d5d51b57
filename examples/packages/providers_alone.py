"""providers alone: two processes that are started, seen, and stopped; twice is once."""

import sys
import tempfile
from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.registry import build_provider
from ctrlplane_gitops.state.action import Material, RemoveInstance, ScaleReplicaSet
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.template import Release, ReleaseTemplate

WEB = instance_key("acme", "web")
sleeper = (sys.executable, "-c", "import time; print('hello', flush=True); time.sleep(60)")
release = Release(
    WEB, 1, "r1", ReleaseTemplate("local", command=sleeper), "", datetime(2026, 1, 1, tzinfo=UTC)
)

with tempfile.TemporaryDirectory() as scratch:
    settings = ProviderSettings("prod", ProviderConfig("local", "process"), scratch)
    provider = build_provider(settings)
    try:
        scale = ScaleReplicaSet(WEB, "local", release, 2)
        print("effects:", provider.perform(scale, Material()).effects)
        print("effects:", provider.perform(scale, Material()).effects)
        (found,) = provider.observe().replica_sets
        print([(replica.name, replica.phase.value) for replica in found.replicas])
        assert len(found.live) == 2
    finally:
        provider.perform(RemoveInstance(WEB, "local", timedelta(seconds=1)), Material())
        provider.close()
