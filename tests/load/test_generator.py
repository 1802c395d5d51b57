"""The load tells the truth: about servers that misbehave, and about itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.network.conformance_kit import wait_until
from tests.engines.program import free_port
from tests.load.replica import running_replicas
from tests.load.report import Report, Shape
from tests.load.run import run_load
from tests.load.server import Serve, answer, read_request, reset, rude_server

HOST = "shop.acme.example"
ROOT = Path(__file__).parents[2]
# Gets alone, no slow ones, and little patience.
PLAIN = Shape(rate=50, slow_share=0, post_share=0, timeout_s=0.5)
KEPT_ONLY, NEW_ONLY = replace(PLAIN, new_share=0), replace(PLAIN, new_share=1)


def meet(serve: Serve, shape: Shape = PLAIN, count: int = 20) -> Report:
    """What a load met at such a server."""
    with rude_server(serve) as port, run_load(port, HOST, shape) as load:
        load.wait_for(lambda report: len(report.samples) >= count)
    return load.report


def test_answers_are_counted_by_version_replica_and_mode() -> None:
    with running_replicas() as replicas:
        web = replicas.start("one", VERSION="7")
        shape = Shape(rate=100, slow_share=0.1, slow_s=0.3, post_share=0.3, body_bytes=100_000)
        with run_load(web.port, HOST, shape) as load:
            load.gather(100)
    report = load.report
    count = len(report.samples)
    assert report.failures == [], report.summary()
    assert report.versions == {"7": count} and report.replicas == {"one": count}
    assert report.modes.total() == count and set(report.modes) == {"kept", "new", "slow"}
    assert {sample.method for sample in report.samples} == {"GET", "POST"}
    slow = [sample.latency_s for sample in report.samples if sample.mode == "slow"]
    assert min(slow) >= 0.3


def test_the_rate_is_held_and_each_request_has_its_own_time() -> None:
    with running_replicas() as replicas, run_load(
        replicas.start("r").port, HOST, Shape(rate=200, slow_s=0.5)
    ) as load:  # fmt: skip
        load.gather(400)
    dues = [sample.due_s for sample in load.report.samples]
    gaps = [after - before for before, after in pairwise(dues)]
    assert gaps == pytest.approx([1 / 200] * len(gaps))
    assert load.report.lateness_ms(0.5) < 50
    assert all(sample.lateness_s >= -0.001 for sample in load.report.samples)
    assert 0 < load.report.cpu_s < 30


def test_a_stall_delays_no_request_and_is_seen_by_all_that_were_due_in_it() -> None:
    """A client that waits for each answer would have met the stall once."""
    is_open, stalled = threading.Event(), threading.Event()
    is_open.set()

    def serve(connection: socket.socket) -> None:
        while True:
            read_request(connection)
            is_open.wait()
            connection.sendall(answer(200))

    with rude_server(serve) as port, run_load(port, HOST, replace(PLAIN, timeout_s=10)) as load:
        load.gather(10)
        is_open.clear()
        began = monotonic_s()
        stalled.wait(1)
        is_open.set()
        until = monotonic_s()
        load.gather(10)
    assert load.report.failures == []
    met = load.report.between(began, until).samples
    assert len(met) >= 40
    # Those that were due in its first half waited for the second half at least.
    first = load.report.between(began, began + 0.5).samples
    assert min(sample.latency_s for sample in first) > 0.4


def test_an_error_status_is_a_failure() -> None:
    def serve(connection: socket.socket) -> None:
        while read_request(connection):
            connection.sendall(answer(503))

    report = meet(serve)
    assert report.reasons == {"status 503": len(report.samples)}
    assert report.failures[0].version == "1"


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (lambda it: read_request(it), "closed unanswered"),
        (lambda it: read_request(it) and reset(it), "reset unanswered"),
        (
            lambda it: read_request(it) and it.sendall(answer(200, length=99)),
            "closed in the middle of an answer",
        ),
        (lambda it: read_request(it) and threading.Event().wait(1), "timeout"),
    ],
    ids=["closes", "resets", "cuts", "stalls"],
)
@pytest.mark.parametrize("shape", [KEPT_ONLY, NEW_ONLY], ids=["kept", "new"])
def test_no_whole_answer_is_a_failure_with_its_reason(
    serve: Serve, reason: str, shape: Shape
) -> None:
    report = meet(serve, shape)
    assert report.reasons == {reason: len(report.samples)}
    assert {sample.status for sample in report.samples} == {0}
    assert report.versions.total() == 0


def test_a_refused_connection_is_a_failure() -> None:
    with run_load(free_port(), HOST, PLAIN) as load:
        load.wait_for(lambda report: len(report.samples) >= 10)
    assert load.report.reasons == {"not connected: Connection refused": len(load.report.samples)}


def test_a_kept_connection_that_was_closed_in_time_costs_nothing() -> None:
    """The close comes with the answer, and without a word of it in the headers."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(200))

    report = meet(serve, replace(KEPT_ONLY, rate=20))
    assert report.failures == [] and report.modes == {"kept": len(report.samples)}


def test_a_request_that_was_sent_on_a_kept_connection_and_not_answered_is_lost() -> None:
    """Though a client might send it again: who measures must not."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(200))
        read_request(connection)

    report = meet(serve, KEPT_ONLY)
    assert set(report.reasons) == {"closed unanswered on a kept connection"}
    assert 0 < len(report.failures) < len(report.samples)


def test_what_was_met_can_be_read_while_it_runs() -> None:
    with running_replicas() as replicas:
        first, second = replicas.start("a", VERSION="1"), replicas.start("b", VERSION="2")
        with run_load(first.port, HOST, PLAIN) as load, run_load(second.port, HOST, PLAIN) as other:
            assert load.gather(20).versions == {"1": 20}
            marked = monotonic_s()
            assert other.gather(20).versions == {"2": 20}
            assert min(sample.due_s for sample in load.gather(5).samples) > marked
        total = len(load.report.samples)
        assert len(load.report.between(0, marked).samples) < total
        assert len(load.report.samples) == total


def test_a_load_that_cannot_run_is_an_error() -> None:
    with (
        pytest.raises(RuntimeError, match="the load ended with 1"),
        run_load(1, HOST, replace(PLAIN, rate=0)),
    ):
        pass


def test_a_block_that_fails_ends_the_load_and_keeps_what_it_met() -> None:
    with running_replicas() as replicas:
        web, host = replicas.start("r"), f"{os.getpid()}.fails.example"
        with pytest.raises(KeyError), run_load(web.port, host, PLAIN) as load:
            load.gather(10)
            raise KeyError
        assert load.report.versions["1"] >= 10
    assert generators(host) == []


def generators(host: str) -> list[int]:
    """The processes that send to that host."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if entry.name.isdigit() and b"tests.load.generator" in words and host.encode() in words:
                found.append(int(entry.name))
    return found


_ENDLESS = """
import sys, threading
from tests.load.run import run_load
with run_load(int(sys.argv[1]), sys.argv[2]):
    print("runs", flush=True)
    threading.Event().wait()
"""


def test_the_generator_ends_with_a_test_that_was_killed() -> None:
    with running_replicas() as replicas:
        web, host = replicas.start("r"), f"{os.getpid()}.example"
        command = [sys.executable, "-c", _ENDLESS, str(web.port), host]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as test:
            assert test.stdout is not None and test.stdout.readline() == b"runs\n"
            assert len(generators(host)) == 1
            test.kill()
        wait_until(lambda: not generators(host), "the generator to end")
