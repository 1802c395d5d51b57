"""The API server as somebody sees it who must reach pods from this machine: what endpoints say of
their addresses is where they are reached. Everything else passes as it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.kubernetes.client import Client
from tests.kubernetes.kubelet import reachable

_GIVEN_BACK = ("Content-Type", "Warning", "Retry-After")
_REWRITTEN = "/endpointslices"


class Lens:
    """``address`` is plain HTTP; whoever asks does so with the rights of ``client``."""

    def __init__(self, client: Client) -> None:
        self._server = Server(client)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,))
        self._thread.start()

    def close(self) -> None:
        """Watches that are open end."""
        self._server.shutdown()
        self._thread.join()
        self._server.end_streams()
        self._server.server_close()


class Server(ThreadingHTTPServer):
    """Passes on what it is asked, with the rights of ``client``."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, client: Client, handler: type[Handler] | None = None) -> None:
        self.client = client
        self._streams: set[Any] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), handler or Handler)

    def keep(self, stream: Any) -> None:
        with self._lock:
            self._streams.add(stream)

    def drop(self, stream: Any) -> None:
        with self._lock:
            self._streams.discard(stream)

    def end_streams(self) -> None:
        with self._lock:
            for stream in self._streams:
                with suppress(OSError, ValueError):
                    stream.shutdown()

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asked has gone."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    passed_on: tuple[str, ...] = ("Content-Type", "User-Agent")

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.pass_on(body)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def pass_on(self, body: bytes) -> None:
        headers = {name: self.headers[name] for name in self.passed_on if name in self.headers}
        try:
            answer = self.server.client.request(self.command, self.path, body or None, headers)
        except Client.BROKEN as failed:
            self.say(502, str(failed).encode())
            return
        self.server.keep(answer)
        try:
            self.pass_back(answer)
        except Client.BROKEN:
            self.close_connection = True
        finally:
            self.server.drop(answer)
            answer.close()

    def pass_back(self, answer: Any) -> None:
        self.send_response(answer.status)
        for name in _GIVEN_BACK:
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        is_rewritten = _REWRITTEN in self.path
        for line in _lines(answer) if is_rewritten else _pieces(answer):
            data = reachable(line.decode()).encode() if is_rewritten else line
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def say(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is printed."""


def _pieces(answer: Any) -> Iterator[bytes]:
    while data := answer.read1(1 << 16):
        yield data


def _lines(answer: Any) -> Iterator[bytes]:
    """With their ends: an address is never cut in two."""
    rest = b""
    for data in _pieces(answer):
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest
