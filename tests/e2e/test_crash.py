"""SIGKILL at every effect of an apply: the next apply reaches the same end, with nothing twice,
nothing left over and nothing to be done by hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.crash_kit import DOCKER, MEMORY, PROCESS, CrashWorld, Runtime, app, tenant

BOTH = tenant("acme") + tenant("zen")


@dataclass(frozen=True)
class Scenario:
    """From ``before`` to ``after``; both get the round's number, so that each is a new revision.
    ``running`` is how many replicas there are in the end."""

    name: str
    before: Callable[[Runtime, int], str]
    after: Callable[[Runtime, int], str]
    running: int
    verb: str = "apply"
    is_bad: bool = False


SCENARIOS = [
    Scenario(
        "first apply",
        lambda runtime, number: "",
        lambda runtime, number: BOTH + app(runtime, "acme", 2, "1") + app(runtime, "zen", 1, "1"),
        3,
    ),
    Scenario(
        "new release",
        lambda runtime, number: BOTH + app(runtime, "acme", 2, f"old-{number}"),
        lambda runtime, number: BOTH + app(runtime, "acme", 2, f"new-{number}"),
        2,
    ),
    Scenario(
        "scale down",
        lambda runtime, number: BOTH + app(runtime, "acme", 3, "1"),
        lambda runtime, number: BOTH + app(runtime, "acme", 1, "1"),
        1,
    ),
    Scenario(
        "remove a tenant",
        lambda runtime, number: BOTH + app(runtime, "acme", 1, "1") + app(runtime, "zen", 2, "1"),
        lambda runtime, number: tenant("acme") + app(runtime, "acme", 1, "1"),
        1,
    ),
    Scenario(
        "bad release",
        lambda runtime, number: BOTH + app(runtime, "acme", 2, "1"),
        lambda runtime, number: BOTH + app(runtime, "acme", 2, f"bad-{number}"),
        2,
        is_bad=True,
    ),
    Scenario(
        "destroy",
        lambda runtime, number: BOTH + app(runtime, "acme", 2, "1") + app(runtime, "zen", 1, "1"),
        lambda runtime, number: BOTH + app(runtime, "acme", 2, "1") + app(runtime, "zen", 1, "1"),
        0,
        verb="destroy",
    ),
]


def settle(world: CrashWorld, scenario: Scenario, number: int) -> None:
    """The state before: whatever the round before left, applied to the specs before."""
    specs = scenario.before(world.runtime, number)
    world.write(specs)
    arguments = ("apply", "-y") if specs else ("destroy", "-y")
    if specs or (world.root / "state").exists():
        assert world.run(*arguments) == 0, world.errors


def sweep(world: CrashWorld, scenario: Scenario, numbers: Iterator[int]) -> int:
    """Kill at each of these effects until one is never reached; how many kills there were."""
    kills = 0
    for number in numbers:
        settle(world, scenario, number)
        world.write(scenario.after(world.runtime, number), is_bad=scenario.is_bad)
        if not world.run_killed(number, scenario.verb, "-y"):
            break
        kills += 1
        check(world, scenario, f"{scenario.name}, killed at effect {number}")
    return kills


def count_moments(world: CrashWorld, scenario: Scenario, number: int) -> int:
    """At how many moments an undisturbed run can be killed: before and after each effect."""
    settle(world, scenario, number)
    world.write(scenario.after(world.runtime, number), is_bad=scenario.is_bad)
    _, told = world.run_told(scenario.verb, "-y")
    assert all(told.count(effect) % 2 == 0 for effect in told), told
    return len(told)


def check(world: CrashWorld, scenario: Scenario, where: str) -> None:
    code = world.run(scenario.verb, "-y")
    assert code == (4 if scenario.is_bad else 0), f"{where}: exit {code}\n{world.errors}"
    seen = world.look()
    if scenario.verb == "destroy":
        assert [item[0] for item in seen if item[3]["ready"]] == [], where
    else:
        # The wanted release is not what runs, and nothing is done about it.
        expected = 2 if scenario.is_bad else 0
        assert world.run("plan", "--detailed-exitcode") == expected, f"{where}\n{world.output}"
        assert "0 to add, 0 to change" in world.output or "No changes." in world.output, where
        assert sum(item[3]["ready"] for item in seen) == scenario.running, where
        assert {item[1] for item in seen} == {"rolledBack" if scenario.is_bad else "running"}, where
    if world.runtime is PROCESS:
        assert len(world.sleepers()) == scenario.running, where
    if world.runtime is DOCKER:
        names, networks = world.containers()
        assert len(names) == scenario.running, where
        assert len(networks) == len(set(networks)) == len({name.split(".")[1] for name in names})


def every() -> Iterator[int]:
    return iter(range(1, 1000))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda item: item.name)
@pytest.mark.parametrize("runtime", [MEMORY, PROCESS], ids=["memory", "process"])
def test_a_kill_at_any_effect_is_made_good_by_the_next_apply(
    tmp_path: Path, runtime: Runtime, scenario: Scenario, record_property: Callable[..., None]
) -> None:
    world = CrashWorld(tmp_path, runtime)
    try:
        moments = count_moments(world, scenario, 0)
        kills = sweep(world, scenario, every())
    finally:
        world.run("destroy", "-y")
    record_property("kills", kills)
    print(f"{scenario.name}: {kills} kills at {moments} moments made good")
    assert kills == moments >= 2
    assert world.sleepers() == []


SMALL = [
    Scenario(
        "first replica",
        lambda runtime, number: "",
        lambda runtime, number: tenant("acme") + app(runtime, "acme", 1, "1"),
        1,
    ),
    Scenario(
        "next release",
        lambda runtime, number: tenant("acme") + app(runtime, "acme", 1, f"old-{number}"),
        lambda runtime, number: tenant("acme") + app(runtime, "acme", 1, f"new-{number}"),
        1,
    ),
]


@pytest.fixture
def docker_world(tmp_path: Path, docker_engine: str) -> Iterator[CrashWorld]:
    world = CrashWorld(tmp_path, DOCKER, plane=f"crash-{os.getpid()}")
    world.environ["DOCKER_HOST"] = docker_engine
    yield world
    world.run("destroy", "-y")


@pytest.mark.docker
@pytest.mark.parametrize("scenario", SMALL, ids=lambda item: item.name)
def test_a_kill_at_any_effect_is_made_good_on_docker(
    docker_world: CrashWorld, scenario: Scenario
) -> None:
    moments = count_moments(docker_world, scenario, 0)
    kills = sweep(docker_world, scenario, every())
    print(f"docker, {scenario.name}: {kills} kills at {moments} moments made good")
    assert kills == moments >= 2


@pytest.mark.docker
def test_a_kill_beside_other_calls_is_made_good_on_docker(docker_world: CrashWorld) -> None:
    """What else was asked of the engine is carried out after the death of who asked."""
    kills = sweep(docker_world, SCENARIOS[0], iter((2, 3, 4, 9)))
    assert kills == 4, docker_world.killed_code
