"""Tenants: suspended and resumed, held to their quota, and alone on their machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e import specs
from tests.e2e.plane import Engine, Plane, polling

WEB, OTHER = "instance/acme/web", "instance/globex/web"
FILE = "tenants/acme.yaml"
NAMED = "displayName: acme Inc"


@pytest.fixture
def running(plane: Plane) -> Plane:
    plane.begin("acme", "globex", replicas=2)
    done = plane.apply()
    assert done.code == 0, done.text
    return plane


def test_suspended_tenant_stops_and_comes_back_as_it_was(running: Plane) -> None:
    kept = {name: item for name, item in running.identities().items() if ".globex." in name}
    running.edit(FILE, NAMED, f"{NAMED}, suspended: true")
    plan = running.ok("plan").out
    assert "tenant acme is suspended" in plan
    with polling(running.urls(OTHER)) as poll:
        assert running.apply().code == 0
    assert poll.failures == []
    assert running.replicas(WEB) == {}
    status = running.status()[WEB]
    assert status["phase"] == "suspended" and status["endpoints"] == []
    assert running.status()[OTHER]["phase"] == "running"
    running.assert_settled()
    # Everything stays readable.
    assert "v1" in running.ok("history", WEB).out
    assert "acme" in running.ok("get").out

    # What is committed meanwhile waits.
    running.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')
    running.apply()
    assert running.replicas(WEB) == {}

    running.edit(FILE, ", suspended: true", "")
    done = running.apply()
    assert done.code == 0, done.text
    assert running.answers(WEB) == ["Hello from acme, version 2\n"] * 2
    assert {name: item for name, item in running.identities().items() if ".globex." in name} == kept
    running.assert_settled()


@pytest.mark.parametrize(
    ("quota", "place", "words"),
    [
        ("{memory: 200Mi}", "quota", ("256Mi memory", "200Mi")),
        ("{instances: 0}", "quota", ("1 instances", "quota is 0")),
        ("{cpu: 500m}", "resources", ("no cpu limit",)),
    ],
)
def test_declared_total_over_the_quota_is_invalid(
    local: Plane, quota: str, place: str, words: tuple[str, ...]
) -> None:
    local.begin("acme", "globex", replicas=2)
    local.edit(FILE, NAMED, f"{NAMED}, quota: {quota}")
    text = (local.repo / FILE).read_text().splitlines()
    for arguments in (("validate",), ("plan",), ("apply", "-y")):
        done = local.run(*arguments)
        assert (done.code, done.effects) == (65, ()), done.text
        lines = {item.split(":")[0] for item in done.text.split(f"{FILE}:")[1:]}
        assert lines and all(place in text[int(line) - 1] for line in lines), done.text
        assert all(word in done.text for word in words), done.text
    done = local.apply("--keep-going")
    assert done.code == 3, done.text
    assert local.replicas().keys() == local.replicas(OTHER).keys() != set()


def test_surge_over_the_quota_is_refused_and_the_way_out_works(local: Plane) -> None:
    local.begin("acme", "globex", replicas=2)
    local.edit(FILE, NAMED, f"{NAMED}, quota: {{memory: 256Mi}}")
    assert local.apply().code == 0
    before = local.identities()
    local.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')
    local.edit("tenants/globex.yaml", 'VERSION: "1"', 'VERSION: "2"')
    plan = local.run("plan")
    assert plan.code == 5
    assert "384Mi memory of 256Mi" in plan.out and "maxSurge" in plan.out
    done = local.apply()
    assert done.code == 5, done.text
    after = local.identities()
    assert {name: item for name, item in after.items() if ".acme." in name} == {
        name: item for name, item in before.items() if ".acme." in name
    }
    assert local.answers(OTHER) == ["Hello from globex, version 2\n"] * 2

    budget = "type: rolling, rolling: {maxSurge: 0, maxUnavailable: 1}"
    local.edit(FILE, "type: rolling", budget)
    assert local.apply().code == 0
    assert local.answers(WEB) == ["Hello from acme, version 2\n"] * 2


def test_rollouts_that_do_not_fit_side_by_side_take_turns(local: Plane) -> None:
    """Two instances, and room for the surge of one."""
    local.begin()
    local.write(FILE, specs.tenant("acme", "web", "api", replicas=2))
    local.edit(FILE, NAMED, f"{NAMED}, quota: {{memory: 640Mi}}")
    assert local.apply().code == 0
    local.edit(FILE, 'VERSION: "1"', 'VERSION: "2"', count=2)
    most = [0]

    def count(effect: str) -> None:
        most[0] = max(most[0], len(local.replicas()))

    done = local.run("apply", "-y", on_effect=count)
    assert done.code == 0, done.text
    assert most[0] == 5
    for address in (WEB, "instance/acme/api"):
        assert local.answers(address) == ["Hello from acme, version 2\n"] * 2


def test_control_planes_side_by_side_do_not_see_each_other(
    engine: Engine, make_plane: Callable[..., Plane]
) -> None:
    """The same tenants on the same machine, even in the same state folder."""
    one, two = make_plane(engine, "one"), make_plane(engine, "two")
    two.state = one.state
    two.environ["CTRLPLANE_STATE_DIR"] = str(one.state)
    for plane in (one, two):
        plane.begin("acme")
        done = plane.apply()
        assert done.code == 0, done.text
    assert not set(one.urls(WEB)) & set(two.urls(WEB))
    assert len(one.replicas()) == len(two.replicas()) == 1
    kept = two.identities()
    one.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')
    assert one.apply().code == 0
    assert two.answers(WEB) == ["Hello from acme, version 1\n"]
    assert one.run("destroy", "-y").code == 0
    assert one.replicas() == {}
    assert two.identities() == kept
    two.assert_settled()


def test_renamed_control_plane_does_not_take_over_what_it_never_owned(local: Plane) -> None:
    local.begin("acme")
    assert local.apply().code == 0
    before = local.identities()
    old = local.name
    local.edit("ctrlplane.yaml", f"name: {old}", f"name: {old}-b")
    local.name = f"{old}-b"
    assert local.replicas() == {}
    assert local.apply().code == 0
    assert local.run("destroy", "-y").code == 0
    local.name = old
    assert local.identities() == before
