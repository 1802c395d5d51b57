"""What the health worker tells of a fleet, and when."""

from __future__ import annotations

import threading
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.execute.pool import Begun
from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.uptime import compute_uptime
from ctrlplane_gitops.health.view import health_as_json, history_as_json, view_spans
from ctrlplane_gitops.health.watch import AT_ONCE
from ctrlplane_gitops.state.health import WHOLE, Health
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.state.observed import ObservedState
from ctrlplane_gitops.store.health import HealthBatch
from ctrlplane_gitops.store.memory import MemoryStore
from ctrlplane_gitops.store.sqlite import SqliteStore
from ctrlplane_gitops.value import replace
from tests.e2e.plane import wait_until
from tests.workers.health_kit import DB, MINUTE, READY, SECOND, START, WEB, Watching, World, desire

BAD = ProbeResult(False, "connection refused")
FIRST, SECOND_ONE = "prod.acme.web.v1.0", "prod.acme.web.v1.1"


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    is_memory = request.param == "memory"
    store = MemoryStore() if is_memory else SqliteStore(tmp_path / "state.db")
    request.addfinalizer(store.close)
    return World(tmp_path, desire(), store=store)


def test_before_the_first_pass_there_is_nothing_to_watch(world: World) -> None:
    desired, world.desired = world.desired, None
    watching = Watching(world)
    assert watching.runner.run().after == SECOND
    assert watching.runner.read() is None
    world.desired = desired
    watching.go_on(MINUTE)
    assert watching.health() == "healthy"


def test_changes_are_told_and_nothing_else(world: World) -> None:
    watching = Watching(world)
    watching.go_on(MINUTE)
    watching.probes.says[FIRST] = BAD
    watching.go_on(MINUTE)
    watching.probes.says[SECOND_ONE] = BAD
    watching.go_on(MINUTE)
    watching.probes.says.clear()
    watching.go_on(10 * MINUTE)
    assert [type for type, _ in world.events()] == [
        "health.passed",
        "health.degraded",
        "health.failed",
        "health.recovered",
    ]
    assert watching.told == [type for type, _ in world.events()]
    texts = [text for _, text in world.events()]
    assert texts[1] == f"1 of 2 replicas healthy: {FIRST} ready: connection refused"
    assert texts[3] == "2 of 2 replicas healthy"


def test_each_check_has_its_own_interval(tmp_path: Path) -> None:
    slow = replace(READY, name="slow", interval=timedelta(minutes=10))
    world = World(tmp_path, desire(replicas=1), desire(DB, 1, (slow,)))
    watching = Watching(world)
    watching.go_on(10 * MINUTE)
    assert watching.probes.asked[FIRST] == pytest.approx(120, abs=1)
    assert watching.probes.asked["prod.acme.db.v1.0"] <= 2


def test_directly_after_the_start_it_is_unknown_and_no_failure_is_told_of(world: World) -> None:
    watching = Watching(world)
    watching.probes.says = {FIRST: BAD, SECOND_ONE: BAD}
    watching.go_on(9 * SECOND)
    assert watching.health() == "unknown"
    watching.go_on(5 * SECOND)
    assert watching.health() == "unhealthy"
    assert [type for type, _ in world.events()] == ["health.failed"]


def test_what_was_known_before_a_restart_is_no_news_and_the_time_between_is_unknown(
    world: World,
) -> None:
    first = Watching(world)
    first.go_on(10 * MINUTE)
    first.close()
    world.clock.advance(20 * MINUTE)
    second = Watching(world)
    second.probes.says = {FIRST: BAD}
    second.go_on(30 * MINUTE)
    second.probes.says = {}
    second.go_on(SECOND)
    assert [type for type, _ in world.events()] == ["health.passed", "health.degraded"]
    spans = world.store.health.read_spans([WEB], START)
    uptime = compute_uptime(
        spans, world.store.health.read_seen_at(), world.clock.now(), timedelta(days=1)
    )
    assert uptime.percent == 100, "degraded is up"
    assert uptime.known == pytest.approx(timedelta(minutes=40), abs=timedelta(seconds=50))


def test_uptime_is_the_share_of_the_time_that_is_known(world: World) -> None:
    watching = Watching(world)
    watching.go_on(30 * MINUTE)
    watching.probes.says = {FIRST: BAD, SECOND_ONE: BAD}
    watching.go_on(10 * MINUTE)
    seen_at = world.store.health.read_seen_at()
    now = world.clock.now()
    spans = world.store.health.read_spans([WEB], START)
    percent = compute_uptime(spans, seen_at, now, timedelta(days=30)).percent
    assert percent == pytest.approx(75, abs=1.5)
    last = compute_uptime(spans, seen_at, now, timedelta(minutes=5))
    assert last.percent == 0


