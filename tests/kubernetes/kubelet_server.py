"""What an API server asks a node for: logs of a container, and commands in it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from tests.kubernetes.channel import Channel, accept_key
from tests.kubernetes.exec import Prepared, Session
from tests.kubernetes.log import Log, since

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")


class Node(Protocol):
    """Who knows the containers. KeyError: there is none of that name."""

    def log_of(self, namespace: str, pod: str, container: str, is_previous: bool) -> Log: ...

    def command_in(
        self, namespace: str, pod: str, container: str, command: Sequence[str]
    ) -> Prepared: ...


class KubeletServer:
    """HTTPS on a free port of loopback, as the node's endpoint says."""

    def __init__(self, node: Node, certificate: Path, key: Path) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.node = node
        self._server.context.load_cert_chain(certificate, key)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,))

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    node: Node
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments: object) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        super().__init__(*arguments)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asked has gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        # Here rather than by who accepts: a handshake takes its time.
        self.request.settimeout(30)
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()
        self.request.close()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        verb, *where = parts.path.strip("/").split("/")
        query = parse_qs(parts.query, keep_blank_values=True)
        if len(where) != 3 or verb not in ("containerLogs", "exec"):
            self._say(404, "no such path")
            return
        namespace, pod, container = where
        try:
            if verb == "exec":
                self._run(namespace, pod, container, query)
            else:
                self._read(namespace, pod, container, query)
        except KeyError as unknown:
            self._say(404, str(unknown.args[0]))
        except (BrokenPipeError, ConnectionError, ssl.SSLError):
            self.close_connection = True

    do_POST = do_GET

    def _read(self, namespace: str, pod: str, container: str, query: dict[str, list[str]]) -> None:
        def asked(name: str) -> str:
            return query.get(name, [""])[0]

        log = self.server.node.log_of(namespace, pod, container, asked("previous") == "true")
        lines = log.read(
            tail=int(asked("tailLines")) if asked("tailLines") else None,
            since=since(asked("sinceSeconds"), asked("sinceTime")),
            is_follow=asked("follow") == "true",
            is_timed=asked("timestamps") == "true",
        )
        left = int(asked("limitBytes") or 1 << 40)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for line in lines:
            if not line and self._is_alone():
                return
            data = (line + "\n").encode()[:left] if line else b""
            left -= len(data)
            self.wfile.write(data)
            self.wfile.flush()

    def _is_alone(self) -> bool:
        """Whether who asked has gone."""
        self.request.settimeout(0.01)
        try:
            return self.request.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            self.request.settimeout(30)

    def _run(self, namespace: str, pod: str, container: str, query: dict[str, list[str]]) -> None:
        offered = self.headers.get("Sec-WebSocket-Protocol", "").replace(" ", "").split(",")
        chosen = next((name for name in _PROTOCOLS if name in offered), None)
        if chosen is None:
            self._say(400, f"none of {', '.join(_PROTOCOLS)} is asked for")
            return
        command = query.get("command", [])
        # Known here, started there: what cannot be started is told over the channel.
        self.server.node.log_of(namespace, pod, container, False)

        def prepare() -> Prepared:
            return self.server.node.command_in(namespace, pod, container, command)

        self.send_response_only(101, "Switching Protocols")
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_key(self.headers["Sec-WebSocket-Key"]))
        self.send_header("Sec-WebSocket-Protocol", chosen)
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        self.request.settimeout(None)
        Session(Channel(self.rfile, self.wfile), prepare, _is_asked(query)).run()

    def _say(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is printed."""


def _is_asked(query: dict[str, list[str]]) -> dict[str, bool]:
    names = {"input": "stdin", "output": "stdout", "error": "stderr", "tty": "tty"}
    return {
        said: any(query.get(name, [""])[0] in ("1", "true") for name in (asked, said))
        for asked, said in names.items()
    }
