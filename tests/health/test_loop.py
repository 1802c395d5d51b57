"""Probes in one thread against raw servers: the same verdicts as one by one, and no waiting."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest

from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.loop import ProbeLoop, can_loop
from ctrlplane_gitops.health.probes import probe
from ctrlplane_gitops.state.desired import HealthCheck, ProbeType
from tests.health.test_probes import Answer, no_command, say, server

LONG, SHORT = timedelta(seconds=20), timedelta(milliseconds=200)


def check(
    type: ProbeType = ProbeType.HTTP, timeout: timedelta = LONG, path: str = "/"
) -> HealthCheck:
    return HealthCheck("c", type, port="http", path=path, timeout=timeout)


@pytest.fixture
def loop() -> Iterator[ProbeLoop[int]]:
    loop: ProbeLoop[int] = ProbeLoop()
    yield loop
    loop.close()


def finish(loop: ProbeLoop[int], count: int = 1) -> dict[int, ProbeResult]:
    found: dict[int, ProbeResult] = {}
    deadline = time.monotonic() + 20
    while len(found) < count:
        assert time.monotonic() < deadline
        for token, result in loop.poll(5):
            assert token not in found, "one answer each"
            found[token] = result
    while loop.connections:
        # A body is taken for a moment; a server that still writes one waits for that.
        loop.poll(1)
    return found


def hang(connection: socket.socket, request: bytes) -> None:
    connection.settimeout(20)
    connection.recv(1)


def drip(connection: socket.socket, request: bytes) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n\r\n":
        connection.sendall(bytes([byte]))
        time.sleep(0.001)


def pour(connection: socket.socket, request: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def flood(connection: socket.socket, request: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-Header: and another one\r\n" * 1000)


ANSWERS: dict[str, Answer] = {
    "good": say(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "bad": say(b"HTTP/1.1 503 Oh\r\nContent-Length: 0\r\n\r\n"),
    "elsewhere": say(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"),
    "nothing": lambda connection, request: None,
    "another language": say(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "half": say(b"HTTP/1.1 20"),
    "drop by drop": drip,
    "without end": pour,
    "headers without end": flood,
    "silence": hang,
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_verdict_is_that_of_a_probe_alone(loop: ProbeLoop[int], name: str) -> None:
    asked = check(timeout=SHORT if name == "silence" else LONG)
    with server(ANSWERS[name]) as endpoint:
        alone = probe(asked, lambda port: endpoint, no_command)
    with server(ANSWERS[name]) as endpoint:
        loop.start(1, asked, endpoint)
        assert finish(loop) == {1: alone}


def test_the_request_is_that_of_a_probe_alone(loop: ProbeLoop[int]) -> None:
    requests: list[bytes] = []

    def note(connection: socket.socket, request: bytes) -> None:
        requests.append(request.replace(str(connection.getsockname()[1]).encode(), b"PORT"))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    asked = check(path="/a b\r\nX: y")
    with server(note) as endpoint:
        probe(asked, lambda port: endpoint, no_command)
    with server(note) as endpoint:
        loop.start(1, asked, endpoint)
        finish(loop)
    assert requests[0] == requests[1] and b"GET /a%20b%0D%0AX:%20y HTTP/1.1\r\n" in requests[0]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("type", [ProbeType.HTTP, ProbeType.TCP])
def test_a_closed_port_is_refused(loop: ProbeLoop[int], type: ProbeType) -> None:
    loop.start(1, check(type), ("127.0.0.1", closed_port()))
    assert finish(loop) == {1: ProbeResult(False, "connection refused")}


def test_a_connection_is_enough_for_tcp(loop: ProbeLoop[int]) -> None:
    for host in ("127.0.0.1", "::1"):
        with server(hang, host) as endpoint:
            loop.start(1, check(ProbeType.TCP), endpoint)
            assert finish(loop) == {1: ProbeResult(True, "connected")}


@pytest.mark.parametrize("host", ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.0.1"])
def test_metadata_addresses_are_refused(loop: ProbeLoop[int], host: str) -> None:
    loop.start(1, check(), (host, 80))
    assert "refused" in finish(loop)[1].message


def test_what_has_to_be_looked_up_or_run_is_somebody_elses() -> None:
    assert can_loop(check(), ("10.0.0.1", 80)) and can_loop(check(ProbeType.TCP), ("fe80::1%lo", 1))
    assert not can_loop(check(), ("localhost", 80))
    assert not can_loop(check(), None)
    assert not can_loop(check(ProbeType.GRPC), ("10.0.0.1", 80))
    assert not can_loop(check(ProbeType.COMMAND), ("10.0.0.1", 80))


@contextmanager
def black_hole() -> Iterator[tuple[str, int]]:
    """It listens, never accepts, and has no room for another connection."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        endpoint = listener.getsockname()[:2]
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(endpoint)
        yield endpoint


def test_hundreds_that_hang_keep_nobody_waiting(loop: ProbeLoop[int]) -> None:
    with black_hole() as hole, server(ANSWERS["good"]) as endpoint:
        for token in range(300):
            loop.start(token, check(timeout=timedelta(seconds=2)), hole)
        loop.start(1000, check(), endpoint)
        found: dict[int, ProbeResult] = {}
        while 1000 not in found:
            found.update(loop.poll(5))
        assert found == {1000: ProbeResult(True, "204")}, "before any of those that hang"
        rest = finish(loop, 300)
    assert {item.message for item in rest.values()} == {"no answer within 2s"}


def test_a_poll_that_waits_can_be_woken(loop: ProbeLoop[int]) -> None:
    thread = threading.Timer(0.05, loop.wake)
    thread.start()
    assert loop.poll(3600) == []
    thread.join()
    for _ in range(100_000):
        loop.wake()
    assert loop.poll(0) == []