def test_a_replica_that_is_replaced_by_a_rollout_fails_without_a_word(world: World) -> None:
    watching = Watching(world)
    watching.go_on(MINUTE)
    world.scale(WEB, 2, number=2)
    watching.go_on(30 * SECOND)
    # The old ones stop between two looks: their checks fail, and they are gone when looked for.
    world.scale(WEB, 0)
    watching.probes.says = {FIRST: BAD, SECOND_ONE: BAD}
    watching.go_on(5 * MINUTE)
    assert watching.health() == "healthy"
    assert [type for type, _ in world.events()] == ["health.passed"]


def test_dead_replicas_are_told_of_when_nobody_brings_them_back(world: World) -> None:
    watching = Watching(world)
    watching.go_on(MINUTE)
    world.provider.kill(FIRST)
    watching.probes.says[FIRST] = BAD
    watching.go_on(2 * MINUTE)
    assert watching.health() == "degraded"
    world.scale(WEB, 2)
    watching.probes.says.clear()
    watching.go_on(MINUTE)
    assert [type for type, _ in world.events()] == [
        "health.passed",
        "health.degraded",
        "health.recovered",
    ]
    assert "1 missing" in world.events()[1][1]


def test_what_is_suspended_or_removed_ends_without_a_word(tmp_path: Path) -> None:
    world = World(tmp_path, desire(), desire(DB, 1, ()))
    watching = Watching(world)
    watching.go_on(MINUTE)
    world.desire(replace(desire(), replicas=0, is_suspended=True))
    world.scale(WEB, 0)
    world.remove(DB)
    watching.probes.says = {FIRST: BAD, SECOND_ONE: BAD}
    watching.go_on(5 * MINUTE)
    assert (watching.health(), watching.health(DB)) == ("unknown", "nobody")
    assert not world.store.health.read_open()
    assert {type for type, _ in world.events()} == {"health.passed"}
    world.desire(desire())
    world.scale(WEB, 2)
    watching.probes.says.clear()
    watching.go_on(MINUTE)
    assert watching.health() == "healthy"


def test_a_frozen_tenant_is_watched_as_it_was(world: World) -> None:
    watching = Watching(world)
    watching.go_on(MINUTE)
    assert world.desired is not None
    world.desired = replace(world.desired, instances={}, frozen={"acme": "a broken file"})
    watching.go_on(MINUTE)
    assert watching.health() == "healthy"
    world.desired = replace(world.desired, frozen={})
    watching.go_on(MINUTE)
    assert watching.health() == "nobody"


def test_what_is_asked_for_anew_has_time_to_start(world: World) -> None:
    watching = Watching(world)
    watching.go_on(MINUTE)
    world.desire(desire(replicas=3))
    watching.go_on(40 * SECOND)
    assert watching.health() == "healthy"
    watching.go_on(MINUTE)
    assert watching.health() == "degraded"
    world.scale(WEB, 3)
    watching.go_on(MINUTE)
    assert watching.health() == "healthy"


def test_a_provider_that_does_not_answer_makes_no_bad_news(tmp_path: Path) -> None:
    world = World(tmp_path, desire(), desire(DB, 1, ()))
    watching = Watching(world)
    watching.go_on(MINUTE)
    world.provider.faults.gap = "out"
    watching.go_on(5 * MINUTE)
    assert (watching.health(), watching.health(DB)) == ("healthy", "unknown")
    world.provider.faults.gap = None
    watching.go_on(MINUTE)
    assert watching.health(DB) == "healthy"
    assert {type for type, _ in world.events()} == {"health.passed"}


def test_looks_are_few_and_writes_are_only_of_what_changed(world: World) -> None:
    watching = Watching(world)
    watching.go_on(MINUTE)
    before, looks = world.store.health.read_spans([WEB], START), world.provider.observe_calls
    watching.go_on(10 * MINUTE)
    assert world.store.health.read_spans([WEB], START) == before
    assert world.provider.observe_calls - looks == pytest.approx(20, abs=1)
    seen_at = world.store.health.read_seen_at()
    assert seen_at is not None and world.clock.now() - seen_at <= MINUTE


