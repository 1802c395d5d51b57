"""Claims are bound, and outlive the pods that use them."""

from __future__ import annotations

import pytest

from tests.kubernetes import isolation
from tests.kubernetes.image import Image
from tests.kubernetes.scene import Scene

pytestmark = pytest.mark.kubernetes


def claim(scene: Scene, name: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    head = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}}
    scene.client.apply({**head, "spec": spec}, scene.namespace)


def test_a_disk_outlives_its_pod_and_goes_with_its_claim(scene: Scene) -> None:
    if trouble := isolation.trouble():
        pytest.skip(f"containers cannot be isolated here: {trouble}")
    scene.rig.kubelet.images["shell"] = Image(is_run=True, entrypoint=("/bin/sh", "-c"))
    claim(scene, "disk")
    container = {
        "args": ["exec sleep 100"],
        "volumeMounts": [{"name": "data", "mountPath": "/srv/data"}],
    }
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "disk"}}
    scene.deploy("disk", "shell:1", container=container, pod={"volumes": [volume]})
    first = scene.only_pod("disk")
    assert scene.run(first, "sh", "-c", "echo kept > /srv/data/note")[0] == 0
    scene.client.delete("Pod", first, scene.namespace, gracePeriodSeconds=1)
    second = scene.until_pod(
        "disk",
        lambda pod: (
            pod["metadata"]["name"] != first
            and pod["status"].get("containerStatuses", [{}])[0].get("ready")
        ),
    )["metadata"]["name"]
    assert scene.run(second, "cat", "/srv/data/note")[:2] == (0, "kept\n")
    found = scene.client.get("PersistentVolumeClaim", "disk", scene.namespace)
    volume_name = found["spec"]["volumeName"]
    path = scene.client.get("PersistentVolume", volume_name)["spec"]["hostPath"]["path"]
    assert path.startswith(str(scene.rig.root))
    scene.client.delete("PersistentVolumeClaim", "disk", scene.namespace)
    scene.deploy("disk", "shell:1", 0, container=container, pod={"volumes": [volume]})

    def is_gone() -> bool:
        volumes = scene.client.list("PersistentVolume")
        return volume_name not in {item["metadata"]["name"] for item in volumes}

    scene.client.wait("the disk to go", is_gone)
