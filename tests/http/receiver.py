"""A real HTTP receiver of webhooks, that answers as a test says and checks what it is sent."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ctrlplane_gitops.errors import DeliveryError
from ctrlplane_gitops.source.webhook import read_delivery

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OK = (204, {})
RESET, HANG = "reset", "hang"
Answer = tuple[int, dict[str, str]] | str


class Receiver(ThreadingHTTPServer):
    """``answers`` are given one after the other, and then ``otherwise``. What came with a right
    signature is in ``ids`` and ``bodies``; ``forged`` counts the rest."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, now: Callable[[], datetime], secret: str = SECRET) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.now, self.secret = now, secret
        self.answers: list[Answer] = []
        self.otherwise: Answer = OK
        self.ids: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.forged = 0
        self.over = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def types(self) -> list[str]:
        return [item["type"].removeprefix("dev.ctrlplane.") for item in self.bodies]

    def take(self, headers: list[tuple[str, str]], body: bytes) -> Answer:
        with self.lock:
            try:
                delivery = read_delivery("generic", headers, body, [self.secret], self.now())
            except DeliveryError:
                self.forged += 1
                return (401, {})
            self.ids.append(delivery.id)
            self.bodies.append(json.loads(body))
            self.headers.append(dict(headers))
            return self.answers.pop(0) if self.answers else self.otherwise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who sent has gone."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.take(list(self.headers.items()), body)
        if answer == HANG:
            self.server.over.wait(30)
            return
        if answer == RESET:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            return
        status, headers = answer
        self.send_response(int(status))
        for name, value in headers.items():  # type: ignore[union-attr]
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def receiving(now: Callable[[], datetime], secret: str = SECRET) -> Iterator[Receiver]:
    with Receiver(now, secret) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
