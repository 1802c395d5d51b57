"""What the load shows of a router that is moved under it: the real programs, without a product.

The tables are put as a rollout will put them, replicas are ended by SIGTERM once nothing should
reach them; so what fails here is the router's, the application's or the load's own doing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.network.conformance_kit import (
    HOST,
    PATIENCE,
    RouterKit,
    backend,
    wait_until,
)
from ctrlplane_gitops.network.haproxy.router import HaproxyRouter
from ctrlplane_gitops.network.router import Router, RouterSettings
from ctrlplane_gitops.network.traefik.router import TraefikRouter
from ctrlplane_gitops.state.traffic import Backend, RouterCapability, RouteTable
from tests.engines.program import free_port
from tests.load.held import held_events, held_websocket
from tests.load.replica import Replica, Replicas, running_replicas
from tests.load.report import Shape
from tests.load.run import run_load

KIT = RouterKit()
SHAPE = Shape(rate=200, slow_s=1, slow_share=0.02)
KINDS = {"traefik": TraefikRouter, "haproxy": HaproxyRouter}


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(params=[pytest.param(kind, marks=getattr(pytest.mark, kind)) for kind in KINDS])
def router(request: pytest.FixtureRequest, port: int, tmp_path: Path) -> Iterator[Router]:
    """One that runs, at ``port``."""
    options = {
        "binary": request.getfixturevalue(request.param),
        "entryPoints": {"web": f"127.0.0.1:{port}"},
    }
    made = KINDS[request.param](RouterSettings("p", request.param, str(tmp_path), options))
    made.ensure_running()
    yield made
    made.stop()
    made.close()


@pytest.fixture
def replicas() -> Iterator[Replicas]:
    with running_replicas() as found:
        yield found


def put(router: Router, *shares: Backend) -> None:
    generation = router.apply(RouteTable((KIT.entry(*shares),)), {})
    report = router.wait_live(generation, PATIENCE)
    assert report.is_live, report.message


def share(release: int, weight: int, replicas: list[Replica]) -> Backend:
    return backend(release, weight, *(replica.member for replica in replicas))


def retire(router: Router, replicas: list[Replica]) -> None:
    """Wait until nothing is in flight to them, or as long as the slowest takes, and end them."""
    members = [replica.member for replica in replicas]
    if RouterCapability.OBSERVABLE_DRAIN in router.capabilities:
        wait_until(lambda: router.count_in_flight(members) == 0, "the drain")
    else:
        threading.Event().wait(0.2)
    assert [replica.stop() for replica in replicas] == [0] * len(replicas)


def test_a_set_that_is_switched_and_ended_costs_no_request(
    router: Router, port: int, replicas: Replicas
) -> None:
    """Slow requests are in flight to it when SIGTERM comes, where nobody can count them."""
    old = replicas.set_of("1")
    put(router, share(1, 100, old))
    with run_load(port, HOST, SHAPE) as load:
        load.gather(200)
        for release in range(2, 5):
            new = replicas.set_of(str(release))
            put(router, share(release - 1, 0, old), share(release, 100, new))
            switched = monotonic_s()
            put(router, share(release, 100, new))
            retire(router, old)
            # No answer of the old one to who was due after the switch was live.
            found = load.gather(100)
            assert found.between(switched).versions == {str(release): 100}
            old = new
    report = load.report
    assert report.failures == [], report.summary()
    assert [report.first_due_s(str(it)) for it in range(1, 5)] == sorted(
        report.first_due_s(str(it)) for it in range(1, 5)
    )
    assert report.modes["slow"] > 5


def test_a_replica_at_a_time_costs_no_request(
    router: Router, port: int, replicas: Replicas
) -> None:
    old, new = replicas.set_of("1"), list[Replica]()
    put(router, share(1, 100, old))
    with run_load(port, HOST, SHAPE) as load:
        load.gather(100)
        for number in range(3):
            new.append(replicas.start(f"v2.{number}", VERSION="2"))
            leaving = old.pop()
            count = len(new)
            shares = [share(1, 100 - 33 * count, old)] if old else []
            put(router, *shares, share(2, 33 * count if old else 100, new))
            retire(router, [leaving])
        load.gather(100)
    assert load.report.failures == [], load.report.summary()
    assert set(load.report.replicas) == {f"v{it}.{number}" for it in (1, 2) for number in range(3)}


def test_a_share_of_ten_percent_is_seen_as_one(
    router: Router, port: int, replicas: Replicas
) -> None:
    stable, canary = replicas.set_of("1"), replicas.set_of("2", 1, ERROR_PERCENT="20")
    put(router, share(1, 90, stable), share(2, 10, canary))
    with run_load(port, HOST, Shape(rate=400, slow_share=0)) as load:
        found = load.gather(1000)
        put(router, share(1, 100, stable), share(2, 0, canary))
        assert load.gather(200).share("2") == 0
    assert 0.08 <= found.share("2") <= 0.12
    # Every fifth answer of the canary, and nothing else, is an error.
    failed = [sample.version for sample in load.report.failures]
    assert set(failed) == {"2"} and set(load.report.reasons) == {"status 500"}
    assert len(failed) == sum(it.version == "2" for it in load.report.samples) // 5


def test_connections_that_are_held_outlive_the_switch_and_end_in_order(
    router: Router, port: int, replicas: Replicas
) -> None:
    old, new = replicas.set_of("1", 1), replicas.set_of("2", 1)
    put(router, share(1, 100, old))
    with held_websocket(port, HOST) as socket, held_events(port, HOST) as events:
        socket.wait_count(2)
        events.wait_count(2)
        put(router, share(2, 100, new))
        reached = socket.count, events.count
        socket.wait_count(reached[0] + 5)
        events.wait_count(reached[1] + 3)
        if RouterCapability.OBSERVABLE_DRAIN in router.capabilities:
            assert router.count_in_flight([old[0].member]) == 2
        assert old[0].stop() == 0
        wait_until(lambda: bool(socket.how and events.how), "the end of both")
    assert (socket.version, events.version) == ("1", "1")
    assert (socket.how, events.how) == ("closed 1001", "ended")
