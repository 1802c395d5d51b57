"""Pods whose containers really run: what they are given, how they are asked, how they end."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import urllib3

from tests.kubernetes import isolation
from tests.kubernetes.image import Image
from tests.kubernetes.kubelet import reachable
from tests.kubernetes.rig import Rig
from tests.kubernetes.scene import Scene, reason, state

pytestmark = pytest.mark.kubernetes
APP = "ctrlplane-test-app:1"
SERVE = {"ports": [{"name": "http", "containerPort": 8080}]}
READY = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1}


@pytest.fixture(autouse=True)
def _able(kubernetes_rig: Rig) -> None:
    if trouble := isolation.trouble():
        pytest.skip(f"containers cannot be isolated here: {trouble}")
    kubernetes_rig.kubelet.images["shell"] = Image(is_run=True, entrypoint=("/bin/sh", "-c"))


def fetch(pod: dict[str, Any], path: str = "/") -> Any:
    url = reachable(f"http://{pod['status']['podIP']}:8080{path}")
    return urllib3.request("GET", url, timeout=5, retries=False)


def test_pods_of_one_port_answer_each_at_its_own_address(scene: Scene) -> None:
    name = {"name": "CTRLPLANE_REPLICA", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    scene.deploy("web", APP, 2, container={**SERVE, "readinessProbe": READY, "env": [name]})
    scene.settle("web")
    answers = [fetch(pod) for pod in scene.pods("web")]
    assert [answer.data for answer in answers] == [b"1", b"1"]
    assert len({answer.headers["X-Replica"] for answer in answers}) == 2


def test_only_a_probe_that_holds_makes_a_pod_ready(scene: Scene) -> None:
    container = {**SERVE, "readinessProbe": READY, "env": [{"name": "HEALTH", "value": "503"}]}
    scene.deploy("sick", APP, container=container)
    pod = scene.until_pod("sick", lambda pod: pod["status"]["phase"] == "Running")
    scene.client.wait(
        "the word of the probe",
        lambda: [
            one
            for one in scene.client.list("Event", scene.namespace)
            if one["reason"] == "Unhealthy" and "503" in one["message"]
        ],
    )
    assert (
        state(scene.client.get("Pod", pod["metadata"]["name"], scene.namespace))["ready"] is False
    )


@pytest.mark.parametrize(
    ("probe", "holds"),
    [
        ({"tcpSocket": {"port": 8080}}, True),
        ({"tcpSocket": {"port": 8081}}, False),
        ({"exec": {"command": ["test", "-e", "/etc/passwd"]}}, True),
        ({"exec": {"command": ["false"]}}, False),
    ],
)
def test_every_kind_of_probe(scene: Scene, probe: dict[str, Any], holds: bool) -> None:
    name = f"probe-{abs(hash(str(probe))) % 10**8}"
    scene.deploy(name, APP, container={**SERVE, "readinessProbe": {**probe, "periodSeconds": 1}})
    if holds:
        scene.settle(name)
    else:
        scene.until_pod(name, lambda pod: state(pod).get("started"))
        assert scene.seen(name)["status"].get("availableReplicas", 0) == 0


def test_a_failed_liveness_probe_starts_the_container_again(scene: Scene) -> None:
    probe = {"exec": {"command": ["test", "!", "-e", "/sick"]}, "periodSeconds": 1}
    container = {
        "args": ["exec sleep 100"],
        "livenessProbe": {**probe, "failureThreshold": 1},
    }
    pod = {"terminationGracePeriodSeconds": 1}
    scene.deploy("alive", "shell:1", container=container, pod=pod)
    name = scene.only_pod("alive")
    assert scene.run(name, "touch", "/sick")[0] == 0
    scene.until_pod("alive", lambda pod: state(pod)["restartCount"] == 1)
    # What was written there is gone with it.
    scene.client.wait("the new one", lambda: scene.run(name, "test", "!", "-e", "/sick")[0] == 0)


def test_what_ends_is_started_again_and_its_words_are_kept(scene: Scene) -> None:
    scene.deploy("ends", "shell:1", container={"args": ["echo once; exit 7"]})
    pod = scene.until_pod("ends", lambda pod: reason(pod) == "CrashLoopBackOff")
    assert state(pod)["lastState"]["terminated"]["exitCode"] == 7
    name = pod["metadata"]["name"]
    done = scene.rig.kubectl("logs", "-n", scene.namespace, name, "--previous")
    assert done.stdout == "once\n", done.stderr


def test_environment_of_every_source(scene: Scene) -> None:
    data = {"user": base64.b64encode(b"robot").decode()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "env"}, "data": data}
    scene.client.apply(secret, scene.namespace)
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "env"}}
    scene.client.apply({**config, "data": {"COLOR": "blue"}}, scene.namespace)
    env = [
        {"name": "WHO", "valueFrom": {"secretKeyRef": {"name": "env", "key": "user"}}},
        {"name": "GREETING", "value": "hello $(WHO), $$(WHO)"},
        {"name": "MY_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    source = [{"configMapRef": {"name": "env"}}]
    script = "echo $GREETING $COLOR $0 $MY_IP; exec sleep 100"
    container = {"command": ["sh", "-c", script, "$(WHO)"], "env": env, "envFrom": source}
    scene.deploy("env", "shell:1", container=container)
    name = scene.only_pod("env")
    ip = scene.pods("env")[0]["status"]["podIP"]
    done = scene.rig.kubectl("logs", "-n", scene.namespace, name)
    assert done.stdout == f"hello robot, $(WHO) blue robot {ip}\n"


def test_a_secret_that_is_missing_is_waited_for(scene: Scene) -> None:
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "late", "key": "a"}}}]
    scene.deploy("late", "shell:1", container={"args": ["exec sleep 100"], "env": env})
    pod = scene.until_pod("late", lambda pod: reason(pod) == "CreateContainerConfigError")
    assert 'secret "late" not found' in state(pod)["state"]["waiting"]["message"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}}
    scene.client.apply({**secret, "data": {"a": "eA=="}}, scene.namespace)
    scene.settle("late")


def test_files_are_where_they_are_mounted_with_their_modes(scene: Scene) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "files"}}
    scene.client.apply({**config, "data": {"a": "one", "b": "two"}}, scene.namespace)
    volumes = [
        {"name": "files", "configMap": {"name": "files", "defaultMode": 0o640}},
        {"name": "scratch", "emptyDir": {}},
    ]
    mounts = [
        {"name": "files", "mountPath": "/srv/conf/app.yaml", "subPath": "a"},
        {"name": "files", "mountPath": "/opt/all"},
        {"name": "scratch", "mountPath": "/var/scratch"},
    ]
    container = {"args": ["exec sleep 100"], "volumeMounts": mounts}
    scene.deploy("files", "shell:1", container=container, pod={"volumes": volumes})
    script = "cat /srv/conf/app.yaml /opt/all/b; stat -c %a /srv/conf/app.yaml; ls /opt/all"
    name = scene.only_pod("files")
    assert scene.run(name, "sh", "-c", script)[:2] == (0, "onetwo640\na\nb\n")
    assert scene.run(name, "sh", "-c", "echo x > /var/scratch/y && cat /var/scratch/y")[1] == "x\n"


def test_a_root_that_is_read_only_is_written_in_volumes_alone(scene: Scene) -> None:
    container = {
        "args": ["exec sleep 100"],
        "securityContext": {"readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "scratch", "mountPath": "/var/scratch"}],
    }
    pod = {"volumes": [{"name": "scratch", "emptyDir": {}}]}
    scene.deploy("fixed", "shell:1", container=container, pod=pod)
    name = scene.only_pod("fixed")
    code, _, err = scene.run(name, "touch", "/here", "/tmp/here", "/var/scratch/here")
    assert code and err.count("Read-only file system") == 2
    assert scene.run(name, "test", "-e", "/var/scratch/here")[0] == 0


_ASK = """
import json, os, ssl, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount"
where = os.environ["KUBERNETES_SERVICE_HOST"] + ":" + os.environ["KUBERNETES_SERVICE_PORT"]
request = urllib.request.Request(f"https://{where}/apis/authentication.k8s.io/v1/selfsubjectreviews")
request.add_header("Authorization", "Bearer " + open(folder + "/token").read())
request.add_header("Content-Type", "application/json")
request.data = json.dumps(
    {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
).encode()
context = ssl.create_default_context(cafile=folder + "/ca.crt")
with urllib.request.urlopen(request, context=context, timeout=10) as answer:
    print(json.load(answer)["status"]["userInfo"]["username"])
"""


def test_a_pod_speaks_to_its_api_server_as_its_account(scene: Scene) -> None:
    scene.deploy("account", "shell:1", container={"args": ["exec sleep 100"]})
    code, out, err = scene.run(scene.only_pod("account"), "python3", "-c", _ASK)
    assert (code, out) == (0, f"system:serviceaccount:{scene.namespace}:default\n"), err


def test_who_is_told_to_end_may_finish(scene: Scene) -> None:
    container = {
        "args": ["trap 'echo bye; sleep 0.3; exit 0' TERM; echo up; while :; do sleep 0.1; done"]
    }
    scene.deploy("bye", "shell:1", container=container)
    name = scene.only_pod("bye")
    scene.client.wait("it to be up", lambda: logs(scene, name) == "up\n")
    log = scene.rig.kubelet.log_of(scene.namespace, name, "app", False)
    scene.deploy("bye", "shell:1", 0, container=container)
    scene.client.wait("it to go", lambda: not scene.pods("bye"))
    lines = log.read(tail=None, since=None, is_follow=True, is_timed=False)
    assert list(lines) == ["up", "bye"]


def test_who_does_not_end_is_ended(scene: Scene) -> None:
    container = {"args": ["trap '' TERM; echo deaf; while :; do sleep 0.1; done"]}
    scene.deploy("deaf", "shell:1", container=container, pod={"terminationGracePeriodSeconds": 1})
    name = scene.only_pod("deaf")
    running = scene.rig.kubelet.find(scene.namespace, name).running
    assert running is not None and running.container("app").process_id
    scene.deploy("deaf", "shell:1", 0, container=container)
    scene.client.wait("it to go", lambda: not scene.pods("deaf"))
    assert running.container("app").process_id == 0


def logs(scene: Scene, pod: str) -> str:
    return scene.rig.kubectl("logs", "-n", scene.namespace, pod).stdout


def test_a_command_that_is_not_there_is_no_exit_code_of_it(scene: Scene) -> None:
    scene.deploy("missing", "shell:1", container={"args": ["exec sleep 100"]})
    code, _, err = scene.run(scene.only_pod("missing"), "no-such-program")
    assert code == 1 and "executable file not found" in err


def test_a_program_that_is_not_there_is_said_to_be_missing(scene: Scene) -> None:
    scene.deploy("absent", "shell:1", container={"command": ["/no/such/program"]})
    pod = scene.until_pod("absent", lambda pod: state(pod).get("lastState", {}).get("terminated"))
    ended = state(pod)["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert "/no/such/program" in ended["message"]
