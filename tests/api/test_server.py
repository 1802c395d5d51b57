"""The real server: what it listens on, and how it stops."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from flask import Flask

from ctrlplane_gitops.api.application import MAX_BODY
from ctrlplane_gitops.api.server import Server, bind, is_loopback, parse_listen
from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.errors import UsageError
from tests.e2e.plane import wait_until


class Running:
    """``/slow`` lasts until ``gate`` is set."""

    def __init__(self) -> None:
        self.gate, self.entered = threading.Event(), threading.Event()
        listening = bind("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        application = Flask("slow")
        application.add_url_rule("/healthz", view_func=lambda: "ok", endpoint="healthz")
        application.add_url_rule("/slow", view_func=self._read, endpoint="slow")
        self.server = Server(application, listening)
        self.server.start()

    def _read(self) -> dict[str, bool]:
        self.entered.set()
        self.gate.wait(10)
        return {"done": True}

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Connection": "close", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running()
    yield made
    made.gate.set()
    made.server.stop(timedelta(seconds=1))


def test_it_answers(running: Running) -> None:
    assert running.get("/healthz") == (200, b"ok")
    assert running.get("/nothing")[0] == 404


def test_who_is_being_answered_is_not_cut_off_by_a_stop(running: Running) -> None:
    found: list[tuple[int, bytes]] = []
    asking = threading.Thread(target=lambda: found.append(running.get("/slow")))
    asking.start()
    assert running.entered.wait(5)
    stopping = threading.Thread(target=lambda: running.server.stop(timedelta(seconds=5)))
    stopping.start()
    wait_until(lambda: not running.is_listening())
    running.gate.set()
    for thread in (asking, stopping):
        thread.join(10)
    assert found == [(200, b'{"done":true}\n')]


def test_a_stop_does_not_wait_for_one_that_takes_too_long(running: Running) -> None:
    def ask() -> None:
        with pytest.raises((OSError, http.client.HTTPException)):
            running.get("/slow")

    asking = threading.Thread(target=ask)
    asking.start()
    assert running.entered.wait(5)
    began = monotonic_s()
    running.server.stop(timedelta(milliseconds=300))
    assert monotonic_s() - began < 2
    asking.join(5)


def send(running: Running, head: str, chunks: Callable[[], Iterator[bytes]]) -> bytes:
    """The answer to a request written by hand."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode())
        try:
            for chunk in chunks():
                connection.sendall(chunk)
        except OSError:
            pass  # It has heard enough, and has answered.
        return connection.recv(4096)


def test_a_chunked_body_cannot_pass_the_limit(running: Running) -> None:
    def chunks() -> Iterator[bytes]:
        block = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        yield from (block for _ in range(2 * MAX_BODY // 0x10000))
        yield b"0\r\n\r\n"

    head = "GET /healthz HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n\n"
    assert send(running, head, chunks).split(b"\r\n")[0].split()[1] == b"413"


def test_a_port_in_use_and_an_address_that_is_not_ours_are_wrong_usage() -> None:
    taken = bind("127.0.0.1", 0)
    with taken, pytest.raises(UsageError, match="the port is in use"):
        bind("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UsageError, match="no such address"):
        bind("203.0.113.1", 0)


@pytest.mark.parametrize(
    ("host", "is_local"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False)]
)
def test_it_is_known_whether_others_reach_it(host: str, is_local: bool) -> None:
    with bind(host, 0) as made:
        assert is_loopback(made) is is_local


@pytest.mark.parametrize("text", ["", "8321", "host", "host:", "host:x", "host:65536", "::1:80"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="is not HOST:PORT"):
        parse_listen(text)
