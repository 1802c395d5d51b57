"""What the process provider's claims are written with: real processes, a real state directory."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ctrlplane_gitops.process_id import ProcessId, find_process, read_environ
from ctrlplane_gitops.providers.base import Provider, ProviderSettings
from ctrlplane_gitops.providers.conformance_kit import ConformanceKit
from ctrlplane_gitops.providers.process.fleet import Tagged, find_processes
from ctrlplane_gitops.providers.process.layout import Layout
from ctrlplane_gitops.providers.process.provider import ProcessProvider
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.state.observed import ObservedReplica


def build(
    directory: Path,
    plane: str = "conf",
    on_effect: Callable[[str], None] = lambda effect: None,
    **options: Any,
) -> ProcessProvider:
    config = ProviderConfig("here", "process", options)
    return ProcessProvider(ProviderSettings(plane, config, str(directory), on_effect=on_effect))


class ProcessKit(ConformanceKit):
    """Every plane has a state directory of its own: ``root / plane``."""

    options: dict[str, Any] = {}  # noqa: RUF012 - the provider's, never changed

    def make_provider(self, plane: str, root: Path) -> ProcessProvider:
        self.directory = root / plane
        return build(self.directory, plane, **self.options)

    def replica_dir(self, name: str) -> Path:
        return self.directory.joinpath("processes", *name.split(".")[1:])

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.replica_dir(name) / "state.json").read_text())
        return found

    def processes(self) -> dict[str, Tagged]:
        """Live processes of the fixture's provider by replica, as /proc tells."""
        return find_processes(Layout(str(self.directory)), self.plane)

    def keeper(self, name: str) -> ProcessId:
        found = find_process(self.state(name)["keeper_pid"])
        assert found is not None
        return found

    def kill_replica(self, provider: Provider, replica: ObservedReplica) -> None:
        os.kill(self.state(replica.name)["app_pid"], signal.SIGKILL)

    @contextmanager
    def break_provider(self, provider: Provider) -> Iterator[None]:
        root, aside = self.directory / "processes", self.directory / "aside"
        root.rename(aside)
        root.write_text("not a directory")
        yield
        root.unlink()
        aside.rename(root)

    def observable_text(self, provider: Provider, root: Path) -> str:
        """Every file on disk, every argument list, and the keepers' environments."""
        texts = [repr(provider.observe())]
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                texts.append(path.read_text(errors="replace"))
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                texts.append((entry / "cmdline").read_text(errors="replace"))
        for tagged in self.processes().values():
            texts += [repr(read_environ(keeper.pid)) for keeper in tagged.keepers.values()]
        return "\n".join(texts)


def run_in_child(work: Callable[[], None]) -> int:
    """Run it in a process of its own, as a CLI would; how that ended (negative: the signal)."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
