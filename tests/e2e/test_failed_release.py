"""A new release that does not come up: the old one serves throughout, and is left in peace."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.plane import Engine, Plane, polling
from tests.engines.program import free_port

WEB = "instance/acme/web"
FILE = "tenants/acme.yaml"
OLD = "Hello from acme, version 1\n"
PATIENT, IMPATIENT = "healthyDeadline: 20s", "healthyDeadline: 3s"
# So that it listens before it is over, also where the machine is busy.
ANSWERING = "healthyDeadline: 8s"
GOOD = 'env: {VERSION: "1"}'
SICK = 'env: {VERSION: "2", HEALTH: "503"}'


def begin(plane: Plane, *tenants: str) -> Plane:
    plane.begin(*tenants, replicas=2)
    done = plane.apply()
    assert done.code == 0, done.text
    return plane


def spoil(plane: Plane, before: str, after: str, deadline: str = IMPATIENT) -> None:
    """Commit a release that does not come up, without waiting long for it."""
    plane.edit(FILE, PATIENT, deadline)
    plane.edit(FILE, before, after)


def mend(plane: Plane, before: str, after: str, deadline: str = IMPATIENT) -> None:
    plane.edit(FILE, deadline, PATIENT)
    plane.edit(FILE, before, after)


@pytest.fixture
def running(plane: Plane) -> Plane:
    return begin(plane, "acme")


def assert_blocked(plane: Plane, cause: str) -> None:
    """A second apply exits 4 again and does nothing, and the plan says why."""
    again = plane.apply()
    assert (again.code, again.effects) == (4, ()), again.text
    assert "--retry-failed" in again.out
    plan = plane.ok("plan")
    assert "v2 was tried and failed" in plan.out and cause in plan.out
    assert plan.effects == ()
    [row] = plane.ok("plan", "--json").json["resource_changes"]
    assert row["address"] == "deployment/acme/web"
    assert cause in str(row), row


def test_release_that_never_becomes_healthy_is_rolled_back(running: Plane) -> None:
    before = running.identities()
    spoil(running, GOOD, SICK, ANSWERING)
    with polling(running.urls(WEB)) as poll:
        done = running.apply()
        assert done.code == 4, done.text
        assert_blocked(running, "503")
        retried = running.apply("--retry-failed")
        assert retried.code == 4 and retried.effects
    assert poll.failures == []
    assert poll.answers.keys() == {OLD}
    print(f"{running.engine.type}: 0 failures in {poll.answers[OLD]} requests")
    assert running.identities() == before

    status = running.status()[WEB]
    assert (status["phase"], status["release"]) == ("rolledBack", 1)
    assert status["replicas"] == {"desired": 2, "ready": 2, "owner": "specs"}
    [told] = [item for item in status["conditions"] if item["type"] == "RolledBack"]
    for word in ("v2 -> v1", "503"):
        assert word in told["message"]
        assert word in running.ok("status").out

    mend(running, SICK, 'env: {VERSION: "3"}', ANSWERING)
    done = running.apply()
    assert done.code == 0, done.text
    assert running.answers(WEB) == ["Hello from acme, version 3\n"] * 2
    running.assert_settled()


def test_command_that_ends_at_once_is_rolled_back(running: Plane) -> None:
    before = running.identities()
    spoil(running, "[python3, app/server.py]", "[python3, -c, 'raise SystemExit(3)']")
    with polling(running.urls(WEB)) as poll:
        done = running.apply()
    assert done.code == 4, done.text
    assert poll.failures == [] and poll.answers.keys() == {OLD}
    assert_blocked(running, "exited with 3")
    assert running.identities() == before


def test_changes_beside_a_bad_release_are_made(local: Plane) -> None:
    """What is held back is the release, not the instance."""
    running = begin(local, "acme")
    spoil(running, GOOD, SICK)
    assert running.apply().code == 4
    running.edit(FILE, "replicas: 2", "replicas: 3")
    done = running.apply()
    assert done.code == 4 and done.effects
    assert running.answers(WEB) == [OLD] * 3
    running.kill(sorted(running.replicas())[0])
    done = running.apply()
    assert done.code == 4 and done.effects
    assert running.answers(WEB) == [OLD] * 3
    assert running.status()[WEB]["phase"] == "rolledBack"


def test_first_release_that_fails_is_left_for_inspection(local: Plane) -> None:
    local.begin("acme")
    spoil(local, GOOD, SICK, ANSWERING)
    done = local.apply()
    assert done.code == 1, done.text
    assert "left for inspection" in done.text
    status = local.status()[WEB]
    assert status["phase"] == "failed"
    [name] = local.replicas()
    assert "version 2 listens" in local.ok("logs", WEB).out
    again = local.apply()
    assert again.code != 0 and again.effects == (), again.text
    assert list(local.replicas()) == [name]

    mend(local, SICK, GOOD, ANSWERING)
    done = local.apply()
    assert done.code == 0, done.text
    assert local.answers(WEB) == [OLD]
    local.assert_settled()


@pytest.mark.docker
class TestImages:
    @pytest.fixture
    def docked(self, make_plane: Callable[..., Plane], docker_engine: str) -> Plane:
        return begin(make_plane(Engine("docker", {"host": docker_engine})), "acme", "globex")

    def test_image_that_is_not_there_fails_and_the_old_release_runs_on(self, docked: Plane) -> None:
        before, image = docked.identities(), f"127.0.0.1:{free_port()}/shop:2"
        spoil(docked, "ctrlplane-test-app:1", image)
        docked.edit("tenants/globex.yaml", GOOD, 'env: {VERSION: "2"}')
        with polling(docked.urls(WEB)) as poll:
            done = docked.apply()
        assert done.code == 4, done.text
        assert image in done.text and "refused" in done.text
        assert poll.failures == [] and poll.answers.keys() == {OLD}
        after = docked.identities()
        assert {name: item for name, item in after.items() if ".acme." in name} == {
            name: item for name, item in before.items() if ".acme." in name
        }
        assert docked.answers("instance/globex/web") == ["Hello from globex, version 2\n"] * 2
        status = docked.status()[WEB]
        assert status["phase"] == "rolledBack", status
        assert image in str(status["conditions"])

    def test_command_that_the_image_lacks_is_rolled_back(self, docked: Plane) -> None:
        spoil(docked, "[python3, app/server.py]", "[no-such-program]")
        with polling(docked.urls(WEB)) as poll:
            done = docked.apply()
        assert done.code == 4, done.text
        assert poll.failures == [] and poll.answers.keys() == {OLD}
