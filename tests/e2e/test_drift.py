"""What moved away without a commit is said, with the reason, and exactly that is repaired."""

from __future__ import annotations

import pytest

from tests.e2e.plane import Engine, Plane, wait_until

WEB = "instance/acme/web"


@pytest.fixture
def running(plane: Plane) -> Plane:
    plane.begin("acme", "globex", replicas=3)
    done = plane.apply()
    assert done.code == 0, done.text
    return plane


def victim_of(plane: Plane) -> str:
    return sorted(plane.replicas(WEB))[1]


def assert_only_replaced(plane: Plane, before: dict[str, tuple[str, object]], name: str) -> None:
    after = plane.identities()
    assert after.keys() == before.keys()
    assert {item for item in after if after[item] != before[item]} == {name}
    plane.assert_settled()


def test_killed_replica_is_drift_and_it_alone_is_started_again(running: Plane) -> None:
    before, name = running.identities(), victim_of(running)
    running.kill(name)

    plan = running.run("plan", "--detailed-exitcode")
    assert plan.code == 2
    assert "Drift (1): changed outside Git" in plan.out
    assert f"replica {name}" in plan.out
    assert "137" in plan.out or "SIGKILL" in plan.out or "signal 9" in plan.out, plan.out
    assert "globex" not in plan.out
    assert plan.effects == ()

    done = running.apply()
    assert done.code == 0, done.text
    assert done.effects
    assert len(running.answers(WEB)) == 3
    assert_only_replaced(running, before, name)


def test_status_says_that_a_replica_is_down(running: Plane) -> None:
    name = victim_of(running)
    running.kill(name)
    status = running.status()[WEB]
    assert status["phase"] == "degraded"
    assert status["replicas"] == {"desired": 3, "ready": 2, "owner": "specs"}
    [ready] = [item for item in status["conditions"] if item["type"] == "Ready"]
    assert ready["status"] == "False"
    assert name in ready["message"]


@pytest.mark.docker
class TestDocker:
    @pytest.fixture
    def engine(self, docker_engine: str) -> Engine:
        return Engine("docker", {"host": docker_engine})

    def test_removed_container_comes_back_alone(self, running: Plane) -> None:
        before, name = running.identities(), victim_of(running)
        with running.docker() as client:
            client.remove_container(running.replicas()[name].id, force=True)
        wait_until(lambda: name not in running.replicas())

        plan = running.run("plan", "--detailed-exitcode")
        assert plan.code == 2
        assert "replicas 3 -> 2" in plan.out
        assert running.apply().code == 0
        assert_only_replaced(running, before, name)

    def test_changed_memory_is_put_back_without_a_restart(self, running: Plane) -> None:
        before, name = running.identities(), victim_of(running)
        identity = running.replicas()[name].id
        with running.docker() as client:
            client.update_container(identity, mem_limit="64m", memswap_limit="64m")

        plan = running.run("plan", "--detailed-exitcode")
        assert plan.code == 2
        assert "memory 128Mi -> 64Mi" in plan.out, plan.out
        done = running.apply()
        assert done.code == 0, done.text
        with running.docker() as client:
            limits = client.inspect_container(identity)["HostConfig"]
        assert limits["Memory"] == 128 * 2**20
        assert running.identities() == before
        running.assert_settled()
