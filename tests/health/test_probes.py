from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.probes import probe
from ctrlplane_gitops.state.desired import HealthCheck, ProbeType

LONG = timedelta(seconds=20)
SHORT = timedelta(milliseconds=200)
Answer = Callable[[socket.socket, bytes], None]


@contextmanager
def server(answer: Answer, host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """A raw server: the test says byte by byte what it answers."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:

        def serve() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                answer(connection, connection.recv(65536))

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[:2]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def say(text: bytes) -> Answer:
    return lambda connection, request: connection.sendall(text)


def no_command(command: Sequence[str], timeout: timedelta) -> int:
    raise AssertionError("no command was asked for")


def ask(
    endpoint: tuple[str, int] | None,
    *,
    type: ProbeType = ProbeType.HTTP,
    path: str = "/",
    timeout: timedelta = LONG,
    statuses: tuple[int, int] = (200, 399),
) -> ProbeResult:
    check = HealthCheck("c", type, port="http", path=path, timeout=timeout, statuses=statuses)
    return probe(check, lambda port: endpoint, no_command)


@pytest.mark.parametrize(
    ("status", "is_ok"),
    [("200 OK", True), ("204", True), ("399 x", True), ("404 Not Found", False), ("503 x", False)],
)
def test_the_status_decides(status: str, is_ok: bool) -> None:
    with server(say(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())) as endpoint:
        result = ask(endpoint)
    assert result.is_ok is is_ok
    assert status[:3] in result.message


def test_the_range_of_statuses_is_the_checks_own() -> None:
    with server(say(b"HTTP/1.1 404 x\r\n\r\n")) as endpoint:
        assert ask(endpoint, statuses=(404, 404)).is_ok


def test_a_redirect_is_reported_and_not_followed() -> None:
    requests: list[bytes] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        requests.append(request)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n")

    with server(answer) as endpoint:
        assert ask(endpoint, statuses=(200, 299)).message == "status 302, not 200-299"
    assert len(requests) == 1


def test_a_path_cannot_smuggle_a_header() -> None:
    requests: list[bytes] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        requests.append(request)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with server(answer) as endpoint:
        assert ask(endpoint, path="/a?b=c d\r\nX-Evil: 1").is_ok
    assert requests[0].startswith(b"GET /a?b=c%20d%0D%0AX-Evil:%201 HTTP/1.1\r\nHost: 127.0.0.1:")


def test_a_server_that_says_nothing_runs_into_the_timeout() -> None:
    done = threading.Event()
    with server(lambda connection, request: done.wait(20) and None) as endpoint:
        result = ask(endpoint, timeout=SHORT)
        done.set()
    assert result == ProbeResult(False, "no answer within 0.2s")


def test_headers_that_drip_for_ever_run_into_the_timeout() -> None:
    done = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not done.wait(0.02):
            connection.sendall(b"x")

    with server(answer) as endpoint:
        result = ask(endpoint, timeout=SHORT)
        done.set()
    assert result == ProbeResult(False, "no answer within 0.2s")


def test_an_endless_body_does_not_hold_the_probe_up() -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with server(answer) as endpoint:
        assert ask(endpoint).is_ok


def test_endless_headers_are_cut_off() -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X: " + b"x" * 8192 + b"\r\n")

    with server(answer) as endpoint:
        assert ask(endpoint).message == "headers longer than 64 KiB"


@pytest.mark.parametrize(
    ("text", "message"),
    [(b"SSH-2.0-OpenSSH\r\n\r\n", "not an HTTP answer"), (b"", "closed without an answer")],
)
def test_what_is_not_http_is_said_to_be(text: bytes, message: str) -> None:
    with server(say(text)) as endpoint:
        assert ask(endpoint) == ProbeResult(False, message)


def test_a_tcp_probe_connects() -> None:
    with server(say(b"")) as endpoint:
        assert ask(endpoint, type=ProbeType.TCP) == ProbeResult(True, "connected")


@pytest.mark.parametrize("type", [ProbeType.HTTP, ProbeType.TCP])
def test_a_closed_port_is_a_failure_with_its_reason(type: ProbeType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = listener.getsockname()
    assert ask(endpoint, type=type) == ProbeResult(False, "connection refused")


@pytest.mark.parametrize("type", [ProbeType.HTTP, ProbeType.TCP])
@pytest.mark.parametrize(
    "host", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "fd00:ec2::254"]
)
def test_metadata_addresses_are_refused(type: ProbeType, host: str) -> None:
    result = ask((host, 80), type=type)
    assert not result.is_ok
    assert "refused" in result.message


@pytest.mark.parametrize("endpoint", [None, ("no host at all", 80), ("\u2024" * 70, 80)])
def test_a_port_without_an_address_is_a_failure(endpoint: tuple[str, int] | None) -> None:
    assert not ask(endpoint).is_ok


def run(outcome: int | Exception) -> ProbeResult:
    def run_command(command: Sequence[str], timeout: timedelta) -> int:
        assert (tuple(command), timeout) == (("pg_isready",), LONG)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    check = HealthCheck("c", ProbeType.COMMAND, command=("pg_isready",), timeout=LONG)
    return probe(check, lambda port: None, run_command)


def test_the_exit_code_of_a_command_decides() -> None:
    assert run(0).is_ok
    assert run(3) == ProbeResult(False, "exit code 3")


def test_a_command_that_cannot_run_is_a_failure() -> None:
    assert run(ProviderError("the replica has gone")) == ProbeResult(False, "the replica has gone")
    assert run(TimeoutError()) == ProbeResult(False, "no answer within 20s")
