"""The same promises where a replica is a pod: on a real API server, with pods that really run."""

from __future__ import annotations

import itertools
import re
import secrets
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ctrlplane_gitops.state.observed import ReplicaPhase
from tests.e2e.crash_kit import ApartWorld, CrashWorld, Runtime
from tests.e2e.plane import Engine, Plane, wait_until
from tests.e2e.serve_kit import RARELY, Serve, serving
from tests.e2e.test_crash import SCENARIOS, sweep
from tests.kubernetes import isolation
from tests.kubernetes.kubelet import reachable
from tests.kubernetes.rig import Rig

pytestmark = pytest.mark.kubernetes
WEB = "instance/acme/web"
FILE = "tenants/acme.yaml"


@pytest.fixture
def kube(make_plane: Callable[[Engine], Plane], kubernetes_rig: Rig) -> Plane:
    if trouble := isolation.trouble():
        pytest.skip(f"containers cannot be isolated here: {trouble}")
    return make_plane(
        Engine("kubernetes", environ={"CTRLPLANE_KUBECONFIG": str(kubernetes_rig.kubeconfig)})
    )


@pytest.fixture
def running(kube: Plane) -> Plane:
    kube.begin("acme", replicas=2)
    done = kube.apply()
    assert done.code == 0, done.text
    return kube


def answers(rig: Rig, plane: Plane, tenant: str = "acme") -> list[str]:
    """What each pod that is ready answers."""
    found = []
    for pod in rig.client.list("Pod", f"{plane.name}-{tenant}"):
        conditions = pod["status"].get("conditions") or ()
        is_ready = any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
        if is_ready and "deletionTimestamp" not in pod["metadata"]:
            url = reachable(f"http://{pod['status']['podIP']}:8080/")
            with urllib.request.urlopen(url, timeout=5) as response:
                found.append(response.read().decode().strip())
    return found


def kubectl(rig: Rig, plane: Plane, *arguments: str) -> None:
    done = rig.kubectl("-n", f"{plane.name}-acme", *arguments)
    assert done.returncode == 0, done.stderr


@dataclass(slots=True)
class Watch:
    """Of each look: how many replicas there were, how many were ready, of which releases."""

    looks: list[tuple[int, int, frozenset[int]]] = field(default_factory=list)


@contextmanager
def watching(plane: Plane) -> Iterator[Watch]:
    watch, is_over = Watch(), threading.Event()

    def keep_looking() -> None:
        with plane.provider() as provider:
            while not is_over.wait(0.02):
                sets = provider.observe().replica_sets
                live = [(item.release, it) for item in sets for it in item.live]
                ready = sum(
                    it.phase is ReplicaPhase.RUNNING and it.verdict is not None
                    and it.verdict.is_ready for _, it in live
                )  # fmt: skip
                watch.looks.append((len(live), ready, frozenset(number for number, _ in live)))

    thread = threading.Thread(target=keep_looking)
    thread.start()
    try:
        yield watch
    finally:
        is_over.set()
        thread.join()


def test_what_was_applied_runs_and_three_passes_more_do_nothing(
    running: Plane, kubernetes_rig: Rig
) -> None:
    assert answers(kubernetes_rig, running) == ["Hello from acme, version 1"] * 2
    status = running.status()[WEB]
    assert (status["phase"], status["replicas"]) == (
        "running",
        {"desired": 2, "ready": 2, "owner": "specs"},
    )
    for _ in range(3):
        running.assert_settled()
    assert "version 1 listens" in running.ok("logs", WEB).out
    assert running.run("exec", WEB, "--", "sh", "-c", "exit 7").code == 7


def test_a_tenant_that_goes_leaves_nothing(running: Plane, kubernetes_rig: Rig) -> None:
    done = running.run("destroy", "-y")
    assert done.code == 0, done.text
    assert running.replicas() == {}

    def is_gone() -> bool:
        found = kubernetes_rig.client.list("Namespace")
        names = [it["metadata"]["name"] for it in found if it["status"]["phase"] == "Active"]
        return f"{running.name}-acme" not in names

    wait_until(is_gone)


