"""The router dies, or loses what it was told: that shows as drift, and the next apply has it serve
the same table again."""

from __future__ import annotations

import shutil

import pytest

from tests.e2e.plane import wait_until
from tests.e2e.route_kit import RouteWorld, app, assert_settled, assert_whole

ROLLING = "type: rolling, rolling: {maxSurge: 1}"
CANARY = "type: canary, canary: {steps: [{weight: 50, pause: 100ms}]}"


def begin(world: RouteWorld, strategy: str = ROLLING) -> None:
    world.write(app(world, "one", strategy))
    assert world.run("apply", "-y") == 0, world.errors
    assert world.ask() == "one /"


def test_a_killed_router_is_drift_and_is_started_with_the_same_table(served: RouteWorld) -> None:
    begin(served)
    before, pids = served.routed().table, served.servers()
    served.kill_router()
    assert served.run("plan", "--detailed-exitcode") == 2
    assert f"the {served.routing.type} router does not run" in served.output, served.output
    assert served.run("apply", "-y") == 0, served.errors
    assert served.routed().table == before and served.servers() == pids
    assert served.ask() == "one /"
    assert_whole(served, "started again", "one")
    assert_settled(served, "started again")


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "running"])
def test_a_router_whose_directory_is_gone_serves_the_same_again(
    served: RouteWorld, is_killed: bool
) -> None:
    begin(served)
    before = served.routed().table
    if is_killed:
        served.kill_router()
    shutil.rmtree(served.state_dir / "router")
    assert served.run("plan", "--detailed-exitcode") == 2, served.output
    assert served.run("apply", "-y") == 0, served.errors
    assert served.routed().table == before
    assert served.ask() == "one /"
    assert_settled(served, "written again")


@pytest.mark.parametrize("strategy", [ROLLING, CANARY], ids=["rolling", "canary"])
@pytest.mark.parametrize("place", [1, 9, 12])
def test_a_router_killed_in_the_middle_of_a_rollout_is_started_and_the_rollout_goes_on(
    served: RouteWorld, strategy: str, place: int
) -> None:
    begin(served, strategy)
    served.write(app(served, "two", strategy))
    told: list[str] = []

    def kill_at(effect: str) -> None:
        told.append(effect)
        if len(told) == place:
            served.kill_router()

    code = served.run("apply", "-y", on_effect=kill_at)
    assert (code, len(told) > place) == (0, True), f"{code} {served.output}{served.errors}"
    assert served.ask() == "two /"
    assert_whole(served, "after the rollout", "two")
    assert_settled(served, "after the rollout")


def test_a_table_that_somebody_changed_is_drift_and_is_written_again(served: RouteWorld) -> None:
    if served.routing.type != "traefik":
        pytest.skip("what HAProxy serves is changed by nobody but us")
    begin(served)
    before = served.routed().table
    folder = served.state_dir / "router" / "traefik" / "dynamic"
    (folder / "crash.acme.shop.-.yml").unlink()
    wait_until(lambda: served.routed().table != before)
    assert served.run("plan", "--detailed-exitcode") == 2, served.output
    assert "route/acme/shop" in served.output or 'resource "route" "acme/shop"' in served.output
    assert served.run("apply", "-y") == 0, served.errors
    assert served.routed().table == before
    assert served.ask() == "one /"
    assert_settled(served, "repaired")
