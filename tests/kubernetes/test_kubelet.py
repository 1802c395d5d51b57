"""Deployments really roll out, and fail as they are told to, on nodes that only say so."""

from __future__ import annotations

import pytest

from tests.kubernetes.client import ApiError
from tests.kubernetes.scene import Scene, reason, state
from tests.kubernetes.spec import condition

pytestmark = pytest.mark.kubernetes


def test_a_deployment_of_three_becomes_available(scene: Scene) -> None:
    scene.deploy("three", replicas=3)
    scene.settle("three")
    pods = scene.pods("three")
    assert [pod["status"]["phase"] for pod in pods] == ["Running"] * 3
    assert len({pod["status"]["podIP"] for pod in pods}) == 3
    assert all(condition(pod, "PodScheduled")[0] == "True" for pod in pods)


def test_an_update_replaces_every_pod_and_ends_the_old_ones(scene: Scene) -> None:
    scene.deploy("update", replicas=2)
    scene.settle("update")
    scene.deploy("update", "app:2", replicas=2)
    scene.settle("update")
    scene.client.wait("the old pods to go", lambda: len(scene.pods("update")) == 2)
    assert {pod["spec"]["containers"][0]["image"] for pod in scene.pods("update")} == {"app:2"}


def test_an_image_that_cannot_be_pulled_fails_the_rollout_at_its_deadline(scene: Scene) -> None:
    scene.deploy("pull", "nosuch:1", progressDeadlineSeconds=1, minReadySeconds=0)
    pod = scene.until_pod("pull", lambda pod: reason(pod) == "ImagePullBackOff")
    assert "nosuch:1" in state(pod)["state"]["waiting"]["message"]
    scene.client.wait(
        "the deadline",
        lambda: (
            condition(scene.seen("pull"), "Progressing") == ("False", "ProgressDeadlineExceeded")
        ),
    )


def test_a_crash_is_counted_and_backed_off(scene: Scene) -> None:
    scene.deploy("crash", annotations={"rig.ctrlplane.dev/fault": "crash"})
    pod = scene.until_pod(
        "crash",
        lambda pod: reason(pod) == "CrashLoopBackOff" and state(pod)["restartCount"] >= 2,
    )
    assert state(pod)["lastState"]["terminated"]["exitCode"] == 1


def test_a_pod_that_is_never_ready_keeps_the_old_one(scene: Scene) -> None:
    scene.deploy("slow")
    scene.settle("slow")
    scene.deploy("slow", "app:2", annotations={"rig.ctrlplane.dev/ready-after": "never"})
    scene.client.wait("the new pod", lambda: len(scene.pods("slow")) == 2)
    new = scene.until_pod("slow", lambda pod: state(pod).get("image") == "app:2")
    assert (new["status"]["phase"], state(new)["ready"]) == ("Running", False)
    assert scene.seen("slow")["status"]["availableReplicas"] == 1


def test_a_job_completes(scene: Scene) -> None:
    container = {"name": "app", "image": "job:1"}
    scene.client.create(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "once"},
            "spec": {
                "template": {"spec": {"containers": [container], "restartPolicy": "Never"}},
            },
        },
        scene.namespace,
    )
    scene.client.wait(
        "the job",
        lambda: condition(scene.client.get("Job", "once", scene.namespace), "Complete")[0],
    )


def test_logs_are_read_through_the_api_server(scene: Scene) -> None:
    scene.deploy("logs")
    scene.settle("logs")
    name = scene.pods("logs")[0]["metadata"]["name"]
    done = scene.rig.kubectl("logs", "-n", scene.namespace, name, "--timestamps")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(" app:1 says it runs\n") and done.stdout[:2] == "20"


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_ends_with_its_exit_code(scene: Scene, code: int) -> None:
    scene.deploy("exec")
    scene.settle("exec")
    name = scene.pods("exec")[0]["metadata"]["name"]
    script = f"echo out; echo err >&2; exit {code}"
    done = scene.rig.kubectl("exec", "-n", scene.namespace, name, "--", "sh", "-c", script)
    assert done.returncode == code, done.stderr
    assert done.stdout == "out\n" and done.stderr.startswith("err\n")


def test_a_user_may_do_what_its_rules_say_and_nothing_more(scene: Scene) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    access = scene.rig.make_user("reader", rules)
    done = scene.rig.kubectl("get", "pods", "-n", scene.namespace, access=access)
    assert done.returncode == 0, done.stderr
    done = scene.rig.kubectl("get", "secrets", "-n", scene.namespace, access=access)
    assert done.returncode == 1 and "Forbidden" in done.stderr


def test_an_api_server_that_was_killed_comes_back_with_all_it_knew(scene: Scene) -> None:
    scene.deploy("chaos")
    scene.settle("chaos")
    scene.rig.kill_api()
    with pytest.raises(scene.client.BROKEN):
        scene.seen("chaos")
    scene.rig.start_api()
    scene.deploy("chaos", replicas=2)
    scene.settle("chaos")


def test_an_endpoint_on_loopback_is_refused(scene: Scene) -> None:
    """Why what the API says of a pod's address differs from where it is reached."""
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "loopback"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.244.0.1"]}],
    }
    with pytest.raises(ApiError, match="loopback"):
        scene.client.create(slice_, scene.namespace)


def test_resources_are_changed_in_place(scene: Scene) -> None:
    small = {"requests": {"memory": "64Mi"}, "limits": {"memory": "128Mi"}}
    scene.deploy("resize", container={"resources": small})
    pod = scene.only_pod("resize")
    big = {"requests": {"memory": "96Mi"}, "limits": {"memory": "256Mi"}}
    change = {"spec": {"containers": [{"name": "app", "image": "app:1", "resources": big}]}}
    scene.client.patch("Pod", pod, change, scene.namespace, part="resize")
    found = scene.until_pod(
        "resize", lambda pod: state(pod).get("resources", {}).get("limits") == big["limits"]
    )
    assert (found["metadata"]["name"], state(found)["restartCount"]) == (pod, 0)


def test_a_watch_that_is_lost_begins_again(scene: Scene) -> None:
    watch = scene.client.watch("ConfigMap", labelSelector="watched=yes")
    seen = iter(watch)
    try:
        assert next(seen)[0] == "LISTED"
        scene.rig.kill_api()
        scene.rig.start_api()
        item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "watched"}}
        item["metadata"]["labels"] = {"watched": "yes"}
        scene.client.apply(item, scene.namespace)
        verbs = []
        for verb, found in seen:
            verbs.append(verb)
            if verb == "ADDED" and found["metadata"]["name"] == "watched":
                break
        assert verbs[-1] == "ADDED"
    finally:
        watch.close()
