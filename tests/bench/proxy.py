"""The engine, but what was never started is shown as running.

A thousand containers can be created on a small machine, not run; listing them costs the engine the
same. ``python -m tests.bench.proxy SOCKET ENGINE`` serves until it is ended; it hands a list on
when it has all of it, so it adds a little to what goes through it.
"""

from __future__ import annotations

import socketserver
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from tests.bench.raw import RawEngine
from tests.engines.ping import is_answering

_CREATED, _RUNNING = b'"State":"created"', b'"State":"running"'


class _Handler(socketserver.StreamRequestHandler):
    """One request without a body per connection."""

    def handle(self) -> None:
        method, target, _ = self.rfile.readline().decode().split(" ", 2)
        while self.rfile.readline().strip():
            continue
        engine: HTTPConnection = RawEngine(sys.argv[2])
        engine.request(method, target)
        answer = engine.getresponse()
        content = answer.read().replace(_CREATED, _RUNNING)
        engine.close()
        head = f"HTTP/1.1 {answer.status} {answer.reason}\r\nContent-Length: {len(content)}\r\n"
        self.wfile.write(f"{head}Connection: close\r\n\r\n".encode() + content)


@contextmanager
def shown_as_running(path: Path, engine: str) -> Iterator[None]:
    """The proxy in a process of its own, listening at ``path``."""
    process = subprocess.Popen([sys.executable, "-m", __name__, str(path), engine])
    try:
        while not is_answering(f"unix://{path}"):
            if process.poll() is not None:
                raise RuntimeError("the proxy does not start")
        yield
    finally:
        process.terminate()
        process.wait()
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    with socketserver.ThreadingUnixStreamServer(sys.argv[1], _Handler) as server:
        server.serve_forever()
