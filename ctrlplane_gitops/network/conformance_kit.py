"""What the router conformance suite is written with: upstreams, clients, tables and verbs."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.network.router import Router
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key
from ctrlplane_gitops.state.traffic import (
    Backend,
    Member,
    RouteEntry,
    RouterCapability,
    RouteTable,
)
from ctrlplane_gitops.value import struct

PATIENCE = timedelta(seconds=15)
WEB = instance_key("acme", "web")
HOST = "shop.acme.example"
SLOW_S = 1.5


def route_key(name: str, tenant: str = "acme") -> ResourceKey:
    return ResourceKey(Kind.ROUTE, tenant, name)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Poll until it holds; fail with ``what`` after ``PATIENCE``."""
    deadline = monotonic_s() + PATIENCE.total_seconds()
    while not holds():
        assert monotonic_s() < deadline, f"still waiting for: {what}"
        sleep(0.03)


class _Handler(BaseHTTPRequestHandler):
    """Answers with ``<replica> <path>``; ``/slow`` takes its time, ``/fail`` is a 500."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one packet

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Upstream)
        if self.path.endswith("/slow"):
            sleep(SLOW_S)
        body = f"{server.replica} {self.path}".encode()
        self.send_response(500 if self.path.endswith("/fail") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


class Upstream(ThreadingHTTPServer):
    """A replica: a real HTTP server on a loopback port, until ``down``."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, replica: str, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _Handler)
        self.replica = replica
        self.member = Member(replica, host, self.server_port)
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was cut is no news."""

    def down(self) -> None:
        """Dead, as after a crash: nothing listens and every connection is cut. Twice is once."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
            self.server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@struct
class Reply:
    status: int
    body: str
    cookie: str = ""

    @property
    def replica(self) -> str:
        return self.body.partition(" ")[0]

    @property
    def path(self) -> str:
        return self.body.partition(" ")[2]


class Client:
    """One keep-alive connection that is opened again only when the router closed it in time."""

    def __init__(self, port: int, host: str = HOST, context: ssl.SSLContext | None = None) -> None:
        self._connection = (
            http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            if context is None
            else _NamedConnection(host, port, context)
        )
        self._host = host

    def get(self, path: str = "/", headers: Mapping[str, str] | None = None) -> Reply:
        self._connection.putrequest("GET", path, skip_host=True)
        for name, value in {"Host": self._host, **(headers or {})}.items():
            self._connection.putheader(name, value)
        self._connection.endheaders()
        answer = self._connection.getresponse()
        body = answer.read().decode()
        cookie = "; ".join(
            item.partition(";")[0] for item in answer.headers.get_all("Set-Cookie") or ()
        )
        return Reply(answer.status, body, cookie)

    def peer_certificate(self) -> str:
        """What the router shows for our name, as PEM."""
        self._connection.connect()
        assert isinstance(self._connection.sock, ssl.SSLSocket)
        der = self._connection.sock.getpeercert(binary_form=True)
        assert der is not None
        return ssl.DER_cert_to_PEM_cert(der)

    def close(self) -> None:
        self._connection.close()


class _NamedConnection(http.client.HTTPSConnection):
    """TLS to loopback under another name."""

    def __init__(self, name: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__("127.0.0.1", port, timeout=10, context=context)
        self._name, self._tls = name, context

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self._name)


@dataclass(slots=True)
class Load:
    """What clients met while it lasted: replies by replica, and every failure."""

    replicas: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


@contextmanager
def load(
    port: int, *, keep_alive: int = 3, fresh: int = 2, context: ssl.SSLContext | None = None
) -> Iterator[Load]:
    """Clients that never retry, on connections of both sorts, with TLS where there is a
    ``context``; all end with the block."""
    met, is_over = Load(), threading.Event()

    def run(is_fresh: bool) -> None:
        client = Client(port, context=context)
        while not is_over.wait(0.005):
            try:
                reply = client.get()
                met.replicas[reply.replica] += 1
                if reply.status != 200:
                    met.failures.append(f"{reply.status} {reply.body}")
            except (OSError, http.client.HTTPException) as error:
                met.failures.append(f"{'fresh' if is_fresh else 'kept'}: {error!r}")
                client.close()
            if is_fresh:
                client.close()
        client.close()

    kinds = [False] * keep_alive + [True] * fresh
    threads = [threading.Thread(target=run, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    try:
        yield met
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def make_certificate(directory: Path, host: str) -> SecretValue:
    """A self-signed certificate and its key in one PEM."""
    key, crt = directory / f"{host}.key", directory / f"{host}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={host}", "-keyout", str(key)]
    command += ["-addext", f"subjectAltName=DNS:{host}", "-out", str(crt)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return SecretValue(crt.read_bytes() + key.read_bytes())


class RouterKit:
    """The hooks, and the verbs the claims are written with."""

    plane = "conf"

    def make_router(self, plane: str, root: Path, on_effect: Callable[[str], None]) -> Router:
        """A router of that plane; ``root`` is the test's directory: the same root is the same
        router. It has the entry points ``web`` and, with TLS, ``websecure``."""
        raise AssertionError("a subclass says how its router is made")

    def kill_router(self, router: Router, root: Path) -> None:
        """Make the router die as a crash would."""
        raise AssertionError("a subclass says how its router dies")

    def start_router(self, router: Router, root: Path) -> bool:
        """Have it run; True when it had to be started. A subclass whose router is the user's
        starts it as the user would."""
        return router.ensure_running()

    def stop_router(self, router: Router, root: Path) -> None:
        """End it, orderly."""
        router.stop()

    def written_dir(self, root: Path) -> Path:
        """Where the router's own files lie, among which others' may be."""
        return root

    @pytest.fixture(scope="class")
    @classmethod
    def root(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
        """One router for all tests of the class: starting one takes a while."""
        root = tmp_path_factory.mktemp("router")
        yield root
        kit = cls()
        router = kit.make_router(cls.plane, root, lambda effect: None)
        kit.stop_router(router, root)
        router.close()

    @pytest.fixture
    def effects(self) -> list[str]:
        return []

    @pytest.fixture
    def router(self, root: Path, effects: list[str]) -> Iterator[Router]:
        """It runs and has no routes."""
        router = self.make_router(self.plane, root, effects.append)
        self.start_router(router, root)
        self.put(router)
        effects.clear()
        yield router
        router.close()

    def put(
        self,
        router: Router,
        *entries: RouteEntry,
        certificates: Mapping[ResourceKey, SecretValue] | None = None,
    ) -> str:
        """Apply the entries, and nothing else, and wait until they are live."""
        table = RouteTable(tuple(sorted(entries, key=lambda item: (item.key, item.variant))))
        generation = router.apply(table, certificates or {})
        report = router.wait_live(generation, PATIENCE)
        assert report.is_live, report.message
        return generation

    def entry(
        self,
        *backends: Backend,
        name: str = "web",
        hosts: Sequence[str] = (HOST,),
        path: str = "/",
        **more: Any,
    ) -> RouteEntry:
        return RouteEntry(
            route_key(name), WEB, tuple(hosts), path, backends or (Backend(1, 100),), **more
        )

    def needs(self, router: Router, capability: RouterCapability) -> None:
        if capability not in router.capabilities:
            pytest.skip(f"has no capability {capability.value!r}")


def backend(release: int, weight: int, *upstreams: Upstream | Member) -> Backend:
    members = [it.member if isinstance(it, Upstream) else it for it in upstreams]
    return Backend(release, weight, tuple(sorted(members)))
