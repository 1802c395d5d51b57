"""A real HTTP server that answers with what a test puts in: JSON, or whole pages."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.http.thread import served


class JsonServer(ThreadingHTTPServer):
    """``pages`` maps a path with its query to a status and a body (JSON where it is no bytes);
    ``asked`` are the paths in order, ``posted`` those of POST with their bodies."""

    daemon_threads = True

    def __init__(self, pem: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, tuple[int, Any]] = {}
        self.asked: list[str] = []
        self.posted: list[tuple[str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        self.scheme = "http" if pem is None else "https"
        if pem is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def url(self, path: str = "", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.server_port}{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust us, or has gone."""


class _Handler(BaseHTTPRequestHandler):
    server: JsonServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.headers.append(dict(self.headers))
        status, body = self.server.pages.get(self.path, (404, {}))
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        self.server.posted.append((self.path, self.rfile.read(length)))
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def json_server(pem: Path | None = None) -> Iterator[JsonServer]:
    with JsonServer(pem) as server, served(server):
        yield server
