"""A provider that does not answer: nothing is done there, everything elsewhere."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.plane import Engine, Plane
from tests.engines.outage import Relay, relay

pytestmark = pytest.mark.docker
NEAR, FAR = "instance/near/web", "instance/far/web"
TWO = """\
apiVersion: ctrlplane.dev/v1
kind: ControlPlane
metadata: {{name: {plane}}}
spec:
  providers:
    away: {away}
    here: {{type: process}}
  defaultProvider: here
  ignore: [app]
"""


@dataclass(frozen=True, slots=True)
class World:
    """Tenant ``near`` on processes, tenant ``far`` on an engine behind a relay that can be cut.
    ``far`` sees the same control plane's containers past the relay."""

    plane: Plane
    far: Plane
    relay: Relay


@pytest.fixture
def world(make_plane: Callable[..., Plane], docker_engine: str) -> Iterator[World]:
    plane = make_plane(Engine("process"))
    far = make_plane(Engine("docker", {"host": docker_engine}), "far")
    far.name = plane.name
    with relay(docker_engine) as (host, link):
        plane.begin("near", "far")
        away = Engine("docker", {"host": host}).line
        plane.write("ctrlplane.yaml", TWO.format(plane=plane.name, away=away))
        plane.edit("tenants/far.yaml", "  replicas: 1\n", "  provider: away\n  replicas: 1\n")
        done = plane.apply()
        assert done.code == 0, done.text
        yield World(plane, far, link)


def test_silent_provider_is_said_and_nothing_there_is_touched(world: World) -> None:
    plane, before = world.plane, world.far.identities()
    assert len(before) == 1
    (plane.repo / "tenants/far.yaml").unlink()
    plane.commit()
    world.relay.is_down = True
    for arguments in (("plan",), ("plan", "--detailed-exitcode"), ("apply", "-y")):
        done = plane.run(*arguments)
        assert (done.code, done.effects) == (69, ()), done.text
        assert "provider away did not answer" in done.text
    assert world.far.identities() == before
    assert len(plane.replicas()) == 1

    # Not even asked to remove everything; what answers is removed.
    done = plane.run("destroy", "-y")
    assert done.code in (3, 69), done.text
    assert "away" in done.text
    assert world.far.identities() == before
    assert plane.replicas() == {}

    world.relay.is_down = False
    assert plane.run("destroy", "-y").code == 0
    assert world.far.replicas() == {}


def test_instances_elsewhere_converge_meanwhile(world: World) -> None:
    plane, before = world.plane, world.far.identities()
    world.relay.is_down = True
    for tenant in ("near", "far"):
        plane.edit(f"tenants/{tenant}.yaml", 'VERSION: "1"', 'VERSION: "2"')
    done = plane.apply()
    assert done.code == 3, done.text
    assert "away" in done.text
    assert plane.answers(NEAR) == ["Hello from near, version 2\n"]
    assert world.far.identities() == before
    status = {item["address"]: item for item in plane.run("status", "--json").json["instances"]}
    assert status[FAR]["phase"] == "unknown"
    assert status[NEAR]["phase"] == "running"

    again = plane.apply()
    assert (again.code, again.effects) == (69, ()), again.text
    world.relay.is_down = False
    assert plane.apply().code == 0
    assert plane.answers(FAR) == ["Hello from far, version 2\n"]
    plane.assert_settled()


def test_provider_that_goes_silent_on_the_way_is_gone_on_with_later(world: World) -> None:
    plane = world.plane
    plane.edit("tenants/far.yaml", 'VERSION: "1"', 'VERSION: "2"')

    def cut(effect: str) -> None:
        world.relay.is_down = effect.startswith("start:")

    done = plane.run("apply", "-y", "--timeout", "3s", on_effect=cut)
    assert done.code == 9, done.text
    assert len(world.far.identities()) >= 1
    world.relay.is_down = False
    done = plane.apply()
    assert done.code == 0, done.text
    assert plane.answers(FAR) == ["Hello from far, version 2\n"]
    assert len(world.far.replicas()) == 1
    plane.assert_settled()


@pytest.mark.parametrize("is_listening", [False, True], ids=["nobody listens", "no answer comes"])
def test_engine_that_never_answers_holds_up_nobody_else(local: Plane, is_listening: bool) -> None:
    path = local.root / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        if is_listening:
            listener.bind(str(path))
            listener.listen()
        local.begin("acme", "far")
        away = Engine("docker", {"host": f"unix://{path}", "timeout": "1s"}).line
        local.write("ctrlplane.yaml", TWO.format(plane=local.name, away=away))
        local.edit("tenants/far.yaml", "  replicas: 1\n", "  provider: away\n  replicas: 1\n")
        plan = local.run("plan")
        assert (plan.code, plan.effects) == (69, ())
        assert "provider away did not answer" in plan.text
        done = local.apply()
    assert done.code == 3, done.text
    assert local.answers("instance/acme/web") == ["Hello from acme, version 1\n"]
