"""What pods use is said by the API while there is a metrics server, and only then."""

from __future__ import annotations

import pytest

from tests.kubernetes import isolation
from tests.kubernetes.client import ApiError, Object
from tests.kubernetes.image import Image
from tests.kubernetes.metrics import metrics_server
from tests.kubernetes.rig import Rig
from tests.kubernetes.scene import Scene

pytestmark = pytest.mark.kubernetes


def usage(scene: Scene, pod: str) -> Object:
    found = scene.client.get("PodMetrics", pod, scene.namespace)
    return dict(found["containers"][0]["usage"])


def test_a_test_may_say_what_a_pod_uses(scene: Scene) -> None:
    scene.deploy("said")
    pod = scene.only_pod("said")
    with metrics_server(scene.rig) as metrics:
        metrics.write(scene.namespace, pod, {"app": ("250m", "64Mi")})
        done = scene.rig.kubectl("top", "pods", "-n", scene.namespace, "-l", "app=said")
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[-3:] == [pod, "250m", "64Mi"]


def test_what_a_real_container_uses_is_measured(scene: Scene) -> None:
    if trouble := isolation.trouble():
        pytest.skip(f"containers cannot be isolated here: {trouble}")
    scene.rig.kubelet.images["shell"] = Image(is_run=True, entrypoint=("/bin/sh", "-c"))
    scene.deploy("busy", "shell:1", container={"args": ["while :; do :; done"]})
    pod = scene.only_pod("busy")
    with metrics_server(scene.rig):
        scene.client.wait("a figure", lambda: int(usage(scene, pod)["cpu"].rstrip("n")) > 10**6)
        assert int(usage(scene, pod)["memory"].removesuffix("Ki")) > 100
        scene.deploy("busy", "shell:1", 0)
        scene.client.wait("it to be forgotten", lambda: not scene.client.list("PodMetrics"))


def test_without_a_metrics_server_there_is_no_such_group(kubernetes_rig: Rig) -> None:
    def is_absent() -> bool:
        try:
            kubernetes_rig.client.list("PodMetrics")
        except ApiError as refused:
            return refused.status == 404
        return False

    kubernetes_rig.client.wait("the group to be gone", is_absent, 30)
