"""What the telemetry worker asks, and what it makes of the answers."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import UnreachableError
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.base import Capability
from ctrlplane_gitops.state.observed import ObservedReplica
from ctrlplane_gitops.state.usage import Usage
from ctrlplane_gitops.telemetry.series import Telemetry
from ctrlplane_gitops.workers.fleet import Looks
from ctrlplane_gitops.workers.telemetry_collector import TelemetryCollector, UsageFigures
from tests.workers.health_kit import SECOND, WEB, World, desire

STEP, QUARTER = timedelta(seconds=10), timedelta(minutes=15)
FIRST, OTHER = "prod.acme.web.v1.0", "prod.acme.web.v1.1"


class Collecting:
    """Rounds of one collector. Each replica works as ``millicores`` says from round to round."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pool = Pool(2, "usage")
        self.telemetry = Telemetry(STEP)
        self.figures: Mapping[str, UsageFigures] = {}
        self.millicores = {FIRST: 100, OTHER: 200}
        self.collector = TelemetryCollector(
            world.find_fleet,
            Looks(self.pool, world.clock),
            self.telemetry,
            self.pool,
            world.clock,
            STEP,
            self._take,
        )

    def _take(self, figures: Mapping[str, UsageFigures]) -> None:
        self.figures = figures

    def round(self) -> str:
        """One round, and the time until the next; its error."""
        ran = self.collector.run()
        assert ran.after is not None
        self.world.clock.advance(ran.after)
        usages = self.world.provider.usages
        for name, millicores in self.millicores.items():
            before = usages.get(name, Usage(0.0)).cpu_s or 0.0
            spent = millicores / 1000 * ran.after.total_seconds()
            usages[name] = Usage(before + spent, 1 << 20)
        return ran.error

    def cpu(self) -> list[int | None]:
        series = self.telemetry.read_instance(WEB, self.world.clock.now() - STEP, QUARTER)
        return [None if row[0] is None else round(row[0]) for row in series.samples]


@pytest.fixture
def collecting(tmp_path: Path) -> Iterator[Collecting]:
    made = Collecting(World(tmp_path, desire()))
    yield made
    made.pool.close()


def test_each_slot_has_one_round_and_rates_are_true(collecting: Collecting) -> None:
    collecting.world.clock.advance(timedelta(seconds=3.7))
    for _ in range(6):
        assert collecting.round() == ""
    assert collecting.cpu() == [None, 300, 300, 300, 300, 300]
    figures = collecting.figures["here"]
    assert (figures.running, figures.measured) == (2, 2)
    assert figures.total[0] == pytest.approx(300) and figures.total[1] == 2 << 20


def test_a_provider_that_does_not_answer_is_a_gap(collecting: Collecting) -> None:
    collecting.round()
    collecting.round()
    provider = collecting.world.provider
    read = provider.read_usage

    def fail(replicas: Collection[ObservedReplica]) -> Mapping[str, Usage]:
        provider.faults.gap = "out as scripted"
        try:
            return read(replicas)
        finally:
            provider.faults.gap = None

    provider.read_usage = fail  # type: ignore[method-assign]
    assert collecting.round() == "out as scripted"
    assert collecting.figures["here"] == UsageFigures(running=2)
    provider.read_usage = read  # type: ignore[method-assign]
    collecting.round()
    assert collecting.cpu() == [None, 300, None, 300]


def test_a_round_that_was_missed_is_a_gap(collecting: Collecting) -> None:
    collecting.round()
    collecting.world.clock.advance(STEP)
    collecting.round()
    assert collecting.cpu()[:2] == [None, None]


def test_a_provider_that_cannot_measure_is_named(collecting: Collecting) -> None:
    collecting.world.provider.capabilities -= {Capability.USAGE}
    assert "here has no capability 'usage'" in collecting.round()
    assert collecting.figures["here"].measured == 0


def test_a_replica_that_was_replaced_is_another_one(collecting: Collecting) -> None:
    collecting.round()
    collecting.round()
    collecting.world.provider.kill(FIRST)
    collecting.world.scale(WEB, 2)
    collecting.world.provider.usages[FIRST] = Usage(0.0)
    collecting.round()
    collecting.round()
    assert collecting.cpu() == [None, 300, 200, 300]


def test_before_the_first_pass_there_is_nothing_to_measure(collecting: Collecting) -> None:
    collecting.world.desired = None
    assert collecting.collector.run().after == SECOND
    assert collecting.figures == {}


def test_a_look_that_others_have_made_is_enough(collecting: Collecting) -> None:
    fleet = collecting.world.find_fleet()
    assert fleet is not None
    collecting.collector.run()
    looks = collecting.world.provider.observe_calls
    collecting.collector.run()
    assert collecting.world.provider.observe_calls == looks


def test_what_could_not_be_measured_is_not_held_until_the_collector_comes(
    collecting: Collecting,
) -> None:
    """There is a round every ten seconds, and it looks at everything once in a while."""
    raised: list[weakref.ref[UnreachableError]] = []

    class Noted(UnreachableError):
        def __init__(self, message: str) -> None:
            super().__init__(message)
            raised.append(weakref.ref(self))

    def fail(replicas: Collection[ObservedReplica]) -> Mapping[str, Usage]:
        raise Noted("out as scripted")

    collecting.world.provider.read_usage = fail  # type: ignore[method-assign]
    gc.disable()
    try:
        assert collecting.round() == "out as scripted"
        [error] = raised
        # The thread that asked drops it a moment after its answer is there.
        deadline = monotonic_s() + 5
        while error() is not None and monotonic_s() < deadline:
            sleep(0.01)
        assert error() is None
    finally:
        gc.enable()
