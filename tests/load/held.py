"""Connections that are held: a websocket that is echoed to, and a stream of server-sent events.

Each has a thread of its own and says when and how it ended. No request is sent twice and nothing
connects again.
"""

from __future__ import annotations

import base64
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from ctrlplane_gitops.clock import monotonic_s

_EVERY_S = 0.1
_PATIENCE_S = 5.0
_TEXT, _CLOSE = 0x1, 0x8


@dataclass(slots=True)
class Held:
    """``count`` messages came back so far. ``how`` is empty while it is held; then: ``left`` (we
    did), ``closed CODE`` (a websocket's close frame), ``ended`` (a stream's last chunk), or what a
    user would call lost: ``cut`` (the end without either), ``reset``, ``silent``, ``refused``."""

    began_s: float
    version: str = ""
    replica: str = ""
    status: int = 0
    count: int = 0
    ended_s: float | None = None
    how: str = ""

    @property
    def is_lost(self) -> bool:
        return self.how in ("cut", "reset", "silent", "refused", "garbled")

    def wait_count(self, count: int) -> None:
        """Until that many messages came; AssertionError when it ends before."""
        deadline = monotonic_s() + _PATIENCE_S
        while self.count < count:
            assert not self.how and monotonic_s() < deadline, self
            threading.Event().wait(0.02)

    def wait_end(self) -> None:
        """Until it is over; AssertionError when it goes on."""
        deadline = monotonic_s() + _PATIENCE_S
        while not self.how:
            assert monotonic_s() < deadline, self
            threading.Event().wait(0.02)


class _EndError(Exception):
    """The connection is over; the text is ``Held.how``."""


@contextmanager
def held_websocket(port: int, host: str, path: str = "/ws") -> Iterator[Held]:
    """Sends a text every 0.1 s and expects it back."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    with _held(port, host, path, (*lines, f"Sec-WebSocket-Key: {key}"), 101, _echo) as held:
        yield held


@contextmanager
def held_events(port: int, host: str, path: str = "/sse") -> Iterator[Held]:
    """Reads events."""
    with _held(port, host, path, ("Accept: text/event-stream",), 200, _read_events) as held:
        yield held


Talk = Callable[[socket.socket, BinaryIO, Held, threading.Event], None]


@contextmanager
def _held(
    port: int, host: str, path: str, lines: tuple[str, ...], status: int, talk: Talk
) -> Iterator[Held]:
    held, is_over = Held(monotonic_s()), threading.Event()

    def run(connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as file:
                request = (f"GET {path} HTTP/1.1", f"Host: {host}", *lines, "", "")
                connection.sendall("\r\n".join(request).encode())
                _read_head(file, held)
                if held.status != status:
                    raise _EndError("refused")
                talk(connection, file, held, is_over)
        except _EndError as end:
            _end(held, is_over, str(end))
        except TimeoutError:
            _end(held, is_over, "silent")
        except OSError:
            _end(held, is_over, "reset")

    with socket.create_connection(("127.0.0.1", port), _PATIENCE_S) as connection:
        thread = threading.Thread(target=run, args=(connection,))
        thread.start()
        try:
            yield held
        finally:
            is_over.set()
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()


def _end(held: Held, is_over: threading.Event, how: str) -> None:
    held.ended_s = monotonic_s()
    held.how = "left" if is_over.is_set() else how


def _read_head(file: BinaryIO, held: Held) -> None:
    first = file.readline()
    if not first:
        raise _EndError("cut")
    held.status = int(first.split()[1])
    while (line := file.readline()) not in (b"\r\n", b""):
        name, _, text = line.decode("latin-1").partition(":")
        if name.lower() == "x-version":
            held.version = text.strip()
        elif name.lower() == "x-replica":
            held.replica = text.strip()


def _echo(connection: socket.socket, file: BinaryIO, held: Held, is_over: threading.Event) -> None:
    # Not masked by anything: a key of zeros is a key.
    while not is_over.is_set():
        text = f"message {held.count}".encode()
        connection.sendall(bytes([0x80 | _TEXT, 0x80 | len(text)]) + bytes(4) + text)
        kind, received = _read_frame(file)
        if kind == _CLOSE:
            raise _EndError(f"closed {int.from_bytes(received[:2], 'big')}")
        if received != text:
            raise _EndError("garbled")
        held.count += 1
        is_over.wait(_EVERY_S)
    raise _EndError("left")


def _read_frame(file: BinaryIO) -> tuple[int, bytes]:
    head = file.read(2)
    if len(head) < 2:
        raise _EndError("cut")
    return head[0] & 0x0F, file.read(head[1] & 0x7F)


def _read_events(
    connection: socket.socket, file: BinaryIO, held: Held, is_over: threading.Event
) -> None:
    while True:
        line = file.readline()
        if not line:
            raise _EndError("cut")
        if line.startswith(b"data:"):
            held.count += 1
        # The chunk of length zero; an event's own lines never are that.
        if line == b"0\r\n":
            raise _EndError("ended")
