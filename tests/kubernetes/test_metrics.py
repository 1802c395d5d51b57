"""What pods use is said by the API while there is a metrics server, and only then."""

from __future__ import annotations

import pytest

from tests.kubernetes import isolation
from tests.kubernetes.client import ApiError, Object
from tests.kubernetes.image import Image
from tests.kubernetes.metrics import metrics_server
from tests.kubernetes.scene import Scene

pytestmark = pytest.mark.kubernetes


def usage(scene: Scene, pod: str) -> Object:
    found = scene.client.get("PodMetrics", pod, scene.namespace)
    return dict(found["containers"][0]["usage"])


def is_known(scene: Scene, pod: str) -> bool:
    return pod in {item["metadata"]["name"] for item in scene.client.list("PodMetrics")}


def test_a_test_may_say_what_a_pod_uses(scene: Scene) -> None:
    scene.deploy("said")
    pod = scene.only_pod("said")
    with metrics_server(scene.rig) as metrics:
        metrics.write(scene.namespace, pod, {"app": ("250m", "64Mi")})
        done = scene.rig.kubectl("top", "pods", "-n", scene.namespace, "-l", "app=said")
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[-3:] == [pod, "250m", "64Mi"]
    with pytest.raises(ApiError, match="404"):
        usage(scene, pod)


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
        scene.client.wait("it to be forgotten", lambda: not is_known(scene, pod))