def test_of_two_processes_one_probes_and_the_other_goes_on_when_it_has_stopped(
    world: World,
) -> None:
    first, second = Watching(world), Watching(world)
    first.go_on(MINUTE)
    second.go_on(SECOND)
    assert second.runner.read() is None and not second.probes.asked
    shown = view_spans(
        WEB, world.store.health.read_open(), world.store.health.read_seen_at(), world.clock.now()
    )
    assert shown.health is Health.HEALTHY and shown.wanted == 2
    first.close()
    second.go_on(MINUTE)
    assert second.health() == "healthy"
    first.go_on(SECOND)
    assert first.runner.read() is None
    assert [type for type, _ in world.events()] == ["health.passed"]


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    world = World(tmp_path, desire())
    watching = Watching(world)
    watching.go_on(MINUTE)
    record = world.store.health.record
    is_down = True

    class Flaky:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def record(self, batch: HealthBatch) -> None:
            if is_down:
                raise StoreError("out")
            record(batch)

    real = world.store.health
    world.store.health = Flaky()  # type: ignore[attr-defined]
    watching.probes.says = {FIRST: BAD}
    with pytest.raises(StoreError):
        watching.go_on(MINUTE)
    assert [type for type, _ in world.events()] == ["health.passed"]
    is_down = False
    watching.go_on(SECOND)
    assert [type for type, _ in world.events()] == ["health.passed", "health.degraded"]


def test_many_that_turn_at_once_are_written_a_few_at_a_time(tmp_path: Path) -> None:
    """While they are written, nobody else writes."""
    keys = [instance_key("acme", f"web{number:03}") for number in range(2 * AT_ONCE + 50)]
    world = World(tmp_path, *(desire(key, replicas=1) for key in keys))
    record, begun = world.store.health.record, []

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def record(self, batch: HealthBatch) -> None:
            begun.append({span.instance for span in batch.begun})
            record(batch)

    real = world.store.health
    world.store.health = Counting()  # type: ignore[attr-defined]
    told: list[str] = []
    world.store.watch_events(lambda rows: told.extend(row.event.type for row in rows))
    watching = Watching(world)
    watching.runner.run()
    assert {key for batch in begun for key in batch} == set(keys)
    assert max(map(len, begun)) == AT_ONCE
    assert told == ["health.passed"] * len(keys)
    assert not watching.runner._has_more


def test_the_figures_are_of_what_should_run(world: World) -> None:
    watching = Watching(world)
    watching.go_on(MINUTE)
    assert watching.figures.instances == {Health.HEALTHY: 1}


def test_what_turns_is_written_while_a_run_goes_on(tmp_path: Path) -> None:
    """Checks so frequent that a run never finds itself idle."""
    world = World(tmp_path, desire(checks=(replace(READY, interval=timedelta(seconds=0.1)),)))
    watching = Watching(world)
    told_at = []
    world.store.watch_events(lambda rows: told_at.append(world.clock.now()))
    watching.runner.run()
    assert world.clock.now() - START >= 10 * SECOND
    assert [at - START <= 2 * SECOND for at in told_at] == [True]
    assert watching.count >= 9


def test_a_provider_that_hangs_holds_up_no_probe(tmp_path: Path) -> None:
    """Looks are in threads of their own; this one lasts until the gate is opened."""
    world = World(tmp_path, desire())
    watching = Watching(world, begin=Begun)
    wait_until(lambda: watching.runner.run() is not None and watching.health() == "healthy")
    gate, observe = threading.Event(), world.provider.observe

    def hang(keys: Collection[ResourceKey] | None = None) -> ObservedState:
        gate.wait(20)
        return observe(keys)

    world.provider.observe = hang  # type: ignore[method-assign]
    world.clock.advance(MINUTE)
    before = watching.probes.asked[FIRST]
    for _ in range(5):
        watching.runner.run()
    assert watching.probes.asked[FIRST] > before + 5
    watching.probes.says[FIRST] = BAD
    for _ in range(5):
        watching.runner.run()
    assert watching.health() == "healthy", "nobody can confirm it"
    gate.set()
    wait_until(lambda: watching.runner.run() is not None and watching.health() == "degraded")


def test_it_stops_when_it_is_told_to(world: World) -> None:
    watching = Watching(world)
    watching.cancel.set()
    watching.runner.run()
    assert not watching.probes.asked


def test_what_is_known_is_told_as_json(world: World) -> None:
    watching = Watching(world)
    watching.go_on(MINUTE)
    watching.probes.says[FIRST] = BAD
    watching.go_on(MINUTE)
    view = watching.runner.read_one(WEB)
    assert view is not None
    told = health_as_json(view)
    assert (told["health"], told["healthy"], told["replicas"]) == ("degraded", 1, 2)
    assert [item["health"] for item in told["replica_checks"]] == ["unhealthy", "healthy"]
    check = told["replica_checks"][0]["checks"][0]
    assert check["message"] == "connection refused" and check["failures"] >= 3
    spans = world.store.health.read_spans([WEB], START)
    whole = history_as_json(view, spans, world.store.health.read_seen_at(), world.clock.now())
    assert whole["uptime"]["24h"]["percent"] == 100.0
    assert whole["uptime"]["24h"]["known_s"] > 60
    newest = whole["history"][0]
    assert newest["ended_at"] is None and newest["health"] == "degraded"
    assert {item["check"] for item in whole["history"]} == {None, "ready"}
    assert WHOLE == ""
