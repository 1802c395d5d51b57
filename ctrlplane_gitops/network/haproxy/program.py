"""The HAProxy we run for the user: found, started, reloaded, adopted."""

from __future__ import annotations

import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.network.haproxy.change import READY_S
from ctrlplane_gitops.network.haproxy.config import HaproxyConfig
from ctrlplane_gitops.network.haproxy.files import HaproxyFiles, find_haproxy
from ctrlplane_gitops.network.haproxy.place import MASTER, whole_place
from ctrlplane_gitops.network.haproxy.render import render_config
from ctrlplane_gitops.network.haproxy.shape import build_shape
from ctrlplane_gitops.network.haproxy.socket import CommandSocket
from ctrlplane_gitops.network.router import NOT_RUNNING, RouterSettings
from ctrlplane_gitops.network.supervise import Supervisor
from ctrlplane_gitops.process_id import ProcessId, is_alive, send_signal
from ctrlplane_gitops.state.traffic import RouteTable

_GRACE_S = 5.0


class HaproxyProgram:
    """Everything of it is in ``directory``."""

    is_ours = True

    def __init__(self, directory: Path, config: HaproxyConfig, settings: RouterSettings) -> None:
        self._directory, self._config, self._settings = directory, config, settings
        place = whole_place(settings.plane, directory)
        self.files = HaproxyFiles(place, directory / "draft.cfg", settings)
        self.socket = CommandSocket(place)
        self._supervisor = Supervisor(directory, str(place.config))

    def locked(self) -> AbstractContextManager[None]:
        return self._supervisor.locked()

    def is_running(self) -> bool:
        """One whose files are gone serves on, but cannot be told anything any more."""
        return self._supervisor.find() is not None and self.files.place.config.exists()

    def check_command(self) -> list[str]:
        return [self._binary(), "-c", "-C", str(self._directory)]

    def ensure_running(self) -> bool:
        """Adopt it, or start it with what it was told last."""
        with self.locked():
            if self.is_running():
                return False
            self._end()
            points = tuple((it.name, it.address, it.is_tls) for it in self._config.entry_points)
            shape = self.files.read_shape()
            if shape is None or shape.points != points:
                empty = build_shape("", self._config.entry_points, RouteTable(), {}, "")
                self.files.write_certificates({name: [] for name in empty.certificates or {}}, {})
                text = render_config(empty, {}, {}, self.files.place)
                self.files.write_config(text, self.check_command())
            self._start()
            return True

    def stop(self) -> None:
        with self.locked():
            self._end()

    def reload(self, digest: str) -> None:
        """The new configuration in a new process, which takes the listening sockets over; the old
        one ends when its requests have."""
        master = self._supervisor.find()
        if master is None:
            raise UnreachableError(NOT_RUNNING)
        with self._settings.effect("reload:haproxy"):
            send_signal(master, signal.SIGUSR2)
            self._wait_loaded(master, digest)

    def _end(self) -> None:
        running = self._supervisor.find()
        if running is not None:
            with self._settings.effect("stop:haproxy"):
                self._supervisor.stop(running, signal.SIGUSR1, _GRACE_S)

    def _start(self) -> None:
        argv = [self._binary(), "-W", "-S", f"unix@{MASTER},mode,600"]
        argv += ["-C", str(self._directory), "-f", str(self.files.place.config)]
        with self._settings.effect("start:haproxy"):
            master = self._supervisor.start(argv, {"PATH": os.defpath})
        self._wait_loaded(master, None)

    def _wait_loaded(self, master: ProcessId, digest: str | None) -> None:
        """Until a process answers that was loaded with that shape; None: any."""
        deadline = monotonic_s() + READY_S
        while True:
            try:
                loaded = self.socket.read_digest()
                if loaded and digest in (None, loaded):
                    return
            except UnreachableError:
                pass
            if not is_alive(master) or monotonic_s() > deadline:
                raise ProviderError(
                    f"the router does not start: {self._supervisor.log_end()}", is_retryable=True
                )
            sleep(0.01)

    def _binary(self) -> str:
        return find_haproxy(self._config.binary, self._settings.environ.get("PATH"))
