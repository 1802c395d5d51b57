"""A small HTTPS server that says what a test has it say, as an API server would."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

from tests.http.thread import served


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Reply:
    """``is_cut``: the connection ends without an answer."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    is_cut: bool = False


class ApiServer(ThreadingHTTPServer):
    """``replies`` are taken in order; the last one stays."""

    daemon_threads = True

    def __init__(self, pem: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: list[Reply] = [Reply()]
        self.asked: list[Asked] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"

    def answer(self, asked: Asked) -> Reply:
        """In whichever of its threads."""
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust us, or has gone."""


_Server = TypeVar("_Server", bound=ApiServer)


class _Handler(BaseHTTPRequestHandler):
    server: ApiServer
    protocol_version = "HTTP/1.1"
    # The second piece of an answer would wait for an acknowledgement of the first.
    wbufsize, disable_nagle_algorithm = -1, True

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        body = json.loads(raw) if raw else None
        asked = Asked(self.command, self.path, dict(self.headers), body)
        self.server.asked.append(asked)
        reply = self.server.answer(asked)
        if reply.is_cut:
            self.close_connection = True
            self.connection.close()
            return
        content = json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def make_certificate(folder: Path) -> Path:
    """A certificate of its own for 127.0.0.1, with its key."""
    pem = folder / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", str(pem), "-out", str(folder / "ca.crt"), "-days", "2",
         "-subj", "/CN=kubernetes", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_bytes(pem.read_bytes() + (folder / "ca.crt").read_bytes())
    return pem


@contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    with serving(ApiServer, folder) as server:
        yield server


@contextmanager
def serving(kind: type[_Server], folder: Path) -> Iterator[_Server]:
    """One of that kind, and in ``folder`` its certificate, ``ca.crt``."""
    with kind(make_certificate(folder)) as server, served(server):
        yield server


def write_kubeconfig(server: ApiServer, folder: Path) -> Path:
    """Of nobody in particular."""
    cluster = {"server": server.url, "certificate-authority": "ca.crt"}
    config = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "contexts": [{"name": "x", "context": {"cluster": "c"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path