@pytest.mark.parametrize(
    ("strategy", "most", "fewest"),
    [
        ("type: rolling, rolling: {maxSurge: 1}", 3, 2),
        ("type: rolling, rolling: {maxSurge: 0, maxUnavailable: 1}", 2, 1),
        ("type: blueGreen, blueGreen: {scaleDownDelay: 0s}", 4, 2),
        ("type: recreate", 2, 0),
    ],
)
def test_a_strategy_keeps_its_promise(
    running: Plane, kubernetes_rig: Rig, strategy: str, most: int, fewest: int
) -> None:
    running.edit(FILE, "{type: rolling, ", f"{{{strategy}, ")
    running.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')
    with watching(running) as watch:
        done = running.apply()
    assert done.code == 0, done.text
    assert min(ready for _, ready, _ in watch.looks) >= fewest
    assert max(count for count, _, _ in watch.looks) <= most
    mixes = {releases for _, _, releases in watch.looks}
    assert (frozenset({1, 2}) in mixes) is (strategy != "type: recreate")
    assert answers(kubernetes_rig, running) == ["Hello from acme, version 2"] * 2
    running.assert_settled()


def test_a_release_that_never_becomes_ready_is_rolled_back(
    running: Plane, kubernetes_rig: Rig
) -> None:
    before = running.identities()
    running.edit(FILE, "healthyDeadline: 20s", "healthyDeadline: 6s")
    running.edit(FILE, 'VERSION: "1"', 'VERSION: "2", HEALTH: "503"')
    done = running.apply()
    assert done.code == 4, done.text
    assert running.identities() == before
    assert answers(kubernetes_rig, running) == ["Hello from acme, version 1"] * 2
    assert running.status()[WEB]["phase"] == "rolledBack"
    again = running.apply()
    assert (again.code, again.effects) == (4, ())


def test_an_image_that_cannot_be_pulled_is_the_reason(running: Plane) -> None:
    running.edit(FILE, "healthyDeadline: 20s", "healthyDeadline: 6s")
    running.edit(FILE, "ctrlplane-test-app:1", "nosuch:1")
    done = running.apply()
    assert done.code == 4, done.text
    assert "ImagePullBackOff" in done.text and "pod web-v2-" in done.text


def test_going_back_is_a_release_of_its_own(running: Plane, kubernetes_rig: Rig) -> None:
    running.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')
    assert running.apply().code == 0
    done = running.run("rollback", "-y", WEB)
    assert done.code == 0, done.text
    assert answers(kubernetes_rig, running) == ["Hello from acme, version 1"] * 2


def test_a_rollout_that_is_aborted_leaves_what_was_there(
    running: Plane, kubernetes_rig: Rig
) -> None:
    before = running.identities()
    running.edit(FILE, "{type: rolling, ", "{type: blueGreen, blueGreen: {autoPromote: false}, ")
    running.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')
    assert running.apply().code == 10
    assert sorted(answers(kubernetes_rig, running))[-1] == "Hello from acme, version 2"
    done = running.run("abort", WEB)
    assert done.code == 0, done.text
    assert running.identities() == before
    assert answers(kubernetes_rig, running) == ["Hello from acme, version 1"] * 2


def test_drift_that_is_to_be_observed_is_shown_and_left_by_serve(
    running: Plane, kubernetes_rig: Rig
) -> None:
    running.edit(FILE, "{displayName:", "{drift: observe, displayName:")
    assert running.apply().code == 0
    with serving(running, "--poll", "1h", "--interval", "1s") as serve:
        serve.wait_for("pass unchanged", "everything")
        kubectl(kubernetes_rig, running, "scale", "deployment/web-v1", "--replicas=3")
        wait_until(lambda: bool(running.events("drift.detected")))
        [event] = running.events("drift.detected")
        assert event["address"] == WEB and "spec.replicas (by kubectl)" in event["message"]
        assert len(running.replicas()) == 3


def count_lists(rig: Rig) -> dict[str, str]:
    """How often everything of a kind was listed that looks are about, by whomever."""
    text = rig.client.text("/metrics")
    return {
        name: number
        for line in text.splitlines()
        for name, _, number in [line.rpartition(" ")]
        if name.startswith("apiserver_request_total{") and 'verb="LIST"' in name
        if re.search('resource="(deployments|pods|services)"', name)
    }


def test_serve_is_told_what_somebody_changes_and_asks_for_nothing_while_nobody_does(
    running: Plane, kubernetes_rig: Rig
) -> None:
    with serving(running, *RARELY) as serve:
        serve.wait_for("pass unchanged", "everything")
        kubectl(kubernetes_rig, running, "scale", "deployment/web-v1", "--replicas=4")
        wait_until(lambda: bool(running.events("instance.repaired")))
        assert len(running.replicas()) == 2
        kubectl(kubernetes_rig, running, "delete", "service", "web-v1")
        wait_until(lambda: len(running.events("instance.repaired")) == 2)
        kubectl(kubernetes_rig, running, "get", "service", "web-v1")
    with serving(running, "--poll", "1h", "--interval", "1s") as serve:
        serve.wait_for("pass unchanged", "everything")

        def is_silent(passes: int) -> bool:
            """Whether nobody lists anything while so many passes are made."""
            before, end = count_lists(kubernetes_rig), count_passes(serve) + passes
            wait_until(lambda: count_passes(serve) >= end)
            return count_lists(kubernetes_rig) == before

        wait_until(lambda: is_silent(1))
        effects = running.events("instance.")
        assert is_silent(3)
        assert running.events("instance.") == effects


