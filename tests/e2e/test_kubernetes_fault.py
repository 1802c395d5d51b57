"""What stands in the way of an apply in a cluster: retried or said, never spun, never made twice,
and nobody else's trouble. Once it is gone the next pass goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import monotonic_s
from tests.e2e.kubernetes_kit import RULE, KubernetesPlane, of_tenant
from tests.e2e.plane import wait_until
from tests.kubernetes.client import Client
from tests.kubernetes.front import Asked, Rule, busy, front
from tests.kubernetes.rig import Rig
from tests.kubernetes.role import role_access

pytestmark = pytest.mark.kubernetes
AUDIT = ["example.com/audit"]


@pytest.fixture
def plane(kubernetes_rig: Rig, tmp_path: Path) -> Iterator[KubernetesPlane]:
    """With the rights that we ship, and no more."""
    client = Client(role_access(kubernetes_rig))
    with front(kubernetes_rig, client, tmp_path) as place:
        plane = KubernetesPlane(tmp_path / "plane", kubernetes_rig, place)
        try:
            yield plane
        finally:
            plane.close()
            client.close()


def test_what_a_policy_refuses_is_said_and_done_once_it_may(plane: KubernetesPlane) -> None:
    plane.found("acme", "globex")
    labels = {"ctrlplane.dev/plane": plane.name, "ctrlplane.dev/tenant": "acme"}
    metadata = {"name": plane.namespace(), "labels": labels}
    plane.rig.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    with plane.frozen():
        done, writes = plane.pass_over()
        assert done.code == 3, done.text
        said = done.text.splitlines()[-1]
        assert said.startswith("instance/acme/web: failed") and RULE in said, said
        assert f"Deployment '{plane.namespace()}/web-v1'" in said and "the next pass" in said
        assert plane.versions("globex") == ["1"]
        refused = [
            item for item in writes if item.endswith(f"{plane.namespace()}/deployments/web-v1")
        ]
        assert len(refused) == 1
        done, writes = plane.pass_over()
        assert done.code == 1 and len(writes) == 1, writes
    assert plane.apply().code == 0
    assert plane.versions() == ["1"] and plane.names("Deployment") == ["web-v1"]
    plane.assert_settled()


def test_a_release_that_a_policy_refuses_is_not_a_bad_one(plane: KubernetesPlane) -> None:
    plane.found("acme")
    assert plane.apply().code == 0
    plane.release("acme", "2")
    with plane.frozen():
        done, writes = plane.pass_over()
        assert done.code == 4 and RULE in done.text, done.text
        assert len(writes) == 1 and plane.versions() == ["1"]
    assert plane.apply().code == 0
    assert plane.versions() == ["2"]
    plane.assert_settled()


def test_a_namespace_that_does_not_go_is_said_with_what_holds_it(plane: KubernetesPlane) -> None:
    plane.found("acme", "globex")
    assert plane.apply().code == 0
    held = {"name": "hold", "finalizers": AUDIT}
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": held}
    plane.rig.client.create(item, plane.namespace())
    plane.rig.client.delete("Namespace", plane.namespace())
    wait_until(lambda: "remaining" in str(plane.rig.client.get("Namespace", plane.namespace())))
    wait_until(lambda: not plane.names("Pod"))
    plane.release("globex", "2")
    done, writes = plane.pass_over()
    assert done.code == 3, done.text
    said = done.text.splitlines()[-1]
    assert f"namespace '{plane.namespace()}' is still being removed" in said, said
    assert "example.com/audit in 1 resource" in said and "configmaps" in said, said
    assert of_tenant(writes, plane, "acme") == [] and plane.versions("globex") == ["2"]
    # Six attempts, each of which looks whether the Deployment and the namespace are there.
    asked = [it for it in plane.front.asked if it.path == f"/api/v1/namespaces/{plane.namespace()}"]
    assert len(asked) == 6
    plane.hold("ConfigMap", "hold", None)
    wait_until(lambda: plane.namespace() not in str(plane.rig.client.list("Namespace")))
    assert plane.apply().code == 0
    assert plane.versions() == ["1"]
    plane.assert_settled()


def test_a_pod_that_somebody_keeps_holds_up_no_rollout(plane: KubernetesPlane) -> None:
    plane.found("acme", "globex")
    assert plane.apply().code == 0
    [pod] = plane.names("Pod")
    plane.hold("Pod", pod, AUDIT)
    plane.release("acme", "2")
    plane.release("globex", "2")
    done, writes = plane.pass_over()
    assert done.code == 0, done.text
    assert "DELETE" in str(writes) and plane.versions() == plane.versions("globex") == ["2"]
    plan = plane.run("plan")
    assert "No changes." in plan.out, plan.text
    assert f"Deployment {plane.namespace()}/web-v1 is still being removed" in plan.text
    assert f"pod {pod} is held by example.com/audit" in plan.text
    plane.assert_settled()
    plane.hold("Pod", pod, None)
    wait_until(lambda: plane.names("Deployment") == ["web-v2"])
    assert "still being removed" not in plane.run("plan").text


def test_a_server_that_has_too_much_to_do_is_waited_for(plane: KubernetesPlane) -> None:
    """Each kind of request is turned away a few times, as priority and fairness does."""
    plane.found("acme", "globex")
    parts = ("/deployments", "/pods", "/services", "/secrets", "/configmaps", "/namespaces/")
    plane.front.rules.extend(busy(part, times=4) for part in parts)
    done, _ = plane.pass_over()
    assert done.code == 0, done.text
    assert sum(it.status == 429 for it in plane.front.asked) == 24
    made = [it.path for it in plane.front.asked if it.status == 201]
    assert len(made) == len(set(made))
    assert plane.versions() == plane.versions("globex") == ["1"]
    plane.assert_settled()


def test_who_is_turned_away_by_priority_and_fairness_comes_back_later(
    plane: KubernetesPlane,
) -> None:
    """The real one: whatever is to be written is turned away until there are seats again."""
    plane.found("acme")

    def turned_away() -> list[Asked]:
        return [it for it in plane.front.asked if it.status == 429]

    with plane.crowded(["create", "patch", "update"]):
        plane.front.forget()
        applying = threading.Thread(target=plane.ok, args=("apply", "-y"))
        applying.start()
        wait_until(lambda: len(turned_away()) >= 2)
    applying.join(60)
    assert plane.versions() == ["1"] and plane.names("Deployment") == ["web-v1"]
    made = [it.path for it in plane.front.asked if it.status == 201]
    assert len(made) == len(set(made))
    by_path: dict[str, list[float]] = {}
    for item in turned_away():
        by_path.setdefault(item.path, []).append(item.at)
    pauses = [later - first for at in by_path.values() for first, later in pairwise(at)]
    # The server asks for a second.
    assert pauses and min(pauses) >= 1
    plane.assert_settled()


def test_who_asks_for_time_gets_it_within_the_time_there_is(plane: KubernetesPlane) -> None:
    plane.found("acme")
    # More than one call may take, so that it is the next attempt that waits.
    plane.front.rules.append(busy("/deployments/web-v1", "PATCH", times=1000, after="20"))
    began = monotonic_s()
    done = plane.apply("--timeout", "4s")
    assert done.code == 9, done.text
    assert monotonic_s() - began < 20
    assert sum(it.status == 429 for it in plane.front.asked) == 1
    plane.front.rules[:] = [busy("/deployments/web-v1", "PATCH", after="1")]
    done, _ = plane.pass_over()
    assert done.code == 0, done.text
    first, second, *_ = plane.front.find("PATCH", "/deployments/web-v1")
    assert (first.status, second.status) == (429, 201) and second.at - first.at >= 1
    assert plane.names("Deployment") == ["web-v1"]


def test_an_answer_that_is_lost_is_no_reason_to_make_anything_twice(
    plane: KubernetesPlane,
) -> None:
    """The server does what it is asked, and an error comes back."""
    plane.found("acme")
    parts = ("/deployments/web-v1", "/services", "/secrets", "/configmaps", "/serviceaccounts/")
    plane.front.rules.extend(
        Rule(part, method, status=502, is_done=True)
        for part in parts
        for method in ("PATCH", "POST")
    )
    assert plane.apply().code == 0
    assert plane.versions() == ["1"] and plane.names("Deployment") == ["web-v1"]
    assert plane.names("Service") == ["web", "web-v1"]
    plane.assert_settled()


def test_an_api_server_that_restarts_in_the_middle_makes_nothing_twice(
    plane: KubernetesPlane,
) -> None:
    """Whoever could not wait for it is said, and done by the next apply."""
    plane.found("acme", "globex")
    is_due, is_back = threading.Event(), threading.Event()

    def wait() -> None:
        is_due.set()
        is_back.wait(60)

    plane.front.rules.append(Rule("/deployments/web-v1", "PATCH", before=wait))
    process = plane.start("apply", "-y")
    assert is_due.wait(60)
    plane.rig.kill_api()
    plane.rig.start_api()
    plane.front.reconnect()
    is_back.set()
    with process:
        _, err = process.communicate(timeout=120)
    assert process.returncode in (0, 1, 3, 69), err
    again = plane.apply()
    assert again.code == 0, again.text
    made = [it.path for it in plane.front.asked if it.status == 201]
    assert len(made) == len(set(made))
    assert plane.versions() == plane.versions("globex") == ["1"]
    plane.assert_settled()


def test_what_somebody_else_writes_meanwhile_is_a_conflict_that_is_settled(
    plane: KubernetesPlane,
) -> None:
    """A real one: the version that was looked at is not the one that is there."""
    plane.found("acme")
    assert plane.apply().code == 0
    count = iter(range(100))

    def write() -> None:
        plane.rig.client.patch(
            "Deployment", "web-v1", {"metadata": {"annotations": {"note": str(next(count))}}},
            plane.namespace(),
        )  # fmt: skip

    plane.rig.kubectl("-n", plane.namespace(), "set", "image", "deployment/web-v1", "app=other:1")
    plane.front.rules.append(Rule("/deployments/web-v1", "PUT", times=2, before=write))
    done, _ = plane.pass_over()
    assert done.code == 0, done.text
    puts = plane.front.find("PUT", "/deployments/web-v1")
    assert [it.status for it in puts] == [409, 409, 200]
    plane.edit("tenants/acme.yaml", "replicas: 1", "replicas: 2")
    plane.front.rules[:] = [Rule("/deployments/web-v1", "PATCH", times=2, before=write)]
    done, _ = plane.pass_over()
    assert done.code == 0, done.text
    patches = plane.front.find("PATCH", "/deployments/web-v1")
    assert [it.status for it in patches] == [409, 409, 200]
    wait_until(lambda: plane.versions() == ["1", "1"])
    plane.assert_settled()


def test_two_applies_at_once_take_turns(plane: KubernetesPlane) -> None:
    """Two processes, each with a change of its own: the API server sees the writes of one after
    those of the other."""
    plane.found("acme", "globex")
    plane.front.rules.append(Rule("/deployments/web-v1", "PATCH", times=2, delay_s=1.0))
    environ = dict(plane.environ)
    racers: list[subprocess.Popen[str]] = []
    for name in ("first", "second"):
        plane.environ = environ | {"CTRLPLANE_KUBECONFIG": str(plane.front.login(name))}
        racers.append(plane.start("apply", "-y"))
    plane.environ = environ
    wait_until(lambda: bool(plane.front.writes()))
    impatient = plane.spawn("apply", "-y", "--lock-timeout", "0s")
    assert impatient.code == 7, impatient.text
    for process in racers:
        with process:
            _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    who = [it.who for it in plane.front.asked if it.method != "GET"]
    assert len(set(who)) == 1, "the second finds nothing to do"
    assert {it.who for it in plane.front.asked} == {"first", "second"}
    made = [it.path for it in plane.front.asked if it.status == 201]
    assert len(made) == len(set(made))
    assert plane.versions() == plane.versions("globex") == ["1"]

    plane.release("acme", "2")
    plane.front.forget()
    plane.environ = environ | {"CTRLPLANE_KUBECONFIG": str(plane.front.login("killed"))}
    doomed = plane.start("apply", "-y")
    plane.environ = environ
    wait_until(lambda: bool(plane.front.writes()))
    plane.release("globex", "2")
    os.kill(doomed.pid, signal.SIGKILL)
    done = plane.apply()
    assert done.code == 0, done.text
    order = [it.who for it in plane.front.asked if it.method != "GET"]
    assert order == sorted(order, key=lambda name: name != "killed")
    assert plane.versions() == plane.versions("globex") == ["2"]
    plane.assert_settled()


def test_a_secret_changed_by_hand_is_drift_that_shows_no_value(plane: KubernetesPlane) -> None:
    plane.found("acme")
    assert plane.apply().code == 0
    before = plane.rig.client.get("Secret", "web-v1", plane.namespace())["data"]
    change = {"data": {"token": "c2VzYW1l"}}
    plane.rig.client.patch("Secret", "web-v1", change, plane.namespace(), manager="kubectl-edit")
    plan = plane.run("plan", "--detailed-exitcode")
    assert plan.code == 2, plan.text
    assert "data.token of the Secret web-v1 (by kubectl-edit)" in plan.out
    assert plane.apply().code == 0
    assert plane.rig.client.get("Secret", "web-v1", plane.namespace())["data"] == before
    plane.assert_settled()
    said = "".join(plane.said)
    assert not any(value in said for value in ("hunter22", "sesame", "c2VzYW1l", before["token"]))
