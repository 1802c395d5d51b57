"""A commit, or a person, in the middle of a rollout with routes, at every effect of it: what was
asked for last is what comes out, and no request is lost on the way."""

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

SAMPLE = 3
IS_FULL = os.environ.get("CTRLPLANE_TEST_SWEEP") == "full"
STRATEGIES = {
    "rolling": "type: rolling, rolling: {maxSurge: 1}",
    "blueGreen": "type: blueGreen, blueGreen: {scaleDownDelay: 300ms}",
    "canary": "type: canary, canary: {steps: [{weight: 50, pause: 100ms}]}",
}


@dataclass(frozen=True)
class Turn:
    """What happens in the middle of the rollout from ``old`` to ``mid``. ``verb`` is run then, and
    ends with one of ``codes``. ``is_kept``: the release of ``old`` is reused. ``is_probed``: it
    needs replicas that can be asked."""

    name: str
    version: Callable[[str, int], str]
    codes: tuple[int, ...] = (0,)
    verb: tuple[str, ...] = ("apply", "-y")
    is_kept: bool = False
    is_bad: bool = False
    is_probed: bool = False


AGAIN = ("apply", "-y")
TURNS = [
    Turn("a third release", lambda old, number: f"third-{number}"),
    Turn(
        "a bad third release", lambda old, number: f"never-{number}", (4,), AGAIN, True, True, True
    ),
    Turn("back to the first", lambda old, number: old, is_kept=True),
    Turn("abort", lambda old, number: f"second-{number}", (0,), ("abort", WEB), True, True),
]


class Sweep:
    def __init__(self, world: RouteWorld, strategy: str, turn: Turn) -> None:
        self.world, self.strategy, self.turn = world, strategy, turn
        self.old = "first"
        self.commit(self.old)
        assert world.run("apply", "-y") == 0, world.errors
        self.release = assert_whole(world, "at first", self.old)

    def commit(self, version: str) -> None:
        self.world.write(app(self.world, version, self.strategy))

    def count(self) -> int:
        self.commit("undisturbed")
        code, told = self.world.run_told("apply", "-y")
        assert code == 0, self.world.errors
        self.old = "undisturbed"
        self.release = assert_whole(self.world, "undisturbed", self.old)
        return len(told) // 2

    def interrupt(self, number: int) -> bool:
        """Stopped before its ``number``-th effect, then the turn. False when it ended before."""
        where, turn = f"{self.turn.name} before effect {number}", self.turn
        self.commit(f"second-{number}")
        is_killed = self.world.run_killed(2 * number - 1, "apply", "-y")
        if not is_killed:
            self.old = f"second-{number}"
            self.release = assert_whole(self.world, where, self.old)
            return False
        wanted = turn.version(self.old, number)
        self.commit(wanted)
        code = self.world.run(*turn.verb)
        assert code in turn.codes, f"{where}: exit {code}\n{self.world.output}{self.world.errors}"
        self.check(where, wanted)
        return True

    def check(self, where: str, wanted: str) -> None:
        kept = self.turn.is_kept
        version = self.old if kept else wanted
        release = assert_whole(self.world, where, version)
        assert (release == self.release) is kept, f"{where}: v{self.release} -> v{release}"
        assert_settled(self.world, where, is_bad=self.turn.is_bad)
        self.old, self.release = version, release
        states = dict(self.world.query("SELECT number, state FROM releases"))
        assert [n for n, state in states.items() if state == "active"] == [release], where


def sample(count: int) -> list[int]:
    if IS_FULL or count <= SAMPLE:
        return list(range(1, count + 1))
    return sorted({1 + place * (count - 1) // (SAMPLE - 1) for place in range(SAMPLE)})


@pytest.mark.parametrize("turn", [x for x in TURNS if not x.is_probed], ids=lambda item: item.name)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_turn_at_any_step_in_memory(tmp_path: Path, strategy: str, turn: Turn) -> None:
    with opened(RouteWorld(tmp_path, MEMORY, routing=MEMORY_ROUTER)) as world:
        sweep, turns = Sweep(world, STRATEGIES[strategy], turn), 0
        count = sweep.count()
        while sweep.interrupt(turns + 1):
            turns += 1
    print(f"memory, {strategy}, {turn.name}: {turns}/{count}")
    assert turns >= count >= 4


FULL = [(strategy, turn) for strategy in STRATEGIES for turn in TURNS]
# One turn per strategy and one strategy per turn, where not all are asked for.
SOME = [("rolling", TURNS[0]), ("canary", TURNS[1]), ("blueGreen", TURNS[2]), ("canary", TURNS[3])]


@pytest.mark.parametrize(
    ("strategy", "turn"), FULL if IS_FULL else SOME, ids=lambda item: getattr(item, "name", item)
)
def test_a_turn_at_any_step_loses_no_request(served: RouteWorld, strategy: str, turn: Turn) -> None:
    sweep = Sweep(served, STRATEGIES[strategy], turn)
    with served.load() as met:
        numbers = sample(sweep.count())
        turns = [number for number in numbers if sweep.interrupt(number)]
    asked = sum(met["answers"].values())
    print(
        f"{served.routing.type}, {strategy}, {turn.name}: {len(turns)}/{len(numbers)},"
        f" {len(met['failures'])}/{asked} requests failed"
    )
    assert met["failures"] == []
    # How many effects an apply has depends a little on what ends first.
    assert len(turns) >= len(numbers) * 3 // 4 and asked > 100
