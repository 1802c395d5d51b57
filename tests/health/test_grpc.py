"""gRPC health checks against real servers: the official health service, and some that misbehave."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.probes import probe
from ctrlplane_gitops.state.desired import HealthCheck, ProbeType
from tests.health.test_probes import LONG, SHORT, no_command, say, server

ROOT = Path(__file__).parents[2]
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
OK = ProbeResult(True, "status SERVING")
Endpoint = tuple[str, int]
Reply = Callable[[bytes, grpc.ServicerContext], bytes]


@contextmanager
def serving(
    add: Callable[[grpc.Server], None] = lambda made: None, host: str = "127.0.0.1"
) -> Iterator[Endpoint]:
    """A server with what ``add`` adds to it."""
    with ThreadPoolExecutor(4) as threads:
        made = grpc.server(threads)
        add(made)
        port = made.add_insecure_port(f"[{host}]:0" if ":" in host else f"{host}:0")
        made.start()
        try:
            yield host, port
        finally:
            made.stop(None).wait()


@pytest.fixture
def health() -> HealthServicer:
    return HealthServicer()


@pytest.fixture
def endpoint(health: HealthServicer) -> Iterator[Endpoint]:
    with serving(lambda made: add_HealthServicer_to_server(health, made)) as found:
        yield found


def answering(reply: Reply) -> Callable[[grpc.Server], None]:
    """A health service that answers what the test says, byte by byte."""
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(reply)}
    generic = grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers)
    return lambda made: made.add_generic_rpc_handlers((generic,))


def failing(code: grpc.StatusCode) -> Reply:
    def reply(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(code, "words of the server")

    return reply


def ask(endpoint: Endpoint | None, *, service: str = "", timeout: timedelta = LONG) -> ProbeResult:
    check = HealthCheck("c", ProbeType.GRPC, port="api", timeout=timeout, service=service)
    return probe(check, lambda port: endpoint, no_command)


def closed_port() -> Endpoint:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return ("127.0.0.1", listener.getsockname()[1])


def test_the_server_as_a_whole_is_asked(endpoint: Endpoint, health: HealthServicer) -> None:
    health.set("", SERVING)
    assert ask(endpoint) == OK
    health.set("", NOT_SERVING)
    assert ask(endpoint) == ProbeResult(False, "status NOT_SERVING")


def test_one_service_is_asked_by_its_name(endpoint: Endpoint, health: HealthServicer) -> None:
    health.set("", NOT_SERVING)
    health.set("shop.v1.Cart", SERVING)
    assert ask(endpoint, service="shop.v1.Cart") == OK


def test_a_graceful_shutdown_is_not_serving(endpoint: Endpoint, health: HealthServicer) -> None:
    health.set("", SERVING)
    health.enter_graceful_shutdown()
    assert ask(endpoint) == ProbeResult(False, "status NOT_SERVING")


def test_an_unknown_service_is_a_failure_that_names_it(endpoint: Endpoint) -> None:
    message = "the server does not know the service 'shop.v1.Crat'"
    assert ask(endpoint, service="shop.v1.Crat") == ProbeResult(False, message)


def test_a_server_without_a_health_service_is_a_failure() -> None:
    with serving() as endpoint:
        message = "the server does not implement grpc.health.v1.Health"
        assert ask(endpoint) == ProbeResult(False, message)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "status UNKNOWN"),
        (b"\x08\x00", "status UNKNOWN"),
        (b"\x08\x03", "the server does not know the service ''"),
        (b"\x08\x07", "status 7"),
        (b"<html>", "not a health answer"),
        (b"\x08\x01" + b"\x22\x01x" * 50_000, "failed with RESOURCE_EXHAUSTED"),
    ],
    ids=["empty", "unknown", "service unknown", "a later one", "no message", "endless"],
)
def test_only_serving_passes(answer: bytes, message: str) -> None:
    with serving(answering(lambda request, context: answer)) as endpoint:
        assert ask(endpoint) == ProbeResult(False, message)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "failed with UNAUTHENTICATED"),
        (grpc.StatusCode.INTERNAL, "failed with INTERNAL"),
        (grpc.StatusCode.UNAVAILABLE, "failed with UNAVAILABLE"),
    ],
    ids=lambda item: getattr(item, "name", ""),
)
def test_a_server_s_own_error_is_told_by_its_code(code: grpc.StatusCode, message: str) -> None:
    with serving(answering(failing(code))) as endpoint:
        assert ask(endpoint) == ProbeResult(False, message)


def test_a_closed_port_is_a_failure_with_its_reason() -> None:
    assert ask(closed_port()) == ProbeResult(False, "connection refused")


def test_a_server_that_accepts_and_never_answers_runs_into_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        begun = monotonic_s()
        result = ask(listener.getsockname(), timeout=SHORT)
        took = monotonic_s() - begun
    assert result == ProbeResult(False, "no answer within 0.2s")
    assert took < 2


def test_a_health_service_that_never_answers_runs_into_the_timeout() -> None:
    done = threading.Event()

    def reply(request: bytes, context: grpc.ServicerContext) -> bytes:
        done.wait(20)
        return b""

    with serving(answering(reply)) as endpoint:
        assert ask(endpoint, timeout=SHORT) == ProbeResult(False, "no answer within 0.2s")
        done.set()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not a gRPC server"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not a gRPC server"),
        (b"", "closed without an answer"),
    ],
)
def test_what_is_not_grpc_is_said_to_be(text: bytes, message: str) -> None:
    with server(say(text)) as endpoint:
        assert ask(endpoint) == ProbeResult(False, message)


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "fd00:ec2::254"]
)
def test_metadata_addresses_are_refused(host: str) -> None:
    result = ask((host, 80))
    assert not result.is_ok
    assert "refused" in result.message


def test_a_port_without_an_address_is_a_failure() -> None:
    assert ask(None) == ProbeResult(False, "the replica offers no port 'api'")


def test_every_address_of_a_name_is_tried(health: HealthServicer) -> None:
    """``localhost`` is 127.0.0.1 and mostly ::1, where nobody listens."""
    health.set("", SERVING)
    with serving(lambda made: add_HealthServicer_to_server(health, made)) as (_, port):
        assert ask(("localhost", port)) == OK


def test_an_ipv6_address_is_asked(health: HealthServicer) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    health.set("", SERVING)
    with serving(lambda made: add_HealthServicer_to_server(health, made), "::1") as endpoint:
        assert ask(endpoint) == OK


def test_a_proxy_in_the_environment_is_not_asked(
    endpoint: Endpoint, health: HealthServicer, monkeypatch: pytest.MonkeyPatch
) -> None:
    health.set("", SERVING)
    host, port = closed_port()
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://{host}:{port}")
    assert ask(endpoint) == OK


def test_a_server_that_has_just_come_up_is_seen_at_once(health: HealthServicer) -> None:
    """The pause after a refused connection, a second and more, is nobody else's."""
    health.set("", SERVING)
    host, port = closed_port()
    assert ask((host, port)).message == "connection refused"
    with ThreadPoolExecutor(2) as threads:
        made = grpc.server(threads)
        add_HealthServicer_to_server(health, made)
        assert made.add_insecure_port(f"{host}:{port}") == port
        made.start()
        assert ask((host, port), timeout=timedelta(milliseconds=700)) == OK
        made.stop(None).wait()


