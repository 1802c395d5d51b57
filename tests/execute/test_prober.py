"""The prober on real targets: quick ones are never behind those that hang."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import SystemClock, monotonic_s
from ctrlplane_gitops.execute.prober import Answer, Prober
from ctrlplane_gitops.health.tally import Probed
from ctrlplane_gitops.providers.base import ExecResult, ProviderSettings
from ctrlplane_gitops.providers.memory import MemoryProvider
from ctrlplane_gitops.state.desired import HealthCheck, ProbeType, ProviderConfig
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.observed import Endpoint, ObservedReplica, ReplicaPhase
from tests.health.test_loop import black_hole

WEB = instance_key("acme", "web")
NOW = SystemClock().now()
PATIENCE_S = 20


class Commands(MemoryProvider):
    """A command of a replica whose name begins with ``slow`` takes until ``let_go``."""

    def __init__(self, root: Path) -> None:
        super().__init__(ProviderSettings("prod", ProviderConfig("here", "memory"), str(root)))
        self.gate = threading.Event()

    def execute(self, replica: str, command: Sequence[str], timeout: timedelta) -> ExecResult:
        if replica.startswith("slow"):
            self.gate.wait(PATIENCE_S)
        return ExecResult(int(command[0]), b"")


@pytest.fixture
def prober() -> Iterator[Prober]:
    prober = Prober(SystemClock())
    yield prober
    prober.close()


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Commands]:
    provider = Commands(tmp_path)
    yield provider
    provider.gate.set()


def item(
    name: str,
    endpoint: tuple[str, int] | None = None,
    *,
    command: tuple[str, ...] = (),
    timeout: float = 2,
) -> Probed:
    endpoints = (Endpoint("http", *endpoint),) if endpoint else ()
    replica = ObservedReplica(name, name, 0, ReplicaPhase.RUNNING, endpoints)
    type = ProbeType.COMMAND if command else ProbeType.HTTP
    check = HealthCheck("c", type, "http", command=command, timeout=timedelta(seconds=timeout))
    made = Probed(WEB, "here", replica, check)
    made.due = NOW
    return made


def collect(prober: Prober, count: int) -> list[Answer]:
    """So many answers, in the order they came."""
    found: list[Answer] = []
    deadline = monotonic_s() + PATIENCE_S
    while len(found) < count:
        assert monotonic_s() < deadline, f"{len(found)} of {count} came"
        found += prober.collect(timedelta(seconds=1))
    return found


@contextmanager
def web_server() -> Iterator[tuple[str, int]]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *values: object) -> None:
            """Nobody reads it."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield ("127.0.0.1", server.server_address[1])
        server.shutdown()
        thread.join()


def test_a_fleet_of_black_holes_keeps_no_quick_target_waiting(
    prober: Prober, provider: Commands
) -> None:
    with ExitStack() as stack:
        hole = stack.enter_context(black_hole())
        web = stack.enter_context(web_server())
        holes = [item(f"hole{number}", hole, timeout=3) for number in range(700)]
        for probed in holes:
            probed.is_slow = True
            prober.start(probed, provider)
        for number in range(50):
            prober.start(item(f"web{number}", web), provider)
        first = collect(prober, 50)
        assert {answer.item.replica.name[:3] for answer in first[:50]} == {"web"}
        assert all(answer.result.is_ok for answer in first[:50])
        rest = first[50:] + collect(prober, 700 - len(first[50:]))
        assert {answer.result.message for answer in rest} == {"no answer within 3s"}
        assert all(answer.item.is_slow for answer in rest)
        assert prober.pending == 0


def test_who_has_just_begun_to_hang_gives_its_place_to_somebody_else(
    prober: Prober, provider: Commands
) -> None:
    """More targets that nobody knows to be slow than there are places for the quick."""
    with ExitStack() as stack:
        hole = stack.enter_context(black_hole())
        web = stack.enter_context(web_server())
        for number in range(300):
            prober.start(item(f"hole{number}", hole, timeout=5), provider)
        prober.start(item("web", web), provider)
        first = collect(prober, 1)
        assert [answer.item.replica.name for answer in first] == ["web"]
        collect(prober, 300)


def test_commands_that_hang_keep_no_proven_command_waiting(
    prober: Prober, provider: Commands
) -> None:
    quick = item("quick", command=("0",))
    prober.start(quick, provider)
    (answer,) = collect(prober, 1)
    assert answer.result.is_ok
    assert quick.take(answer.result, NOW)
    for number in range(40):
        prober.start(item(f"slow{number}", command=("1",)), provider)
    prober.start(quick, provider)
    (answer,) = collect(prober, 1)
    assert answer.item is quick
    provider.gate.set()
    rest = collect(prober, 40)
    assert {answer.result.message for answer in rest} == {"exit code 1"}


def test_who_is_gone_is_not_asked_and_who_offers_no_port_fails(
    prober: Prober, provider: Commands
) -> None:
    gone = item("gone", ("127.0.0.1", 1))
    gone.is_live = False
    prober.start(gone, provider)
    prober.start(item("portless"), provider)
    (answer,) = collect(prober, 1)
    assert answer.item.replica.name == "portless"
    assert "no port 'http'" in answer.result.message
    assert prober.pending == 0


def test_how_late_a_probe_was_begun_is_told(prober: Prober, provider: Commands) -> None:
    with web_server() as web:
        late = item("late", web)
        late.due = SystemClock().now() - timedelta(hours=1)
        prober.start(late, provider)
        (answer,) = collect(prober, 1)
    assert answer.lateness >= timedelta(hours=1)
