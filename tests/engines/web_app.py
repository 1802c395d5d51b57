"""The application of the tests that send traffic: plain Python, as a process and in the test image.

Every path answers with VERSION; the headers say it too, and the replica, the path that arrived and
how much of a body did. The last word of a path may ask for more: ``slow?s=N`` takes N seconds,
``sse`` sends an event every 0.2 s, ``ws`` echoes over a websocket, ``healthz`` has the status
HEALTH.

Of each 100 other answers ERROR_PERCENT are a 500, evenly, by count; each takes DELAY_MS.

SIGTERM: who has connected is served, what is in flight is answered to its end, idle connections
are closed, streams are ended as their protocol ends them, exit code 0.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

# Little is imported: on a small machine a replica that starts takes the processor from those that
# serve, and what a rollout's test measures should be the rollout.

VERSION = os.environ.get("VERSION", "none")
REPLICA = os.environ.get("CTRLPLANE_REPLICA") or socket.gethostname()
HEALTH = int(os.environ.get("HEALTH", "200"))
ERROR_PERCENT = int(os.environ.get("ERROR_PERCENT", "0"))
DELAY_S = float(os.environ.get("DELAY_MS", "0")) / 1000
_EVERY_S = 0.2
# Who has connected and sent nothing yet is about to: a router connects to send a request.
_FIRST_REQUEST_S = 1.0
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_REASONS = {101: "Switching Protocols", 200: "OK", 500: "Internal Server Error"}
_TEXT, _CLOSE = 0x1, 0x8


class Request:
    """``headers`` have lower-case names; ``verb`` is the last word of the path."""

    def __init__(self, target: str, headers: dict[str, str], body: bytes) -> None:
        self.target, self.headers, self.body = target, headers, body
        path, _, self.query = target.partition("?")
        self.verb = path.rpartition("/")[2]


class Server:
    """One thread per connection. ``is_leaving`` from SIGTERM on."""

    def __init__(self, host: str, port: int) -> None:
        # Connections that wait to be accepted must not be turned away at a moment's load.
        self.listener = socket.create_server((host, port), backlog=1024)
        self.listener.setblocking(False)
        self.is_leaving = False
        self._changed = threading.Condition()
        self._open: set[Connection] = set()
        self._answered = 0

    def serve(self, woken: int) -> None:
        """Until something can be read from ``woken``; then to the end of every connection."""
        while True:
            ready = select.select([self.listener, woken], [], [])[0]
            self._accept()
            if woken in ready:
                break
        # To close a listener resets those whose connection was not accepted yet.
        self._accept()
        self.listener.close()
        with self._changed:
            self.is_leaving = True
            self._close_idle(lambda connection: connection.has_served)
            self._changed.wait_for(lambda: not self._open, _FIRST_REQUEST_S)
            self._close_idle(lambda connection: True)
            self._changed.wait_for(lambda: not self._open)

    def _accept(self) -> None:
        while True:
            try:
                accepted = self.listener.accept()[0]
            except OSError:
                return
            accepted.setblocking(True)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, accepted)
            with self._changed:
                self._open.add(connection)
            threading.Thread(target=connection.run, daemon=True).start()

    def _close_idle(self, is_meant) -> None:
        """A request that has arrived is read still: only the reading of more ends here."""
        for connection in self._open:
            if connection.is_idle and is_meant(connection):
                connection.stop_reading()

    def set_idle(self, connection: Connection, is_idle: bool) -> None:
        with self._changed:
            connection.is_idle = is_idle
            if is_idle and self.is_leaving and connection.has_served:
                connection.stop_reading()

    def forget(self, connection: Connection) -> None:
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()

    def next_status(self) -> int:
        """200, or 500 as often as ERROR_PERCENT says."""
        with self._changed:
            self._answered += 1
            before, now = ((self._answered + it) * ERROR_PERCENT // 100 for it in (-1, 0))
        return 500 if now > before else 200


class Connection:
    def __init__(self, server: Server, accepted: socket.socket) -> None:
        self.is_idle = True
        self.has_served = False
        self._server = server
        self._socket = accepted
        self._file = accepted.makefile("rb")

    def stop_reading(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def run(self) -> None:
        try:
            while (request := self._read()) and self._answer(request):
                self.has_served = True
                self._server.set_idle(self, True)
        except (OSError, ValueError):
            pass
        finally:
            self._file.close()
            self._socket.close()
            self._server.forget(self)

    def _read(self) -> Request | None:
        line = self._file.readline(65536)
        self._server.set_idle(self, False)
        if not line.endswith(b"\r\n"):
            return None
        headers = {}
        while (header := self._file.readline(65536)) not in (b"\r\n", b""):
            name, _, text = header.decode("latin-1").partition(":")
            headers[name.lower()] = text.strip()
        length = int(headers.get("content-length", 0))
        return Request(line.split()[1].decode(), headers, self._file.read(length))

    def _answer(self, request: Request) -> bool:
        """Whether the connection can be used again."""
        if request.verb == "ws" and "upgrade" in request.headers:
            return self._echo(request)
        if request.verb == "sse":
            return self._stream(request)
        if request.verb == "healthz":
            return self._send(request, HEALTH, b"ok")
        if request.verb == "slow":
            time.sleep(float(request.query.removeprefix("s=") or 3))
        elif DELAY_S:
            time.sleep(DELAY_S)
        status = self._server.next_status()
        return self._send(request, status, VERSION.encode())

    def _send(self, request: Request, status: int, body: bytes) -> bool:
        is_last = (
            self._server.is_leaving or request.headers.get("connection", "").lower() == "close"
        )
        lines = [f"Content-Length: {len(body)}", f"X-Received: {len(request.body)}"]
        lines += ["Connection: close"] if is_last else []
        self._socket.sendall(self._head(request, status, *lines) + body)
        return not is_last

    def _head(self, request: Request, status: int, *lines: str) -> bytes:
        first = f"HTTP/1.1 {status} {_REASONS.get(status, 'Other')}"
        ours = (f"X-Version: {VERSION}", f"X-Replica: {REPLICA}", f"X-Path: {request.target}")
        return "\r\n".join((first, *ours, *lines, "", "")).encode("latin-1")

    def _stream(self, request: Request) -> bool:
        lines = ("Content-Type: text/event-stream", "Cache-Control: no-cache")
        lines += ("Transfer-Encoding: chunked", "Connection: close")
        self._socket.sendall(self._head(request, 200, *lines))
        number = 0
        while not self._server.is_leaving:
            event = f"data: {VERSION} {number}\n\n".encode()
            self._socket.sendall(b"%x\r\n%s\r\n" % (len(event), event))
            number += 1
            time.sleep(_EVERY_S)
        self._socket.sendall(b"0\r\n\r\n")
        return False

    def _echo(self, request: Request) -> bool:
        accept = accept_key(request.headers.get("sec-websocket-key", ""))
        lines = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}")
        self._socket.sendall(self._head(request, 101, *lines))
        while not self._server.is_leaving:
            if not select.select([self._socket], [], [], _EVERY_S)[0]:
                continue
            kind, text = read_frame(self._socket)
            self._socket.sendall(bytes([0x80 | kind, len(text)]) + text)
            if kind == _CLOSE:
                return False
        # 1001: going away.
        self._socket.sendall(bytes([0x80 | _CLOSE, 2]) + (1001).to_bytes(2, "big"))
        return False


def accept_key(key: str) -> str:
    """What proves that a handshake was understood."""
    import base64
    import hashlib

    return base64.b64encode(hashlib.sha1(key.encode() + _MAGIC).digest()).decode()


def read_frame(connection: socket.socket) -> tuple[int, bytes]:
    """Kind and payload of one short frame of a client; OSError at the end of the stream."""
    head = connection.recv(2, socket.MSG_WAITALL)
    if len(head) < 2 or head[1] & 0x7F > 125:
        raise OSError("no frame")
    mask = connection.recv(4, socket.MSG_WAITALL)
    length = head[1] & 0x7F
    masked = connection.recv(length, socket.MSG_WAITALL) if length else b""
    return head[0] & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))


def main() -> int:
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    host = "0.0.0.0" if os.access("/.dockerenv", os.F_OK) else "127.0.0.1"
    server = Server(host, int(os.environ.get("PORT", "8080")))
    print(f"version {VERSION} listens", flush=True)
    server.serve(woken.fileno())
    print("stopped", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
