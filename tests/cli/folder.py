"""A folder of specs on the memory provider, and every way to run a command in it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctrlplane_gitops.clock import monotonic_s
from tests.e2e.crash_kit import MEMORY, CrashWorld, app, tenant

ROOT = Path(__file__).parents[2]
WEB = "instance/acme/web"
PATIENCE_S = 30


def web(version: str = "1", replicas: int = 2, name: str = "acme") -> str:
    """A tenant with one instance and its deployment."""
    return tenant(name) + app(MEMORY, name, replicas, version)


@dataclass
class Folder(CrashWorld):
    """``output`` and ``errors`` are what the last command in this process printed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.environ |= {"PYTHONPATH": str(ROOT), "CTRLPLANE_ACTOR": "tester", "TERM": "xterm"}

    @property
    def repo(self) -> Path:
        return self.root / "repo"

    def ok(self, *arguments: str) -> str:
        """What it prints; it must exit 0."""
        code = self.run(*arguments)
        assert code == 0, self.output + self.errors
        return self.output

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "ctrlplane_gitops", "--chdir", str(self.repo), *arguments]

    def spawn(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """In a process of its own, nobody there to be asked."""
        more = {"capture_output": True, **more} if "stdout" not in more else more
        environ = {**self.environ, **more.pop("environ", {})}
        return subprocess.run(
            self.command(*arguments), env=environ, stdin=subprocess.DEVNULL, text=True,
            timeout=PATIENCE_S, **more,
        )  # fmt: skip

    def on_terminal(
        self, *arguments: str, answer: bytes | signal.Signals | None = None, **environ: str
    ) -> tuple[int, str]:
        """On a terminal of its own; exit code and everything shown. ``answer`` is typed, or the
        signal sent, once a question is asked."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            self.command(*arguments), env={**self.environ, **environ},
            stdin=theirs, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        try:
            shown = _converse(process, ours, answer)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            os.close(ours)
        return process.returncode, shown.decode().replace("\r\n", "\n")


def _converse(
    process: subprocess.Popen[bytes], terminal: int, answer: bytes | signal.Signals | None
) -> bytes:
    shown, deadline = b"", monotonic_s() + PATIENCE_S
    while True:
        assert monotonic_s() < deadline, f"it never ended: {shown!r}"
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so when the last process has closed the other side
            piece = b""
        if not piece:
            process.wait(PATIENCE_S)
            return shown
        shown += piece
        if answer is not None and b"Only 'yes' is accepted: " in shown:
            if isinstance(answer, signal.Signals):
                process.send_signal(answer)
            else:
                os.write(terminal, answer)
            answer = None


_VOLATILE: Sequence[tuple[str, str]] = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "2026-01-01T00:00:00.000Z"),
    (r"\b(evt|aud|pla)_[0-9A-Z]{26}\b", r"\1_00000000000000000000000000"),
    (r" read in \d+\.\ds", " read in 0.1s"),
)


def steady(text: str) -> str:
    """The same with times, ids and durations as in every golden file."""
    for pattern, value in _VOLATILE:
        text = re.sub(pattern, value, text)
    return text
