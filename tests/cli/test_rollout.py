"""``promote``, ``abort``, ``pause``, ``resume``: what people ask of a rollout, and what is done."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import monotonic_s, sleep
from tests.cli.folder import PATIENCE_S, WEB
from tests.cli.road import GREEN, ROLLING, Road
from tests.e2e.crash_kit import MEMORY

QUARTER, HALF = {1: 75, 2: 25}, {1: 50, 2: 50}


@pytest.fixture
def road(tmp_path: Path) -> Road:
    """``v1`` runs and is routed."""
    made = Road(tmp_path / "world", MEMORY)
    made.release("1")
    made.ok("apply", "-y")
    return made


@pytest.fixture
def waiting(road: Road) -> Road:
    """``v2`` has a quarter of the requests and waits for promote."""
    road.release("2")
    assert road.run("apply", "-y") == 10
    assert road.shares() == QUARTER
    return road


def follow(road: Road, strategy: str) -> int:
    """The end of an apply of version 2 by another strategy."""
    road.strategy = strategy
    road.release("2")
    return road.run("apply", "-y")


def test_a_waiting_rollout_exits_10_every_time_and_nothing_is_done(waiting: Road) -> None:
    assert "waits for promote with 25% of the traffic" in waiting.errors
    before = waiting.worlds()
    code, effects = waiting.run_told("apply", "-y")
    assert (code, effects) == (10, [])
    assert waiting.worlds() == before


def test_plan_and_status_say_what_it_waits_for(waiting: Road) -> None:
    assert "(rollout of v2 waits for promote; env VERSION changed)" in waiting.ok("plan")
    assert waiting.condition() == "v2: waits for promote"
    assert "v2: waits for promote" in waiting.ok("status")
    waiting.ok("promote", WEB, "--detach")
    assert "(rollout of v2 goes on; env VERSION changed)" in waiting.ok("plan")
    assert waiting.condition() == "v2: under way"
    waiting.ok("pause", WEB)
    assert "(rollout of v2 waits for resume; env VERSION changed)" in waiting.ok("plan")
    assert waiting.condition() == "v2: waits for resume"


def test_each_promote_passes_one_step(waiting: Road) -> None:
    assert waiting.run("promote", WEB) == 10
    assert waiting.shares() == HALF
    assert waiting.run("promote", WEB) == 0
    assert waiting.shares() == {2: 100}
    assert waiting.condition() == ""
    assert waiting.events()[-4:] == [
        "rollout.started", "rollout.promoted", "rollout.promoted", "rollout.completed",
    ]  # fmt: skip
    assert waiting.audit() == [("user:tester", "promote v2")] * 2
    assert "No changes." in waiting.ok("plan")


def test_promote_full_passes_all_of_them(waiting: Road) -> None:
    assert waiting.run("promote", WEB, "--full") == 0
    assert waiting.shares() == {2: 100}
    assert waiting.audit() == [("user:tester", "promote --full v2")]


def test_abort_is_a_success_and_the_wanted_version_is_not_live(waiting: Road) -> None:
    assert waiting.run("abort", WEB) == 0
    assert "Aborted: the release before has all of the traffic again." in waiting.output
    assert waiting.shares() == {1: 100}
    assert waiting.condition() == "rolled back v2 -> v1: it was aborted"
    assert waiting.audit() == [("user:tester", "abort v2")]
    assert waiting.events()[-3:] == ["rollout.started", "rollout.aborted", "rollout.rolledBack"]
    before = waiting.worlds()
    assert waiting.run("apply", "-y") == 4
    assert waiting.worlds() == before
    waiting.release("3")
    assert waiting.run("apply", "-y") == 10
    assert waiting.shares() == {1: 75, 3: 25}


def test_a_paused_rollout_stays_where_it_is_until_it_is_resumed(waiting: Road) -> None:
    waiting.ok("pause", WEB)
    before = waiting.worlds()
    for _ in range(2):
        assert waiting.run("apply", "-y") == 10
        assert "waits for resume with 25% of the traffic" in waiting.errors
    assert waiting.worlds() == before
    assert waiting.run("resume", WEB) == 10
    assert "waits for promote" in waiting.errors
    assert waiting.events()[-3:] == ["rollout.started", "rollout.paused", "rollout.resumed"]
    assert waiting.audit() == [("user:tester", "pause v2"), ("user:tester", "resume v2")]


def test_promote_and_abort_end_a_pause(waiting: Road) -> None:
    waiting.ok("pause", WEB)
    assert waiting.run("promote", WEB) == 10
    assert waiting.shares() == HALF
    waiting.ok("pause", WEB)
    assert waiting.run("abort", WEB) == 0
    assert waiting.shares() == {1: 100}


@pytest.mark.parametrize("verb", ["promote", "abort"])
def test_what_is_only_said_is_followed_by_the_next_apply(waiting: Road, verb: str) -> None:
    before = waiting.worlds()
    waiting.ok(verb, WEB, "--detach")
    assert "the next apply follows it" in waiting.errors
    assert waiting.worlds() == before and waiting.shares() == QUARTER
    assert waiting.run("apply", "-y") == (10 if verb == "promote" else 4)
    assert waiting.shares() == (HALF if verb == "promote" else {1: 100})


def test_orders_and_gates_survive_processes(road: Road) -> None:
    road.release("2")
    assert road.spawn("apply", "-y").returncode == 10
    assert road.spawn("pause", WEB).returncode == 0
    assert road.spawn("apply", "-y").returncode == 10
    assert road.shares() == QUARTER
    assert road.spawn("resume", WEB, "--detach").returncode == 0
    assert road.spawn("promote", WEB, "--detach").returncode == 0
    assert road.spawn("apply", "-y").returncode == 10
    assert road.shares() == HALF
    assert road.spawn("promote", WEB).returncode == 0
    assert road.shares() == {2: 100}


def test_an_order_is_followed_by_the_apply_that_is_under_way(road: Road) -> None:
    road.strategy = "type: canary, canary: {steps: [{weight: 25, pause: 10m}, {weight: 50}]}"
    road.release("2")
    ended: list[subprocess.CompletedProcess[str]] = []
    thread = threading.Thread(target=lambda: ended.append(road.spawn("apply", "-y")))
    thread.start()
    deadline = monotonic_s() + PATIENCE_S
    while road.shares() != QUARTER:
        assert monotonic_s() < deadline
        sleep(0.02)
    road.ok("promote", WEB)
    assert "the apply under way (" in road.errors and "follows it" in road.errors
    thread.join()
    assert ended[0].returncode == 0, ended[0].stderr
    assert road.shares() == {2: 100}


def test_an_order_of_an_earlier_rollout_says_nothing_of_the_next(waiting: Road) -> None:
    waiting.ok("promote", WEB, "--full", "--detach")
    waiting.release("3")
    assert waiting.run("apply", "-y") == 10
    assert waiting.shares() == {1: 75, 3: 25}


def test_green_gets_all_requests_only_when_it_is_promoted(road: Road) -> None:
    assert follow(road, GREEN) == 10
    assert road.shares() == {1: 100}
    assert road.condition() == "v2: waits for promote"
    assert road.run("promote", WEB) == 0
    assert road.shares() == {2: 100}


def test_green_that_is_aborted_was_never_met_by_anybody(road: Road) -> None:
    assert follow(road, GREEN) == 10
    assert road.run("abort", WEB) == 0
    assert road.shares() == {1: 100}


def test_a_route_is_served_all_the_way_of_a_rolling_rollout(road: Road) -> None:
    assert follow(road, ROLLING) == 0
    assert road.shares() == {2: 100}
    assert "No changes." in road.ok("plan")


@pytest.mark.parametrize("verb", ["promote", "abort", "pause", "resume"])
def test_what_is_not_under_way_cannot_be_steered(road: Road, verb: str) -> None:
    before = road.worlds()
    assert road.run(verb, WEB) == 64
    assert road.errors.splitlines() == [
        f"error: no rollout of {WEB} is under way",
        "    status shows what is; history what was",
    ]
    assert road.run(verb, "instance/acme/nope") == 64
    assert road.errors.splitlines()[0] == "error: Git has no sound instance/acme/nope"
    assert road.run(verb, "tenant/acme") == 64
    assert "give instance/<tenant>/<name>" in road.errors
    assert road.worlds() == before and road.audit() == []


def test_what_is_not_paused_cannot_be_resumed(waiting: Road) -> None:
    assert waiting.run("resume", WEB) == 64
    assert waiting.errors.splitlines() == [
        f"error: the rollout of {WEB} is not paused",
        "    it goes on by itself or waits for promote; status shows which",
    ]
    assert waiting.audit() == []


def test_a_rollout_that_is_over_can_no_longer_be_aborted(waiting: Road) -> None:
    waiting.ok("promote", WEB, "--full")
    assert waiting.run("abort", WEB) == 64
    assert waiting.shares() == {2: 100}


def test_only_the_instance_that_was_named_goes_on(waiting: Road) -> None:
    waiting.release("1", name="zen")
    waiting.ok("promote", WEB, "--full")
    assert "instance/zen/web" not in waiting.output
    assert "instance/zen/web will be created" in waiting.ok("plan")
