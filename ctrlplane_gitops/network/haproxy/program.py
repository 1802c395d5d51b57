"""The HAProxy we run for the user: found, started, reloaded, adopted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import ProviderError, UnreachableError, UsageError
from ctrlplane_gitops.file import read_file, write_file
from ctrlplane_gitops.network.certificate import Pem
from ctrlplane_gitops.network.haproxy.config import NAME, HaproxyConfig
from ctrlplane_gitops.network.haproxy.read import is_stopping, parse_digest
from ctrlplane_gitops.network.haproxy.render import (
    MASTER,
    ROUTES,
    SHAPE_MARK,
    STATE,
    dump_map,
    load_map,
    render_config,
)
from ctrlplane_gitops.network.haproxy.shape import Shape, build_shape, decode_shape, pem_file
from ctrlplane_gitops.network.haproxy.socket import CommandSocket
from ctrlplane_gitops.network.router import NOT_RUNNING, RouterSettings
from ctrlplane_gitops.network.supervise import Supervisor
from ctrlplane_gitops.process_id import ProcessId, is_alive, send_signal
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import RouteTable
from ctrlplane_gitops.value import struct

_READY_S = 20.0
_GRACE_S = 5.0
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


@struct
class HaproxyProgram:
    """Everything of it is in ``directory``."""

    directory: Path
    config: HaproxyConfig
    settings: RouterSettings

    @property
    def socket(self) -> CommandSocket:
        return CommandSocket(self.directory)

    @property
    def _file(self) -> Path:
        return self.directory / "haproxy.cfg"

    @property
    def _supervisor(self) -> Supervisor:
        return Supervisor(self.directory, str(self._file))

    def locked(self) -> AbstractContextManager[None]:
        return self._supervisor.locked()

    def is_running(self) -> bool:
        """One whose files are gone serves on, but cannot be told anything any more."""
        return self._supervisor.find() is not None and self._file.exists()

    def read_shape(self) -> Shape | None:
        """That of the configuration on disk."""
        first = (read_file(self._file) or "").partition("\n")[0]
        if not first.startswith(SHAPE_MARK):
            return None
        try:
            return decode_shape(first.removeprefix(SHAPE_MARK))
        except (ValueError, KeyError, TypeError):
            return None

    def read_map(self, name: str) -> dict[str, str]:
        """A map on disk."""
        return load_map(read_file(self.directory / name) or "")

    def read_certificate(self, key: ResourceKey) -> str | None:
        """The PEM as it was written last."""
        return read_file(self.directory / "certs" / pem_file(key))

    def write_certificates(self, lists: Mapping[str, list[str]], pems: Mapping[str, Pem]) -> None:
        """The PEMs by file name, and by entry point the list of those it shows."""
        folder = self.directory / "certs"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, pem in sorted(pems.items()):
            self._write(folder / name, pem.text)
        for point, names in sorted(lists.items()):
            text = "".join(f"{folder / name}\n" for name in names)
            self._write(folder / f"{point}.list", text)

    def drop_certificates(self, kept: Mapping[str, Pem]) -> None:
        """Those that no list names any more."""
        for path in sorted((self.directory / "certs").glob("*.pem")):
            if path.name not in kept:
                with self.settings.effect(f"remove:{path.name}"):
                    path.unlink(missing_ok=True)

    def write_config(self, text: str) -> None:
        """Judged by HAProxy itself before it takes the place of the one before; ProviderError
        with its words."""
        if read_file(self._file) == text:
            return
        for name in (ROUTES, STATE):
            (self.directory / name).touch(mode=0o600)
        draft = self.directory / "draft.cfg"
        write_file(draft, text, 0o600)
        argv = [self._binary(), "-c", "-q", "-C", str(self.directory), "-f", str(draft)]
        try:
            ran = subprocess.run(
                argv, capture_output=True, text=True, errors="replace", check=False
            )
        except OSError as error:
            raise ProviderError(f"{argv[0]} cannot be started: {error.strerror}") from None
        if ran.returncode:
            words = " ".join((ran.stdout + ran.stderr).split())[-400:]
            raise ProviderError(f"the router refused its configuration: {words}")
        with self.settings.effect("write:haproxy.cfg"):
            draft.replace(self._file)

    def write_map(self, name: str, lines: Mapping[str, str]) -> None:
        self._write(self.directory / name, dump_map(lines))

    def ensure_running(self) -> bool:
        """Adopt it, or start it with what it was told last."""
        with self.locked():
            if self.is_running():
                return False
            self._end()
            points = tuple((it.name, it.address, it.is_tls) for it in self.config.entry_points)
            shape = self.read_shape()
            if shape is None or shape.points != points:
                empty = build_shape("", self.config.entry_points, RouteTable(), {}, "")
                self.write_certificates({name: [] for name in empty.certificates or {}}, {})
                self.write_config(render_config(empty, {}, {}, str(self.directory)))
            self._start()
            return True

    def stop(self) -> None:
        with self.locked():
            self._end()

    def _end(self) -> None:
        running = self._supervisor.find()
        if running is not None:
            with self.settings.effect("stop:haproxy"):
                self._supervisor.stop(running, signal.SIGUSR1, _GRACE_S)

    def reload(self, digest: str) -> None:
        """The new configuration in a new process, which takes the listening sockets over; the old
        one ends when its requests have."""
        master = self._supervisor.find()
        if master is None:
            raise UnreachableError(NOT_RUNNING)
        with self.settings.effect("reload:haproxy"):
            send_signal(master, signal.SIGUSR2)
            self._wait_loaded(master, digest)
            self._wait_handed_over()

    def _start(self) -> None:
        argv = [self._binary(), "-W", "-S", f"unix@{MASTER},mode,600"]
        argv += ["-C", str(self.directory), "-f", str(self._file)]
        with self.settings.effect("start:haproxy"):
            master = self._supervisor.start(argv, {"PATH": os.defpath})
        self._wait_loaded(master, None)

    def _wait_loaded(self, master: ProcessId, digest: str | None) -> None:
        """Until a process answers that was loaded with that shape; None: any."""
        deadline = monotonic_s() + _READY_S
        while True:
            try:
                loaded = parse_digest(self.socket.ask("show info"))
                if loaded and digest in (None, loaded):
                    return
            except UnreachableError:
                pass
            if not is_alive(master) or monotonic_s() > deadline:
                raise ProviderError(
                    f"the router does not start: {self._supervisor.log_end()}", is_retryable=True
                )
            sleep(0.01)

    def _wait_handed_over(self) -> None:
        """Until the process before takes no new connections: both do for a moment."""
        deadline = monotonic_s() + _READY_S
        while True:
            # The master's own socket is the last to be there again.
            with suppress(UnreachableError):
                if all(is_stopping(old.ask("show info")) for old in self.socket.find_old()):
                    return
            if monotonic_s() > deadline:
                raise ProviderError("the router before does not stop", is_retryable=True)
            sleep(0.005)

    def _write(self, path: Path, text: str) -> None:
        if read_file(path) != text:
            with self.settings.effect(f"write:{path.name}"):
                write_file(path, text, 0o600)

    def _binary(self) -> str:
        wanted = self.config.binary
        if wanted is not None:
            if os.access(wanted, os.X_OK) and Path(wanted).is_file():
                return str(Path(wanted).absolute())
            raise UsageError(f"router ({NAME}): binary {wanted!r} is not a program")
        found = shutil.which(NAME, path=f"{self.settings.environ.get('PATH', '')}:{_SBIN}")
        if found is None:
            raise UsageError(
                f"router ({NAME}): no haproxy on this machine",
                hint="install the package haproxy, or say where it is with `binary`",
            )
        return found
