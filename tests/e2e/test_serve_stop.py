"""``serve``: how it ends, who comes after it, and what it does not begin with."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.e2e.plane import Plane, wait_until
from tests.e2e.serve_kit import RARELY, ends, serving

WEB = "instance/acme/web"
FILE = "tenants/acme.yaml"
STUBBORN = "[sh, -c, \"trap '' TERM; while true; do sleep 1; done\"]"
HEALTH = "  health: [{name: ready, type: http, path: /healthz, interval: 500ms, timeout: 1s}]\n"


@pytest.fixture
def slow(local: Plane) -> Plane:
    """Rollouts take some seconds."""
    local.begin("acme")
    local.edit(FILE, "minReady: 200ms", "minReady: 2s")
    return local


def has_begun(plane: Plane) -> bool:
    store = plane.state / plane.name / "state.db"
    return store.exists() and bool(plane.events("replicas.scaled"))


def open_intents(plane: Plane) -> list[tuple[object, ...]]:
    return plane.query("SELECT * FROM intents WHERE closed_at IS NULL")


def test_a_signal_in_the_middle_of_a_rollout_and_the_next_one_goes_on(slow: Plane) -> None:
    with serving(slow, *RARELY) as serve:
        wait_until(lambda: has_begun(slow))
        code, seconds = serve.stop()
        assert code == 0 and seconds < 10
        assert serve.has_said("pass cancelled")
    assert open_intents(slow) == []
    before = slow.identities()
    # The lease is free: nobody waits for it.
    with serving(slow, *RARELY) as serve:
        serve.wait_for("rollout.completed", WEB)
    assert slow.identities() == before
    slow.assert_settled()


@pytest.fixture
def stopping(local: Plane) -> Plane:
    """What runs does not heed SIGTERM and has a grace of half a minute."""
    local.begin("acme")
    local.edit(FILE, "[python3, app/server.py]", STUBBORN)
    local.edit(FILE, HEALTH, "")
    local.edit(FILE, "type: rolling", "type: recreate")
    local.edit(FILE, "stopTimeout: 5s", "stopTimeout: 12s")
    assert local.apply().code == 0
    local.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')
    return local


def test_a_step_that_takes_too_long_stays_written_down(stopping: Plane) -> None:
    with serving(stopping, *RARELY) as serve:
        wait_until(lambda: open_intents(stopping))
        code, seconds = serve.stop()
        assert code == 0 and seconds < 10
        assert serve.has_said("stopped with something in flight")
    assert open_intents(stopping)
    with serving(stopping, *RARELY) as serve:
        serve.wait_for("rollout.completed", WEB, "v2", patience_s=25)
    assert open_intents(stopping) == []


def test_a_second_signal_ends_it_at_once(stopping: Plane) -> None:
    with serving(stopping, *RARELY) as serve:
        wait_until(lambda: open_intents(stopping))
        serve.process.send_signal(signal.SIGINT)
        serve.wait_for("stopping")
        code, seconds = serve.stop(signal.SIGINT)
        assert code == 130 and seconds < 1


def test_a_second_serve_waits_and_takes_over_from_one_that_is_killed(slow: Plane) -> None:
    with serving(slow, *RARELY) as first:
        wait_until(lambda: has_begun(slow))
        with serving(slow, *RARELY) as second:
            wait_until(lambda: slow.has_read_the_specs(second.process))
            assert second.get("/readyz")[0] == 503
            assert not second.has_said("apply.started")
            first.kill()
            second.wait_for("rollout.completed", WEB)
            second.wait_ready()
    assert len(slow.replicas()) == 1
    slow.assert_settled()


def test_a_port_in_use_is_wrong_usage(local: Plane) -> None:
    local.begin("acme")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, text = ends(local.start("serve", "--listen", f"127.0.0.1:{port}"))
    assert code == 64
    assert f"cannot listen on 127.0.0.1:{port}: the port is in use" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--listen", "8321"), "is not HOST:PORT"),
        (("--poll", "0s"), "--poll: the shortest is 1s"),
        (("--source", "a", "--repo", "b"), "give one of them"),
        (("--source", "/nowhere/at/all", "--listen", "127.0.0.1:0"), "is not a directory"),
    ],
)
def test_what_it_does_not_begin_with(local: Plane, arguments: tuple[str, ...], said: str) -> None:
    local.begin("acme")
    done = local.run("serve", *arguments)
    assert done.code == 64, done.text
    assert said in done.err
