"""A control plane with traffic, driven by its command alone, as CI would."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctrlplane_gitops.clock import monotonic_s, sleep
from tests.load.specs import WEB_FILE, Traffic
from tests.source.repo import write

_ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "ctrlplane_gitops")
_PATIENCE_S = 15.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Stage:
    """A control plane in ``root``: its repository, its state, nothing else."""

    def __init__(self, root: Path, traffic: Traffic) -> None:
        self.root, self.traffic = root, traffic
        self.repo = root / "repo"
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "CTRLPLANE_STATE_DIR": str(root / "state"),
            "CTRLPLANE_CACHE_DIR": str(root / "cache"),
            "PYTHONPATH": str(_ROOT),
        }

    def argv(self, *arguments: str) -> list[str]:
        return [*COMMAND, "--chdir", str(self.repo), *arguments]

    def begin(self) -> list[str]:
        """Write everything; the errors of the specs, if there are any."""
        files = {path: text.encode() for path, text in self.traffic.files("1").items()}
        write(self.repo, files)
        said = self.run("validate")
        return [line.strip() for line in said.err.splitlines() if "error" in line.lower()]

    def commit(self, version: str, **env: str) -> None:
        write(self.repo, {WEB_FILE: self.traffic.web_text(version, **env).encode()})

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that runs meanwhile."""
        return subprocess.Popen(
            self.argv(*arguments),
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> Ended:
        with self.start(*arguments) as process:
            out, err = process.communicate()
        return Ended(process.returncode, out, err)

    def roll_out(self, version: str, code: int = 0, **env: str) -> Ended:
        """Commit a version and apply it; AssertionError for another exit code."""
        self.commit(version, **env)
        ended = self.run("apply", "-y")
        assert ended.code == code, f"exit {ended.code}: {ended.err[-3000:]}"
        return ended

    @contextmanager
    def standing(self) -> Iterator[None]:
        """The first release, from serving to nothing being left."""
        try:
            ended = self.run("apply", "-y")
            assert ended.code == 0, ended.err[-3000:]
            deadline = monotonic_s() + _PATIENCE_S
            while not _is_listening(self.traffic.port):
                assert monotonic_s() < deadline, "no router was started"
                sleep(0.1)
            yield
        finally:
            self.run("destroy", "-y", "--max-delete", "100")
            end_processes(self.root)


def end_processes(marker: Path) -> None:
    """Those that were started with that folder: a router outlives the command, a replica too."""
    text = os.fsencode(marker)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            found = [(entry / name).read_bytes() for name in ("environ", "cmdline")]
            if any(text in it for it in (*found, os.fsencode((entry / "cwd").readlink()))):
                os.kill(int(entry.name), signal.SIGTERM)


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
