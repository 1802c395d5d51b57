"""Several applies at once: one after the other, and nobody waits for the dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from tests.e2e import specs
from tests.e2e.plane import Plane, wait_until

WEB = "instance/acme/web"
# Long enough to be met on its way, short enough to be waited for.
SLOW = "minReady: 2s"


@pytest.fixture
def slow(local: Plane) -> Plane:
    """Not applied yet; every rollout takes two seconds."""
    local.begin("acme", "globex")
    for tenant in ("acme", "globex"):
        local.edit(f"tenants/{tenant}.yaml", "minReady: 200ms", SLOW)
    return local


def is_rolling_out(plane: Plane) -> bool:
    """Whether an apply has begun to act: it holds the lease and has started replicas."""
    store = plane.state / plane.name / "state.db"
    return store.exists() and bool(plane.events("replicas.scaled"))


def begin_apply(plane: Plane, *arguments: str) -> subprocess.Popen[str]:
    process = plane.start("apply", "-y", "--json", *arguments)
    wait_until(lambda: is_rolling_out(plane))
    return process


def finish(process: subprocess.Popen[str]) -> tuple[int, dict[str, object]]:
    with process:
        out, err = process.communicate(timeout=60)
    assert out, err
    return process.returncode, json.loads(out)


def test_second_apply_waits_and_then_finds_nothing_to_do(slow: Plane) -> None:
    first = begin_apply(slow)
    second = slow.spawn("apply", "-y", "--json")
    code, told = finish(first)
    assert code == 0 and told["effects"]
    assert (second.code, second.json["effects"]) == (0, 0), second.text
    assert len(slow.replicas()) == 2


def test_apply_that_waited_reads_the_specs_again(slow: Plane) -> None:
    """Else one that read an older commit would undo what a newer one has done meanwhile."""
    first = begin_apply(slow)
    second = slow.start("apply", "-y", "--json")
    wait_until(lambda: slow.has_read_the_specs(second))
    slow.edit("tenants/acme.yaml", 'VERSION: "1"', 'VERSION: "2"')
    assert finish(first)[0] == 0
    code, told = finish(second)
    assert code == 0 and told["effects"]
    assert slow.answers(WEB) == ["Hello from acme, version 2\n"]
    slow.assert_settled()


def test_apply_that_waited_refuses_what_is_invalid_by_then(slow: Plane) -> None:
    first = begin_apply(slow)
    second = slow.start("apply", "-y")
    wait_until(lambda: slow.has_read_the_specs(second))
    slow.edit("tenants/acme.yaml", "replicas: 1", "replicas: many")
    assert finish(first)[0] == 0
    with second:
        _, err = second.communicate(timeout=60)
    assert second.returncode == 65
    assert "tenants/acme.yaml:" in err


def test_apply_that_may_not_wait_names_who_is_at_work(slow: Plane) -> None:
    first = begin_apply(slow)
    for patience in ("0s", "200ms"):
        second = slow.spawn("apply", "-y", "--lock-timeout", patience)
        assert second.code == 7
        assert f"process {first.pid} on {os.uname().nodename}" in second.err
        assert "--lock-timeout" in second.err
    # Looking needs no lease.
    assert slow.run("plan").code == 0
    assert finish(first)[0] == 0


def test_destroy_and_rollback_take_turns_with_an_apply(slow: Plane) -> None:
    first = begin_apply(slow)
    for arguments in (("destroy", "-y"), ("rollback", WEB, "-y")):
        second = slow.spawn(*arguments, "--lock-timeout", "0s")
        assert second.code == 7, second.text
    assert finish(first)[0] == 0
    assert len(slow.replicas()) == 2


def test_effects_of_four_applies_at_once_never_interleave(slow: Plane) -> None:
    """Each commits a change of its own first, so that each may find something to do."""
    assert slow.apply().code == 0
    seen = len(slow.events("apply."))
    racers = []
    for number in range(4):
        slow.write("tenants/racer.yaml", racer(number))
        slow.commit()
        racers.append(slow.start("apply", "-y", "--json", "--ref", "main"))
    ends = [finish(process) for process in racers]
    assert [code for code, _ in ends] == [0] * 4

    turns = [item["type"] for item in slow.events("apply.")[seen:]]
    assert turns
    assert turns == ["apply.started", "apply.ended"] * (len(turns) // 2)
    spans = slow.query("SELECT at, closed_at FROM intents ORDER BY at")
    assert all(closed for _, closed in spans)
    bounds = [(item["type"], item["at"]) for item in slow.events("apply.")]
    pairs = list(zip(bounds[::2], bounds[1::2], strict=True))
    for opened, closed in spans:
        assert any(begin[1] <= opened and closed <= end[1] for begin, end in pairs)
    assert len(slow.replicas("instance/racer/web")) == 1
    slow.assert_settled()


def racer(number: int) -> str:
    return specs.tenant("racer").replace('VERSION: "1"', f'VERSION: "{number}"')


def test_killed_holder_delays_nobody(slow: Plane) -> None:
    first = begin_apply(slow)
    os.kill(first.pid, signal.SIGKILL)
    # Left as a zombie, as by a parent that does not care.
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    done = slow.apply("--lock-timeout", "0s")
    with first:
        first.communicate()
    assert done.code == 0, done.text
    assert len(slow.replicas()) == 2
    slow.assert_settled()
