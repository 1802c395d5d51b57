"""SIGKILL at every effect of a rollout with routes, on providers and on routers alike: the next
apply finishes or restores, and requests that are sent all the while are answered, every one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.route_kit import (
    MEMORY,
    MEMORY_ROUTER,
    WEB,
    RouteWorld,
    app,
    assert_settled,
    assert_whole,
    opened,
)

# With CTRLPLANE_TEST_SWEEP=full every moment of every rollout is tried with every router. Otherwise
# so many moments of one sweep with real programs, and each way back with one of the routers.
IS_FULL = os.environ.get("CTRLPLANE_TEST_SWEEP") == "full"
SAMPLE = 3
CANARY = "type: canary, canary: {steps: [{weight: 25, pause: 200ms}, {weight: 50, pause: 200ms}]"
SMOKE = "{name: smoke, type: command, command: [sh, -c, 'case $VERSION in bad*) exit 1; esac']}"
ERRORS = "{name: errors, type: router, errorRate: {max: 5%}, noData: fail}"


@dataclass(frozen=True)
class Case:
    """A rollout that is begun by ``first`` (an apply that may end with ``first_code``), and the
    verb that is killed. ``is_back``: it ends at the release before."""

    name: str
    strategy: str
    is_back: bool = False
    first: tuple[str, ...] = ()
    first_code: int = 0
    verb: tuple[str, ...] = ("apply", "-y")


FORWARD = [
    Case("rolling", "type: rolling, rolling: {maxSurge: 1}"),
    Case("blueGreen", "type: blueGreen, blueGreen: {scaleDownDelay: 300ms}"),
    Case("canary", CANARY + "}"),
]
ABORTED = [
    Case(
        "canary aborted",
        "type: canary, canary: {steps: [{weight: 50, pause: manual}]}",
        is_back=True,
        first=("apply", "-y"),
        first_code=10,
        verb=("abort", WEB),
    ),
    Case(
        "blueGreen aborted after the switch",
        "type: blueGreen, blueGreen: {scaleDownDelay: 1h}",
        is_back=True,
        first=("apply", "-y", "--timeout", "SWITCHED"),
        first_code=9,
        verb=("abort", WEB),
    ),
]
FAILING = {
    "memory": Case(
        "canary that fails",
        CANARY + f", analysis: {{interval: 100ms, checks: [{ERRORS}]}}}}",
        is_back=True,
    ),
    "process": Case(
        "canary that fails",
        CANARY + f", analysis: {{interval: 100ms, checks: [{SMOKE}]}}}}",
        is_back=True,
    ),
}
BAKING = Case(
    "blueGreen that fails after the switch",
    "type: blueGreen, blueGreen: {scaleDownDelay: 2s, bakeTime: 1500ms}",
    is_back=True,
)
BACK = [*ABORTED, FAILING["process"], BAKING]


class Sweep:
    """Rounds of one case in one world. Each begins where the one before ended."""

    def __init__(self, world: RouteWorld, case: Case) -> None:
        self.world, self.case = world, case
        self.good = "good-0"
        # Nothing of the strategy's is measured of the first release.
        self.commit(self.good)
        assert world.run("apply", "-y") == 0, world.errors

    def commit(self, version: str) -> None:
        self.world.write(app(self.world, version, self.case.strategy))

    def begin(self, name: str) -> None:
        """A new version is in Git, and what is to be killed comes next."""
        self.version = f"{'bad' if self.case.is_back else 'good'}-{name}"
        self.commit(self.version)
        if self.case.first:
            patience = "2500ms" if self.world.routing.is_real else "700ms"
            arguments = [patience if item == "SWITCHED" else item for item in self.case.first]
            assert self.world.run(*arguments) == self.case.first_code, self.world.errors

    def count(self) -> int:
        """At how many moments an undisturbed one can be killed; it ends as it must."""
        self.begin("undisturbed")
        code, told = self.world.run_told(*self.case.verb)
        odd = {effect for effect in told if told.count(effect) % 2}
        # What a controller overtakes is told once, and made again.
        assert odd == set() or "kubernetes" in self.world.runtime.provider, (odd, told)
        self.check("undisturbed", code)
        return len(told)

    def kill(self, number: int) -> bool:
        """False when it ended before it came to that effect."""
        self.begin(str(number))
        where = f"{self.case.name}, killed at effect {number}"
        is_killed = self.world.run_killed(number, *self.case.verb)
        self.check(where, self.world.run("apply", "-y"))
        return is_killed

    def check(self, where: str, code: int) -> None:
        is_asked = where == "undisturbed" and self.case.first
        expected = 4 if self.case.is_back and not is_asked else 0
        assert code == expected, f"{where}: exit {code}\n{self.world.output}{self.world.errors}"
        if not self.case.is_back:
            self.good = self.version
        assert_whole(self.world, where, self.good)
        assert_settled(self.world, where, is_bad=self.case.is_back)


def sample(moments: int, most: int = SAMPLE) -> list[int]:
    """These effects, evenly spread, the first and the last among them."""
    if IS_FULL or moments <= most:
        return list(range(1, moments + 1))
    return sorted({1 + place * (moments - 1) // (most - 1) for place in range(most)})


@pytest.mark.parametrize(
    "case", [*FORWARD, *ABORTED, FAILING["memory"]], ids=lambda item: item.name
)
def test_a_kill_at_any_effect_of_a_rollout_in_memory(tmp_path: Path, case: Case) -> None:
    with opened(RouteWorld(tmp_path, MEMORY, routing=MEMORY_ROUTER)) as world:
        sweep = Sweep(world, case)
        moments, kills = sweep.count(), 0
        while sweep.kill(kills + 1):
            kills += 1
    print(f"memory, {case.name}: {kills} kills at {moments} moments made good")
    assert kills >= moments - 2 >= 2


@pytest.mark.parametrize("case", [*FORWARD, *BACK], ids=lambda item: item.name)
def test_a_kill_at_any_effect_of_a_rollout_loses_no_request(
    served: RouteWorld, case: Case, record_property: Callable[..., None]
) -> None:
    turn = ("haproxy", "traefik").index(served.routing.type)
    if not IS_FULL and case in BACK and BACK.index(case) % 2 != turn:
        pytest.skip("with the other router; with both if CTRLPLANE_TEST_SWEEP=full")
    sweep = Sweep(served, case)
    with served.load() as met:
        moments = sweep.count()
        numbers = sample(moments)
        kills: list[int] = []
        for number in numbers:
            if sweep.kill(number):
                kills.append(number)
            # How many effects an apply has depends a little on what ends first.
            elif kills and kills[-1] + 1 < number and sweep.kill(kills[-1] + 1):
                kills.append(kills[-1] + 1)
    asked = sum(met["answers"].values())
    print(
        f"{served.routing.type}, {case.name}: {len(kills)}/{len(numbers)} kills (of {moments}"
        f" moments) made good, {len(met['failures'])}/{asked} requests failed"
    )
    record_property("kills", len(kills))
    assert met["failures"] == []
    assert len(kills) >= len(numbers) * 3 // 4 and asked > 100
    assert set(met["answers"]) > {sweep.good}
