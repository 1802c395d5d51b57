"""The HAProxy the user runs: it is told its routes and reloaded, never started or ended."""

from __future__ import annotations

import os
import shlex
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.network.haproxy.config import HaproxyConfig, OwnConfig
from ctrlplane_gitops.network.haproxy.files import HaproxyFiles, find_haproxy, run_program
from ctrlplane_gitops.network.haproxy.place import part_place
from ctrlplane_gitops.network.haproxy.read import Master, parse_field
from ctrlplane_gitops.network.haproxy.socket import CommandSocket
from ctrlplane_gitops.network.router import RouterSettings
from ctrlplane_gitops.network.supervise import Supervisor

# A large configuration of the user's may take a while to load.
_READY_S = 60.0
_RELOAD_S = 60.0
# What a command such as systemctl needs of our environment; not our credentials.
_ENVIRON = (
    "DBUS_SESSION_BUS_ADDRESS",
    "HOME",
    "LANG",
    "LOGNAME",
    "PATH",
    "USER",
    "XDG_RUNTIME_DIR",
)


class OwnHaproxy:
    """Nothing is written but in the directory the user named, and the lock and the draft in
    ``home``."""

    is_ours = False

    def __init__(
        self, home: Path, config: HaproxyConfig, own: OwnConfig, settings: RouterSettings
    ) -> None:
        self._config, self._own, self._settings = config, own, settings
        place = part_place(settings.plane, own.directory, own.socket, own.master)
        self.files = HaproxyFiles(place, home / "draft.cfg", settings)
        self.socket = CommandSocket(place)
        self._supervisor = Supervisor(home, str(place.config))

    def locked(self) -> AbstractContextManager[None]:
        return self._supervisor.locked()

    def is_running(self) -> bool:
        return self.socket.is_there()

    def check_command(self) -> list[str]:
        """With all the user's HAProxy is known to load, which is neither to break ours nor to be
        broken by it."""
        argv = [find_haproxy(self._config.binary, self._settings.environ.get("PATH")), "-c"]
        for path in (*self._own.files, self._own.directory):
            for file in sorted(path.glob("*.cfg")) if path.is_dir() else [path]:
                is_ours = file == self.files.place.config
                if not is_ours and not file.name.startswith(".") and str(file) not in argv:
                    argv += ["-f", str(file)]
        return argv

    def ensure_running(self) -> bool:
        """Whether it answers, and may be told anything; ProviderError says what to check."""
        directory, socket, master = self._own.directory, self._own.socket, self._own.master
        if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
            raise ProviderError(
                f"{directory} is no directory this user may write into",
                hint="make it, have your HAProxy load it last (-f), and let this user write there",
                is_retryable=True,
            )
        pid = parse_field(self.socket.ask("show info"), "Pid")
        level = self.socket.ask("show cli level").strip()
        if level != "admin":
            raise ProviderError(
                f"{socket} has the level {level!r}, which may not change anything",
                hint=f"write `stats socket {socket} level admin` into its global section",
                is_retryable=True,
            )
        found = self.socket.read_master()
        if pid not in found.workers + found.old:
            raise ProviderError(
                f"{master} is the master of another HAProxy than {socket}",
                hint="name the socket it was started with (-W -S)",
                is_retryable=True,
            )
        return False

    def stop(self) -> None:
        """It is not ours to end."""

    def reload(self, digest: str) -> None:
        """By the user's command or its master; ProviderError where it goes on as it was, or
        without what we wrote."""
        before = self.socket.read_master()
        with self._settings.effect("reload:haproxy"):
            words = self._command() if self._own.reload else self.socket.order_reload()
            self._wait_loaded(before, digest, " ".join(words.split())[-400:])

    def _command(self) -> str:
        text = shlex.join(self._own.reload)
        settings = self._settings.environ
        environ = {name: settings[name] for name in _ENVIRON if name in settings}
        ran = run_program(self._own.reload, f"`{text}`", _RELOAD_S, environ)
        words = " ".join((ran.stdout + ran.stderr).split())[-400:]
        if ran.returncode:
            raise ProviderError(f"`{text}` ended with {ran.returncode}: {words}", is_retryable=True)
        return words

    def _wait_loaded(self, before: Master, digest: str, words: str) -> None:
        """Until the process that serves was loaded with that shape."""
        place, deadline = self.files.place, monotonic_s() + _READY_S
        while True:
            with suppress(UnreachableError):
                now = self.socket.read_master()
                if now.reloads != before.reloads:
                    if now.has_failed:
                        reason = words or "its log says why; perhaps an entry point is in use"
                        raise ProviderError(f"your HAProxy was not reloaded: {reason}")
                    loaded = [CommandSocket(place, pid).read_digest() for pid in now.workers]
                    if any(item != digest for item in loaded):
                        raise ProviderError(
                            f"your HAProxy was reloaded without {place.config}",
                            hint=f"start it with -f {place.directory} after its own files",
                        )
                    if loaded and self.socket.read_digest() == digest:
                        return
            if monotonic_s() > deadline:
                reason = words or "its log says more"
                raise ProviderError(
                    f"your HAProxy was not reloaded within {_READY_S:.0f} s: {reason}",
                    is_retryable=True,
                )
            sleep(0.01)
