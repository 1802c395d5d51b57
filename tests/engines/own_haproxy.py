"""A HAProxy as an administrator runs one: files and sockets of their own, ours loaded last."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.process_id import find_process

_PATIENCE_S = 20.0
# As Debian's: it gives up its rights and what it sees of the disk.
_AS_ROOT = """\
  chroot {root}/empty
  user nobody
  group nogroup
"""
_CONFIG = """\
global
  stats socket {root}/admin.sock mode 600 level {level}
{rights}defaults
  mode tcp
  timeout connect 1s
  timeout client 1s
  timeout server 1s
  default-server check inter 100ms
  retries 0
frontend mine
  mode http
  bind 127.0.0.1:{port}
  http-request return status 200
backend theirs
  server s1 127.0.0.1:{port}
  server s2 127.0.0.1:1
"""


class OwnHaproxy:
    """``config`` is the administrator's file, with a frontend ``mine`` on ``port``; ``directory``
    is where a control plane may write. ``root`` is short: a socket's path has at most 107
    bytes."""

    def __init__(self, binary: str, port: int, level: str = "admin") -> None:
        self.binary, self.port = binary, port
        self.root = Path(tempfile.mkdtemp(prefix="ctrlplane-haproxy-"))
        self.directory, self.config = self.root / "ctrlplane", self.root / "haproxy.cfg"
        self.socket, self.master = self.root / "admin.sock", self.root / "master.sock"
        self.directory.mkdir()
        (self.root / "empty").mkdir()
        # Who gives up their rights must be let through.
        self.root.chmod(0o755)
        rights = _AS_ROOT.format(root=self.root) if os.geteuid() == 0 else ""
        text = _CONFIG.format(root=self.root, level=level, rights=rights, port=port)
        self.config.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def options(self, points: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """What ``spec.router`` says of it."""
        return {
            "managed": False,
            "directory": str(self.directory),
            "socket": str(self.socket),
            "masterSocket": str(self.master),
            "config": [str(self.config)],
            "binary": self.binary,
            "entryPoints": dict(points),
            **more,
        }

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *files: str) -> bool:
        """False where it runs. ``files`` instead of the directory."""
        if self._process is not None and self._process.poll() is None:
            return False
        argv = [self.binary, "-W", "-S", f"{self.master},mode,600", "-f", str(self.config)]
        for file in files or (str(self.directory),):
            argv += ["-f", file]
        with (self.root / "log").open("ab") as log:
            # A session of its own: all of it can be killed at once.
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._wait(lambda: bool(self.ask(self.socket, "show info")), "it to answer")
        return True

    def reload(self) -> None:
        """As ``systemctl reload haproxy`` does it; it is over, or has failed, when this returns."""
        before = self._reloads()
        os.kill(self.pid, signal.SIGUSR2)
        self._wait(lambda: self._reloads() not in ("", before), "the reload")

    def ask(self, path: Path, command: str) -> str:
        """The answer, empty where nobody gives one."""
        answer = b""
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(path))
            connection.sendall(f"{command}\n".encode())
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(1 << 16):
                answer += chunk
        return answer.decode()

    def kill(self) -> None:
        """As a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, how)
        self._process.wait()
        self._wait(lambda: find_process(self.pid) is None, "its end")
        self._wait(lambda: not self.ask(self.socket, "show info"), "its processes' end")
        self._process = None

    def _reloads(self) -> str:
        lines = self.ask(self.master, "show proc").splitlines()
        return next((line.split()[2] for line in lines if " master " in line), "")

    def _wait(self, holds: Any, what: str) -> None:
        deadline = monotonic_s() + _PATIENCE_S
        while not holds():
            if monotonic_s() > deadline:
                log = (self.root / "log").read_text(errors="replace")[-600:]
                raise RuntimeError(f"still waiting for {what} of HAProxy: {log}")
            sleep(0.02)
