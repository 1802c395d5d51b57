"""A ``serve`` in a process of its own, what it prints, and what it answers."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ctrlplane_gitops.clock import monotonic_s
from tests.e2e.plane import Plane, wait_until

# Polled so rarely that a test would fail before; each test makes quick what it is about.
RARELY = ("--poll", "1h", "--interval", "1h")


class Serve:
    """``lines`` are what it has printed so far. ``url`` is where it answers."""

    def __init__(self, plane: Plane, *arguments: str) -> None:
        self.plane = plane
        self.process = plane.start("serve", "--listen", "127.0.0.1:0", *arguments)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for("listening on")
        self.url = next(line for line in self.lines if "listening on" in line).split()[-1]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            self.plane.said.append(line)

    def has_said(self, *texts: str) -> bool:
        """Whether one line has all of them."""
        return any(all(text in line for text in texts) for line in list(self.lines))

    def wait_for(self, *texts: str, patience_s: float = 30) -> None:
        try:
            wait_until(lambda: self.has_said(*texts), patience_s)
        except AssertionError:
            raise AssertionError("\n".join([f"{texts} was not said:", *self.lines])) from None

    def wait_ready(self) -> None:
        wait_until(lambda: self.get("/readyz")[0] == 200)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and body; JSON as what it means."""
        return fetch(self.url + path)

    def figures(self) -> dict[str, float]:
        """The samples of ``/metrics`` by name and labels."""
        text = self.get("/metrics")[1]
        rows = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in rows}

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Exit code, and how many seconds it took."""
        began = monotonic_s()
        self.process.send_signal(number)
        code = self.process.wait(timeout=15)
        took = monotonic_s() - began
        self._reader.join(5)
        assert "Traceback" not in "\n".join(self.lines)
        return code, took

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def fetch(url: str) -> tuple[int, Any]:
    """Status and body; JSON as what it means."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, _parse(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _parse(error)


def _parse(answer: Any) -> Any:
    text = answer.read().decode()
    return json.loads(text) if "json" in answer.headers["Content-Type"] else text


@contextmanager
def serving(plane: Plane, *arguments: str) -> Iterator[Serve]:
    """It is stopped with the block, and that goes well."""
    serve = Serve(plane, *arguments)
    try:
        yield serve
        if serve.process.poll() is None:
            assert serve.stop()[0] == 0
    finally:
        if serve.process.poll() is None:
            serve.process.kill()
        for stream in (serve.process.stdout, serve.process.stderr):
            assert stream is not None
            serve.process.wait()
            serve._reader.join(5)
            stream.close()


def ends(process: subprocess.Popen[str]) -> tuple[int, str]:
    with process:
        out, err = process.communicate(timeout=20)
    return process.returncode, out + err
