"""Which probe of which replica counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.execute.pool import Pool, wait_any
from ctrlplane_gitops.execute.probing import Probing, identity_of, probe_once
from ctrlplane_gitops.state.desired import HealthCheck, ProbeType
from ctrlplane_gitops.state.observed import ObservedReplica, ReplicaPhase
from tests.execute.execute_kit import Scripted

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
UP = HealthCheck("up", ProbeType.COMMAND, command=("true",), interval=5 * SECOND, retries=2)
PORT = HealthCheck("port", ProbeType.TCP, port="nowhere", interval=5 * SECOND)
ONE = ObservedReplica("prod.acme.web.v1.0", "id-1", 0, ReplicaPhase.RUNNING, started_at=NOW)


class Probes:
    """Probing by hand: a provider, a clock, and rounds that end when every probe has answered."""

    def __init__(self, root: Path) -> None:
        self.clock = FakeClock(NOW)
        self.provider = Scripted("local", root, self.clock)
        self.pool = Pool(4, "probe")
        self.probing = Probing(self.pool, self.clock)

    def round(self, after: timedelta = timedelta()) -> bool:
        self.clock.advance(after)
        self.probing.start_due()
        while running := [item for item in self.probing.running if not item.done()]:
            wait_any(running, 10 * SECOND)
        return self.probing.collect()

    def is_ready(self, replica: ObservedReplica = ONE) -> bool | None:
        verdict = self.probing.verdict_of("local", replica)
        return None if verdict is None else verdict.is_ready


@pytest.fixture
def probes(tmp_path: Path) -> Iterator[Probes]:
    probes = Probes(tmp_path)
    yield probes
    probes.pool.close()


def test_a_restarted_replica_has_no_verdict(probes: Probes) -> None:
    probes.probing.follow(probes.provider, [ONE], (UP,))
    assert probes.round() and probes.is_ready() is True
    restarted = replace(ONE, started_at=NOW + SECOND)
    probes.probing.follow(probes.provider, [restarted], (UP,))
    assert probes.is_ready(restarted) is None
    assert probes.is_ready(replace(ONE, id="id-2")) is None
    assert identity_of("local", ONE) != identity_of("docker", ONE)


def test_there_is_no_verdict_before_every_check_has_answered(probes: Probes) -> None:
    gate = Event()
    probes.provider.exit_code = lambda replica: 0 if gate.wait(10) else 1
    probes.probing.follow(probes.provider, [ONE], (UP, PORT))
    probes.probing.start_due()
    while sum(item.done() for item in probes.probing.running) == 0:
        wait_any(probes.probing.running, SECOND)
    assert not probes.probing.collect()
    assert probes.is_ready() is None
    gate.set()
    assert probes.round()
    assert probes.is_ready() is False


def test_a_replica_that_starts_is_asked_often_and_a_ready_one_by_its_interval(
    probes: Probes,
) -> None:
    probes.provider.exit_code = lambda replica: 1
    probes.probing.follow(probes.provider, [ONE], (UP,))
    pauses = []
    for _ in range(8):
        probes.round()
        due = probes.probing.next_due()
        assert due is not None
        pauses.append((due - probes.clock.now()).total_seconds())
        probes.clock.advance(due - probes.clock.now())
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    probes.provider.exit_code = lambda replica: 0
    assert probes.round()
    assert probes.probing.next_due() == probes.clock.now() + UP.interval


def test_a_ready_replica_turns_only_after_its_retries(probes: Probes) -> None:
    probes.probing.follow(probes.provider, [ONE], (UP,))
    assert probes.round()
    probes.provider.exit_code = lambda replica: 1
    assert not probes.round(5 * SECOND)
    assert probes.is_ready() is True
    assert probes.round(5 * SECOND)
    assert probes.is_ready() is False


def test_what_is_forgotten_is_not_probed_any_more(probes: Probes) -> None:
    probes.probing.follow(probes.provider, [ONE], (UP,))
    probes.round()
    probes.probing.forget("local", [ONE])
    assert probes.is_ready() is None
    assert probes.probing.next_due() is None
    assert not probes.round(60 * SECOND)


def test_a_status_asks_every_check_of_every_replica_once(probes: Probes) -> None:
    other = replace(ONE, name="prod.acme.web.v1.1", id="id-2")
    asked: list[str] = []
    probes.provider.exit_code = lambda replica: asked.append(replica) or int(replica == ONE.name)
    wanted = [(probes.provider, item, (UP,)) for item in (ONE, other)]
    verdicts = probe_once(probes.pool, wanted, NOW)
    assert {key: item.is_ready for key, item in verdicts.items()} == {
        identity_of("local", ONE): False,
        identity_of("local", other): True,
    }
    assert sorted(asked) == [ONE.name, other.name]
