"""execute alone: one action, twice; the second time there is nothing to do."""

import tempfile
from datetime import UTC, datetime

from ctrlplane_gitops.execute.perform import describe, perform
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.registry import build_provider
from ctrlplane_gitops.state.action import Material, ScaleReplicaSet
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.template import Release, ReleaseTemplate

WEB = instance_key("acme", "web")
release = Release(
    WEB, 1, "r1", ReleaseTemplate("here", image="shop:1"), "", datetime(2026, 1, 1, tzinfo=UTC)
)
action = ScaleReplicaSet(WEB, "here", release, 3)
with tempfile.TemporaryDirectory() as scratch:
    provider = build_provider(ProviderSettings("prod", ProviderConfig("here", "memory"), scratch))
    for _ in range(2):
        outcome = perform(provider, action, Material())
        print(describe(action), "effects:", outcome.effects, "ok:", outcome.is_ok)
    assert outcome.is_ok and outcome.effects == 0
