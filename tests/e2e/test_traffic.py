"""Requests while releases change: none is lost, shares are real, and what fails is taken back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engines.own_haproxy import OwnHaproxy
from tests.engines.program import free_port
from tests.load.held import held_events, held_websocket
from tests.load.report import Shape
from tests.load.run import run_load
from tests.load.specs import HOST, STRATEGIES, WEB, Traffic
from tests.load.stage import Stage

Make = Callable[..., Stage]
ROUTERS = [
    pytest.param("traefik", marks=pytest.mark.traefik),
    pytest.param("haproxy", marks=pytest.mark.haproxy),
]
STEADY = Shape(rate=200)


@pytest.fixture
def own_haproxy(haproxy: str) -> Iterator[OwnHaproxy]:
    """A HAProxy that runs already, as an administrator would have it."""
    program = OwnHaproxy(haproxy, free_port())
    program.start()
    yield program
    program.close()


@pytest.fixture
def make_stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    """A control plane that serves; nothing of it is left after the test."""
    with ExitStack() as stack:

        def make(
            router: str,
            strategy: str,
            provider: str = "process",
            settings: Mapping[str, Any] = {},
            **more: Any,
        ) -> Stage:
            options: dict[str, object] = {"type": provider}
            if provider == "docker":
                options["host"] = request.getfixturevalue("docker_engine")
            served = {"type": router, "binary": request.getfixturevalue(router)}
            served |= settings or {}
            stage = Stage(tmp_path / "stage", Traffic(options, served, strategy, **more))
            assert not stage.begin()
            stack.enter_context(stage.standing())
            return stage

        yield make


def require_none_lost(stage: Stage) -> None:
    """New and kept connections, posts, and requests of three seconds, all the time."""
    with run_load(stage.traffic.port, HOST, STEADY) as load:
        load.gather(100)
        stage.roll_out("2")
        after = load.gather(100)
    assert len(load.report.samples) >= 1000
    assert not load.report.failures, load.report.summary()
    assert set(after.versions) == {"2"}


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_request_is_lost_while_releases_change(
    make_stage: Make, router: str, strategy: str
) -> None:
    stage = make_stage(router, strategy)
    require_none_lost(stage)
    assert not stage.run("plan", "--detailed-exitcode").code


@pytest.mark.docker
@pytest.mark.parametrize(
    ("router", "strategy"),
    [
        pytest.param("traefik", "canary", marks=pytest.mark.traefik),
        pytest.param("haproxy", "rolling", marks=pytest.mark.haproxy),
        pytest.param("haproxy", "blueGreen", marks=pytest.mark.haproxy),
    ],
)
def test_nor_where_replicas_are_containers(make_stage: Make, router: str, strategy: str) -> None:
    require_none_lost(make_stage(router, strategy, "docker"))


@pytest.mark.haproxy
def test_nor_through_a_haproxy_of_the_users(make_stage: Make, own_haproxy: OwnHaproxy) -> None:
    pid = own_haproxy.pid
    stage = make_stage("haproxy", "canary", settings=own_haproxy.options({}))
    require_none_lost(stage)
    assert not stage.run("plan", "--detailed-exitcode").code
    assert stage.run("destroy", "-y", "--max-delete", "100").code == 0
    # It is as it was before, but for the entry point, where nobody is known now.
    assert own_haproxy.pid == pid and not own_haproxy.start()
    assert own_haproxy.ask(own_haproxy.socket, "show info")


@pytest.mark.parametrize("router", ROUTERS)
def test_a_canary_gets_its_share_and_no_more_also_while_a_stable_replica_is_down(
    make_stage: Make, router: str
) -> None:
    """5,000 requests: a share is not that of the members, which are 3 to 1."""
    steps = "canary: {steps: [{weight: 10, pause: manual}]}"
    stage = make_stage(router, "canary", block=steps)
    stage.roll_out("2", code=10)
    with run_load(stage.traffic.port, HOST, replace(STEADY, rate=400, slow_share=0.0)) as load:
        assert 0.08 <= load.gather(2500).share("2") <= 0.12
        kill_replica(stage, "v1.0")
        found = load.gather(2500)
    assert 0.08 <= found.share("2") <= 0.12
    assert len(found.failures) <= 5, found.summary()  # what was in flight at the one that died
    assert stage.run("promote", WEB).code == 0


@pytest.mark.parametrize("router", ROUTERS)
def test_a_canary_that_answers_errors_loses_its_share_within_two_intervals(
    make_stage: Make, router: str
) -> None:
    block = (
        "canary: {steps: [{weight: 20, pause: 1m}], analysis: {interval: 3s, checks:"
        " [{name: errors, type: router, errorRate: {max: 5%}, minRequests: 20}]}}"
    )
    stage = make_stage(router, "canary", block=block)
    with run_load(stage.traffic.port, HOST, replace(STEADY, slow_share=0.0)) as load:
        load.gather(100)
        ended = stage.roll_out("2", code=4, ERROR_PERCENT="20")
        after = load.gather(200)
    assert "errors" in ended.err
    assert set(after.versions) == {"1"} and not after.failures
    report = load.report
    served_s = report.last_due_s("2") - report.first_due_s("2")
    assert served_s < 2 * 3.0, f"the canary had its share for {served_s:.1f} s"
    old = [item for item in report.samples if item.version == "1"]
    assert not [item for item in old if item.reason], report.summary()
    assert len({item.replica for item in old}) == 3
    # Remembered as bad: a second apply does not try again.
    assert stage.run("apply", "-y").code == 4
    found = stage.run("status", "--json").json["instances"][0]
    assert found["traffic"] == [{"release": 1, "percent": 100}]
    assert found["replicas"] == {"desired": 3, "ready": 3, "owner": "specs"}


@pytest.mark.parametrize("router", ROUTERS)
def test_what_is_held_for_long_has_the_drain_timeout_and_is_told_to_go(
    make_stage: Make, router: str
) -> None:
    stage = make_stage(router, "blueGreen", drain="3s")
    port = stage.traffic.port
    with held_websocket(port, HOST) as socket, held_events(port, HOST) as events:
        socket.wait_count(3)
        events.wait_count(3)
        before = socket.count
        stage.roll_out("2")
        # Three seconds of drain at ten messages a second, and the time before the switch.
        assert socket.count - before >= 30
        socket.wait_end()
        events.wait_end()
        assert not socket.is_lost and not events.is_lost, (socket, events)
        assert (socket.how, events.how) == ("closed 1001", "ended")


def kill_replica(stage: Stage, suffix: str) -> None:
    """SIGKILL the application of a process replica; nobody starts it again before the next pass."""
    name = f"CTRLPLANE_REPLICA={stage.traffic.plane}.acme.web.{suffix}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if name in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    assert found, name
    for pid in found:
        os.kill(pid, signal.SIGKILL)
