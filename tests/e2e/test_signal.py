"""Applies that are interrupted, out of time or not waited for: the next one goes on."""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress

import pytest

from tests.e2e.plane import Plane, polling, wait_until

WEB = "instance/acme/web"
FILE = "tenants/acme.yaml"
OLD, NEW = "Hello from acme, version 1\n", "Hello from acme, version 2\n"
# What is in flight when a signal comes: a stop that takes its whole grace.
STUBBORN = "[sh, -c, \"trap '' TERM; while true; do sleep 1; done\"]"


def slow_down(plane: Plane) -> None:
    """A release whose rollout takes some seconds more."""
    text = (plane.repo / FILE).read_text()
    text = text.replace("minReady: 200ms", "minReady: 2s").replace('VERSION: "1"', 'VERSION: "2"')
    plane.write(FILE, text)
    plane.commit()


def begin(plane: Plane) -> Plane:
    plane.begin("acme", replicas=2)
    assert plane.apply().code == 0
    return plane


@pytest.fixture
def running(plane: Plane) -> Plane:
    return begin(plane)


def begin_apply(plane: Plane, *arguments: str) -> subprocess.Popen[str]:
    """An apply in the middle of a rollout: a replica of the new release has been started."""
    seen = len(plane.events("replicas.scaled"))
    process = plane.start("apply", "-y", *arguments)
    wait_until(lambda: len(plane.events("replicas.scaled")) > seen)
    return process


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    with process:
        out, err = process.communicate(timeout=30)
    assert "Traceback" not in err, err
    return process.returncode, out + err


def test_interrupted_apply_exits_8_and_the_next_one_finishes(running: Plane) -> None:
    stop_and_finish(running, signal.SIGINT)


def test_terminated_apply_exits_8_and_the_next_one_finishes(local: Plane) -> None:
    stop_and_finish(begin(local), signal.SIGTERM)


def stop_and_finish(running: Plane, number: signal.Signals) -> None:
    slow_down(running)
    with polling(running.urls(WEB)[:1]) as poll:
        process = begin_apply(running)
        process.send_signal(number)
        code, text = end(process)
    assert code == 8, text
    assert WEB in text and "stopped on the way" in text
    assert poll.failures == [] and poll.answers.keys() == {OLD}
    assert running.query("SELECT * FROM intents WHERE closed_at IS NULL") == []
    assert running.status()[WEB]["phase"] == "progressing"
    [told] = running.events("apply.ended")[-1:]
    assert "cancelled" in told["message"]

    # Nothing has to be unlocked.
    done = running.apply("--lock-timeout", "0s")
    assert done.code == 0, done.text
    assert running.answers(WEB) == [NEW] * 2
    running.assert_settled()


def test_apply_out_of_time_exits_9_and_the_next_one_finishes(local: Plane) -> None:
    running = begin(local)
    slow_down(running)
    done = running.apply("--timeout", "1s")
    assert done.code == 9, done.text
    assert WEB in done.err
    assert running.apply("--lock-timeout", "0s").code == 0
    assert running.answers(WEB) == [NEW] * 2
    running.assert_settled()


def test_detached_apply_returns_and_later_ones_go_on(running: Plane) -> None:
    slow_down(running)
    done = running.apply("--detach")
    assert done.code == 0, done.text
    assert "under way" in done.text
    assert running.status()[WEB]["phase"] == "progressing"
    assert OLD in running.answers(WEB)
    plan = running.run("plan", "--detailed-exitcode")
    assert plan.code == 2 and "goes on" in plan.out

    done = running.apply()
    assert done.code == 0, done.text
    assert running.answers(WEB) == [NEW] * 2
    running.assert_settled()


def test_second_interrupt_exits_130_at_once_and_the_next_apply_finishes(local: Plane) -> None:
    local.begin("acme")
    local.edit(FILE, "[python3, app/server.py]", STUBBORN)
    local.edit(FILE, "  health: [{name: ready, type: http, path: /healthz, interval: 500ms, "
               "timeout: 1s}]\n", "")  # fmt: skip
    local.edit(FILE, "type: rolling", "type: recreate")
    assert local.apply().code == 0
    local.edit(FILE, STUBBORN, "[python3, app/server.py]")

    process = local.start("apply", "-y")
    wait_until(lambda: local.query("SELECT * FROM intents WHERE closed_at IS NULL"))
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGINT)
    assert end(process)[0] == 130

    done = local.apply("--lock-timeout", "0s")
    assert done.code == 0, done.text
    wait_until(lambda: answers_as(local, OLD))
    local.assert_settled()


def answers_as(plane: Plane, text: str) -> bool:
    """Nobody checks its health here, so it may not listen yet."""
    with suppress(OSError):
        return plane.answers(WEB) == [text]
    return False


def test_interrupt_while_waiting_for_the_lock_changes_nothing(local: Plane) -> None:
    local.begin("acme")
    assert local.apply().code == 0
    slow_down(local)
    first = begin_apply(local)
    second = local.start("apply", "-y")
    wait_until(lambda: local.has_read_the_specs(second))
    second.send_signal(signal.SIGINT)
    code, text = end(second)
    assert code == 8, text
    assert f"process {first.pid}" in text
    assert end(first)[0] == 0
    assert local.answers(WEB) == [NEW]