def count_passes(serve: Serve) -> float:
    found = serve.figures().items()
    return sum(number for name, number in found if name.startswith("ctrlplane_passes_total"))


def test_what_kubectl_has_scaled_is_drift_with_a_name(running: Plane, kubernetes_rig: Rig) -> None:
    kubectl(kubernetes_rig, running, "scale", "deployment/web-v1", "--replicas=4")
    wait_until(lambda: len(running.replicas()) == 4)
    plan = running.run("plan", "--detailed-exitcode")
    assert plan.code == 2
    assert "replicas 2 -> 4" in plan.out and "spec.replicas (by kubectl)" in plan.out
    assert running.apply().code == 0
    assert len(running.replicas()) == 2
    running.assert_settled()


def test_an_image_set_by_hand_is_drift_and_is_put_back(running: Plane, kubernetes_rig: Rig) -> None:
    kubectl(kubernetes_rig, running, "set", "image", "deployment/web-v1", "app=other:1")
    plan = running.run("plan", "--detailed-exitcode")
    assert plan.code == 2 and "image (by kubectl-set)" in plan.out, plan.out
    done = running.apply()
    assert done.code == 0 and done.effects, done.text
    wait_until(lambda: len(answers(kubernetes_rig, running)) == 2)
    running.assert_settled()


def test_a_deleted_service_is_drift_and_is_made_again(running: Plane, kubernetes_rig: Rig) -> None:
    kubectl(kubernetes_rig, running, "delete", "service", "web-v1")
    plan = running.run("plan", "--detailed-exitcode")
    assert plan.code == 2 and "the Service web-v1 is gone" in plan.out
    assert running.apply().code == 0
    kubectl(kubernetes_rig, running, "get", "service", "web-v1")
    running.assert_settled()


def test_a_lost_store_is_written_anew_from_what_runs(running: Plane) -> None:
    before = running.identities()
    for path in (running.state / running.name).glob("state.db*"):
        path.unlink()
    done = running.apply()
    assert (done.code, done.effects) == (0, ()), done.text
    assert running.identities() == before
    running.assert_settled()


def test_an_api_server_that_is_gone_is_a_gap_and_comes_back(
    running: Plane, kubernetes_rig: Rig
) -> None:
    kubernetes_rig.kill_api()
    try:
        plan = running.run("plan")
        assert "did not answer" in plan.text
        running.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')
        assert running.apply("--timeout", "2s").code != 0
    finally:
        kubernetes_rig.start_api()
    done = running.apply()
    assert done.code == 0, done.text
    running.assert_settled()


# Pods that only say they run.
CRASHING = Runtime("{type: kubernetes}", "{type: kubernetes}", "image: 'app:1'")


@pytest.fixture
def crash_world(kubernetes_rig: Rig, tmp_path: Path) -> Iterator[Callable[[], CrashWorld]]:
    """Worlds of their own: nobody waits for a namespace to go."""
    worlds: list[CrashWorld] = []

    def make() -> CrashWorld:
        name = f"crash-{secrets.token_hex(3)}"
        environ = {"CTRLPLANE_KUBECONFIG": str(kubernetes_rig.kubeconfig)}
        worlds.append(ApartWorld(tmp_path / name, CRASHING, name, environ))
        return worlds[-1]

    yield make
    for world in worlds:
        world.run("destroy", "-y")


@pytest.mark.parametrize("name", ["new release", "scale down"])
def test_whoever_is_killed_at_an_effect_is_gone_on_from(
    crash_world: Callable[[], CrashWorld], name: str
) -> None:
    [scenario] = [item for item in SCENARIOS if item.name == name]
    assert sweep(crash_world(), scenario, itertools.count(1)) > 2


def test_whoever_is_killed_making_the_first_release_is_gone_on_from(
    crash_world: Callable[[], CrashWorld],
) -> None:
    [scenario] = [item for item in SCENARIOS if item.name == "first apply"]
    # Every second moment is before an effect; after it is as before the next.
    for number in itertools.count(1, 2):
        world = crash_world()
        if not sweep(world, scenario, iter([number])):
            break
    assert number > 10
