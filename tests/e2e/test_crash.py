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


def check(world: CrashWorld, scenario: Scenario, where: str) -> None:
    code = world.run(scenario.verb, "-y")
    assert code == (4 if scenario.is_bad else 0), f"{where}: exit {code}\n{world.errors}"
    seen = world.look()
    if scenario.verb == "destroy":
        assert [item[0] for item in seen if item[3]["ready"]] == [], where
    else:
        assert world.run("plan", "--detailed-exitcode") == 0, f"{where}\n{world.output}"
        assert sum(item[3]["ready"] for item in seen) == scenario.running, where
        assert {item[1] for item in seen} == {"rolledBack" if scenario.is_bad else "running"}, where
    if world.runtime is PROCESS:
        assert len(world.sleepers()) == scenario.running, where


def every() -> Iterator[int]:
    return iter(range(1, 1000))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda item: item.name)
@pytest.mark.parametrize("runtime", [MEMORY, PROCESS], ids=["memory", "process"])
def test_a_kill_at_any_effect_is_made_good_by_the_next_apply(
    tmp_path: Path, runtime: Runtime, scenario: Scenario, record_property: Callable[..., None]
) -> None:
    world = CrashWorld(tmp_path, runtime)
    try:
        kills = sweep(world, scenario, every())
    finally:
        world.run("destroy", "-y")
    assert kills >= 2
    record_property("kills", kills)
    print(f"{scenario.name}: {kills}/{kills} kills made good")
    assert world.sleepers() == []


@pytest.mark.docker
@pytest.mark.parametrize("scenario", SCENARIOS[:2], ids=lambda item: item.name)
def test_a_kill_is_made_good_on_docker(
    tmp_path: Path, docker_engine: str, scenario: Scenario
) -> None:
    world = CrashWorld(tmp_path, DOCKER, plane=f"crash-{os.getpid()}")
    world.environ["DOCKER_HOST"] = docker_engine
    try:
        kills = sweep(world, scenario, iter((1, 4, 6, 9)))
    finally:
        world.run("destroy", "-y")
    print(f"{scenario.name}: {kills}/{kills} kills made good")
    assert kills == 4, world.killed_code