def test_the_longest_timeout_is_taken(endpoint: Endpoint, health: HealthServicer) -> None:
    health.set("", SERVING)
    assert ask(endpoint, timeout=timedelta(days=365)) == OK


# What is left behind


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_probe_leaves_no_socket_thread_or_word_behind(
    endpoint: Endpoint, health: HealthServicer, capfd: pytest.CaptureFixture[str]
) -> None:
    health.set("", SERVING)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:
        # What the library makes once, and keeps.
        targets = (endpoint, closed_port(), mute.getsockname())
        for target in targets:
            ask(target, timeout=SHORT)
        sleep(1.5)
        files, threads = open_files(), threading.active_count()
        for _ in range(20):
            for target in targets:
                ask(target, timeout=timedelta(milliseconds=20) if target is targets[2] else LONG)
        assert threading.active_count() <= threads
        # Closing is done by the library's own threads.
        deadline = monotonic_s() + 10
        while open_files() > files and monotonic_s() < deadline:
            sleep(0.05)
        assert open_files() <= files
    assert capfd.readouterr() == ("", "")


# The extra

_PROBE = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[2:]))
from datetime import timedelta
from ctrlplane_gitops.health.probes import probe
from ctrlplane_gitops.state.desired import HealthCheck, ProbeType
check = HealthCheck("c", ProbeType(sys.argv[1]), port="api", timeout=timedelta(seconds=20))
result = probe(check, lambda port: ("127.0.0.1", 1), None)
print(result.is_ok, result.message, bool(sys.modules.get("grpc")), sep="|")
"""


def ask_elsewhere(*arguments: str) -> str:
    command = [sys.executable, "-c", _PROBE, *arguments]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.strip()


def test_without_the_extra_the_failure_says_which_to_install() -> None:
    hint = "pip install 'ctrlplane-gitops[grpc]'"
    message = f"a check of type grpc needs the Python package 'grpc' ({hint})"
    assert ask_elsewhere("grpc", "grpc") == f"False|{message}|False"


def test_the_library_is_loaded_by_the_first_check_that_needs_it() -> None:
    assert ask_elsewhere("tcp") == "False|connection refused|False"
    assert ask_elsewhere("grpc") == "False|connection refused|True"


def test_the_extra_needs_no_more_than_the_library() -> None:
    """The official messages are for tests: users get along without protobuf."""
    missing = ("google", "google.protobuf", "grpc_health")
    assert ask_elsewhere("grpc", *missing) == "False|connection refused|True"
