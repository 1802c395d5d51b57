"""What ``serve`` tells others, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ctrlplane_gitops.clock import SystemClock
from tests.e2e.plane import Plane, wait_until
from tests.e2e.serve_kit import RARELY, serving
from tests.http.receiver import SECRET, Receiver, receiving

FILE = "tenants/acme.yaml"
OPS = """  notifications:
    - name: ops
      url: {url}
      secret: {{file: ops}}
      events: ["rollout.*", "moon.risen"]
      tenants: [acme]
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(SystemClock().now) as running:
        yield running
        assert running.forged == 0


@pytest.fixture
def begun(local: Plane, receiver: Receiver) -> Plane:
    """Two tenants, committed; somebody wants to know of one of them."""
    local.begin("acme", "globex")
    (local.secrets / "ops").write_text(f"{SECRET}\n")
    (local.secrets / "ops").chmod(0o600)
    control = (local.repo / "ctrlplane.yaml").read_text()
    local.write("ctrlplane.yaml", control + OPS.format(url=receiver.url))
    local.commit()
    return local


def test_what_happens_is_told_once_across_a_kill_and_a_restart(
    begun: Plane, receiver: Receiver
) -> None:
    follow = ("--ref", "main", "--poll", "1s", "--interval", "1h")
    with serving(begun, *follow) as serve:
        wait_until(lambda: "rollout.completed" in receiver.types())
        assert {item["subject"] for item in receiver.bodies} == {"instance/acme/web"}
        assert {item["source"] for item in receiver.bodies} == {f"controlplane/{begun.name}"}
        delivered = 'ctrlplane_notification_attempts_total{outcome="delivered",subscription="ops"}'
        wait_until(lambda: serve.figures().get(delivered) == len(receiver.ids))
        completed = 'ctrlplane_events_total{type="rollout.completed"}'
        wait_until(lambda: serve.figures().get(completed) == 2)
        serve.process.kill()
        serve.process.wait()
    before = len(receiver.ids)
    with serving(begun, *follow) as serve:
        serve.wait_for("pass")
        begun.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')
        wait_until(lambda: receiver.types().count("rollout.completed") == 2)
        serve.wait_for("rollout.completed", "v2 is live")
    assert receiver.types()[before:] == ["rollout.started", "rollout.completed"]
    assert len(set(receiver.ids)) == len(receiver.ids)
    assert SECRET not in "".join(begun.said)


def test_what_can_never_happen_is_a_warning_with_its_place(begun: Plane) -> None:
    done = begun.run("validate")
    assert done.code == 0
    assert "warning: there are no events 'moon.risen' [unknown-event]" in done.text
    assert "ctrlplane.yaml:" in done.text


def test_who_is_added_while_it_runs_is_told_and_nothing_is_begun_anew(
    local: Plane, receiver: Receiver
) -> None:
    local.begin("acme")
    (local.secrets / "ops").write_text(SECRET)
    (local.secrets / "ops").chmod(0o600)
    with serving(local, *RARELY) as serve:
        serve.wait_for("pass applied", "everything")
        control = (local.repo / "ctrlplane.yaml").read_text()
        local.write("ctrlplane.yaml", control + OPS.format(url=receiver.url))
        local.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')
        wait_until(lambda: "rollout.completed" in receiver.types())
    assert receiver.bodies[-1]["data"]["message"] == "v2 is live"
