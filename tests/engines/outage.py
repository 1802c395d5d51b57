"""A relay in front of a socket, to have an engine that stops answering."""

from __future__ import annotations

import re
import selectors
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_REQUEST = re.compile(rb"^[A-Z]+ \S+(?= HTTP/1\.[01]\r$)", re.MULTILINE)


class Relay:
    """Passes bytes between who comes to ``listener`` and what ``connect`` gives. While ``is_down``
    every connection is cut. ``requests`` are the requests that passed, as in ``GET /_ping``."""

    def __init__(self, listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
        self.is_down = False
        self.requests: list[str] = []
        self._near: set[socket.socket] = set()
        self._connect = connect
        self._peers: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._is_ending.set()
        self._thread.join()
        for near in list(self._peers):
            self._cut(near)
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._is_ending.is_set():
            if self.is_down:
                for near in list(self._peers):
                    self._cut(near)
            for key, _ in self._selector.select(0.02):
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if ready is self._listener:
                    self._accept()
                elif ready in self._peers:
                    self._pass_on(ready)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if self.is_down:
            near.close()
            return
        far = self._connect()
        self._near.add(near)
        for one, other in ((near, far), (far, near)):
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, ready: socket.socket) -> None:
        try:
            data = b"" if self.is_down else ready.recv(1 << 16)
            if data:
                if ready in self._near:
                    self.requests += [item.decode() for item in _REQUEST.findall(data)]
                self._peers[ready].sendall(data)
                return
        except OSError:
            data = b""
        self._cut(ready)

    def _cut(self, one: socket.socket) -> None:
        other = self._peers.pop(one, None)
        self._near -= {one, other}
        if other is not None:
            self._peers.pop(other, None)
            for end in (one, other):
                self._selector.unregister(end)
                with suppress(OSError):
                    end.close()


@contextmanager
def relay(host: str) -> Iterator[tuple[str, Relay]]:
    """A relay to a ``unix://`` host, and its own address."""
    folder = Path(tempfile.mkdtemp(prefix="ctrlplane-relay-"))
    path = folder / "docker.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(32)
    started = Relay(listener, lambda: _connect(host.removeprefix("unix://")))
    try:
        yield f"unix://{path}", started
    finally:
        started.close()
        shutil.rmtree(folder, ignore_errors=True)


def tcp_relay(target: tuple[str, int]) -> tuple[int, Relay]:
    """A relay to an address, and its own port on this machine; to be closed by who asked."""
    listener = socket.create_server(("127.0.0.1", 0))
    return listener.getsockname()[1], Relay(listener, lambda: socket.create_connection(target))


def _connect(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.connect(path)
    return made
