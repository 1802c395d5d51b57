"""The process provider: the shipped suite with real processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctrlplane_gitops.providers.base import Provider, ProviderSettings
from ctrlplane_gitops.providers.conformance import ProviderConformance
from ctrlplane_gitops.providers.process.layout import read_json
from ctrlplane_gitops.providers.process.provider import ProcessProvider
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.state.observed import ObservedReplica


class TestConformance(ProviderConformance):
    def make_provider(self, plane: str, root: Path) -> Provider:
        config = ProviderConfig("here", "process")
        self.directory = root / plane
        return ProcessProvider(ProviderSettings(plane, config, str(root / plane)))

    def kill_replica(self, provider: Provider, replica: ObservedReplica) -> None:
        _, tenant, instance, release, index = replica.name.split(".")
        directory = self.directory / "processes" / tenant / instance / release / index
        os.kill(read_json(directory / "state.json")["app_pid"], signal.SIGKILL)

    @contextmanager
    def break_provider(self, provider: Provider) -> Iterator[None]:
        root = self.directory / "processes"
        aside = self.directory / "aside"
        root.rename(aside)
        root.write_text("not a directory")
        yield
        root.unlink()
        aside.rename(root)
