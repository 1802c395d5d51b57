"""An apply killed at each of its effects while requests are being moved: nobody is served by a
replica that is gone, and the next apply comes to the same end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctrlplane_gitops.network.codec import decode_table
from tests.cli.folder import WEB
from tests.cli.road import ROLLING, Road
from tests.e2e.crash_kit import MEMORY

GREEN = "type: blueGreen, blueGreen: {scaleDownDelay: 0s}"
CANARY = "type: canary, canary: {steps: [{weight: 25}, {weight: 50}]}"
MANUAL = "type: canary, canary: {steps: [{weight: 25, pause: manual}, {weight: 50}]}"
STRATEGIES = {"rolling": ROLLING, "blueGreen": GREEN, "canary": CANARY}


def begin(root: Path, strategy: str) -> Road:
    """``v1`` runs, and Git wants ``v2``."""
    road = Road(root, MEMORY, strategy=strategy, replicas=2)
    road.release("1")
    road.ok("apply", "-y")
    road.release("2")
    return road


def lost(road: Road) -> set[str]:
    """Those that requests are sent to although they are gone."""
    (routes,) = (road.root / "state").rglob("router.json")
    (world,) = (road.root / "state").rglob("world.json")
    live = {item["name"] for item in json.loads(world.read_text())["replicas"]}
    table = decode_table(json.loads(routes.read_text())["served"])
    backends = [item for entry in table.entries for item in entry.backends]
    return {member.replica for item in backends for member in item.members} - live


def require_end(road: Road, release: int) -> None:
    assert road.shares() == {release: 100} and lost(road) == set()
    assert "nobody answers" not in road.ok("events", WEB)
    before = road.worlds()
    assert "No changes." in road.ok("plan")
    assert road.run("apply", "-y") == 0 and road.worlds() == before


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_an_apply_that_moves_requests_may_be_killed_at_any_effect(
    tmp_path: Path, name: str
) -> None:
    number = 1
    while True:
        road = begin(tmp_path / str(number), STRATEGIES[name])
        if not road.run_killed(number, "apply", "-y"):
            break
        assert lost(road) == set(), number
        if number % 2:
            assert road.run("apply", "-y") == 0, road.output + road.errors
            require_end(road, 2)
        else:  # somebody pushed meanwhile
            road.release("3")
            assert road.run("apply", "-y") == 0, road.output + road.errors
            require_end(road, 3)
        number += 1
    assert road.killed_code == 0 and number > 10


@pytest.mark.parametrize("verb", ["promote", "abort"])
def test_what_was_asked_is_followed_though_the_asker_is_killed(tmp_path: Path, verb: str) -> None:
    number = 1
    while True:
        road = begin(tmp_path / str(number), MANUAL)
        assert road.run("apply", "-y") == 10
        if not road.run_killed(number, verb, WEB):
            break
        assert lost(road) == set(), number
        assert road.run("apply", "-y") == (0 if verb == "promote" else 4)
        assert road.shares() == {2 if verb == "promote" else 1: 100} and lost(road) == set()
        number += 1
    assert number > 3
