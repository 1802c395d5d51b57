"""Rows 7a and 7b: what checking the health of a fleet costs."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.measure import Run, Verdict, drift_of, python_environ, run_process, take_turns

# Enough that what it takes to begin does not count; the slow one has to wait for every answer.
_CHECKS = {"raw": 20_000, "ours": 20_000, "requests": 2_000}
_SECONDS = 60.0
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def measure_health(root: Path, rows: set[str]) -> Iterator[Verdict]:
    environ = python_environ(os.environ, root / "pycache-health")
    with _target() as port:
        if "7a" in rows:
            yield from _measure_speed(root, port, environ)
        if "7b" in rows:
            yield from _measure_pace(root, port, environ)


def _measure_speed(root: Path, port: int, environ: dict[str, str]) -> Iterator[Verdict]:
    command = (sys.executable, "-m", "tests.bench.health")

    def check(name: str, *arguments: str) -> Run:
        run = run_process([*command, name, *arguments, str(port), str(_CHECKS[name])], environ)[0]
        return Run(run.wall_s / _CHECKS[name], run.cpu_s / _CHECKS[name], run.peak_mib)

    def ours() -> Run:
        with tempfile.TemporaryDirectory(dir=root) as folder:
            return check("ours", folder)

    found = take_turns(
        {"raw": lambda: check("raw"), "ours": ours, "requests": lambda: check("requests")}
    )
    drift = drift_of(found["raw"], 2)
    us = found["ours"]
    for name, bar in (("raw", 1 / 0.35), ("requests", 0.5)):
        other = found[name]
        note = (
            f"{1 / us.wall_s:.0f}/s ({1e6 * us.cpu_s:.0f} us of cpu) to "
            f"{1 / other.wall_s:.0f}/s ({1e6 * other.cpu_s:.0f} us)"
        )
        text = "a loop over epoll" if name == "raw" else "a loop over requests.Session"
        ratio = us.wall_s / other.wall_s
        yield Verdict("7a", f"health checks, to {text}", ratio, bar, note=note, drift=drift)


def _measure_pace(root: Path, port: int, environ: dict[str, str]) -> Iterator[Verdict]:
    with _black_hole() as hole, tempfile.TemporaryDirectory(dir=root) as folder:
        command = [sys.executable, "-m", "tests.bench.health", "paced", folder, str(port)]
        output = run_process([*command, str(hole), str(_SECONDS)], environ)[1]
    found = json.loads(output)
    note = f"{found['checks_per_30s']:.0f} checks in 30 s, {found['rss_mib']:.0f} MiB"
    text = "10,000 targets every 30 s, 500 of them black holes:"
    yield Verdict("7b", f"{text} cpu", found["cpu_percent"], 15, "%", note)
    yield Verdict("7b", f"{text} p99 late", found["late_p99_s"], 1, "s")


@contextmanager
def _target() -> Iterator[int]:
    """A server in a process of its own that answers at once and closes."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port: int = listener.getsockname()[1]
        program = f"from tests.bench.health_row import serve; serve({listener.fileno()})"
        process = subprocess.Popen([sys.executable, "-c", program], pass_fds=[listener.fileno()])
        try:
            yield port
        finally:
            process.kill()
            process.wait()


def serve(descriptor: int) -> None:
    """Answer whoever comes; never returns."""
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)
    poll, open_ones = select.epoll(), {}
    poll.register(listener, select.EPOLLIN)
    while True:
        for number, _ in poll.poll():
            if number == descriptor:
                _accept(listener, poll, open_ones)
                continue
            connection = open_ones.pop(number)
            try:
                if connection.recv(4096):
                    connection.send(_ANSWER)
            except OSError:
                pass
            poll.unregister(number)
            connection.close()


def _accept(
    listener: socket.socket, poll: select.epoll, open_ones: dict[int, socket.socket]
) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        open_ones[connection.fileno()] = connection
        poll.register(connection, select.EPOLLIN)


@contextmanager
def _black_hole() -> Iterator[int]:
    """It listens, never accepts, and has no room for another connection."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
