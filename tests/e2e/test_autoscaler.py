"""``replicas: {owner: autoscaler}``, with an autoscaler and the controller that heeds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.plane import Engine, Plane, wait_until
from tests.kubernetes.metrics import Metrics, metrics_server
from tests.kubernetes.rig import Rig

pytestmark = pytest.mark.kubernetes
WEB, FILE = "instance/acme/web", "tenants/acme.yaml"
SPECS = """\
apiVersion: ctrlplane.dev/v1
kind: Tenant
metadata: {name: acme}
spec: {suspended: false}
---
apiVersion: ctrlplane.dev/v1
kind: Instance
metadata: {tenant: acme, name: web}
spec:
  replicas: {owner: autoscaler, initial: 1}
  resources: {cpu: 500m}
  ports: [{name: http, port: 8080}]
---
apiVersion: ctrlplane.dev/v1
kind: Deployment
metadata: {tenant: acme, name: web}
spec:
  instance: web
  image: app:1
  strategy:
    {type: rolling, minReady: 0s, healthyDeadline: 20s, progressDeadline: 40s, stopTimeout: 2s}
"""


class Scaled:
    """An instance, and an autoscaler for it as somebody would write it."""

    def __init__(self, plane: Plane, rig: Rig) -> None:
        self.plane, self.rig = plane, rig
        self.namespace = f"{plane.name}-acme"
        self.labels = {
            "ctrlplane.dev/plane": plane.name,
            "ctrlplane.dev/tenant": "acme",
            "ctrlplane.dev/instance": "web",
        }

    def make_autoscaler(self) -> None:
        metric = {
            "type": "Resource",
            "resource": {
                "name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 50},
            },
        }
        item = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "load", "labels": self.labels},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 2,
                "maxReplicas": 6,
                "metrics": [metric],
            },
        }
        self.rig.client.apply(item, self.namespace, manager="kubectl")

    @property
    def autoscaler(self) -> dict[str, Any]:
        return self.rig.client.get("HorizontalPodAutoscaler", "load", self.namespace)

    @property
    def target(self) -> str:
        return str(self.autoscaler["spec"]["scaleTargetRef"]["name"])

    def pods(self) -> list[str]:
        """Those that are to stay."""
        found = self.rig.client.list("Pod", self.namespace)
        return [it["metadata"]["name"] for it in found if "deletionTimestamp" not in it["metadata"]]

    def replicas(self, name: str) -> int:
        found = self.rig.client.get("Deployment", name, self.namespace)
        return int(found["spec"]["replicas"])

    def load(self, metrics: Metrics, cpu: str) -> None:
        for pod in self.pods():
            metrics.write(self.namespace, pod, {"app": (cpu, "32Mi")})

    def apply(self, before: str, after: str) -> list[int]:
        """How many pods there were at each effect."""
        self.plane.edit(FILE, before, after)
        counts: list[int] = []
        done = self.plane.run("apply", "-y", on_effect=lambda _: counts.append(len(self.pods())))
        assert done.code == 0, done.text
        return counts


@pytest.fixture
def scaled(make_plane: Callable[[Engine], Plane], kubernetes_rig: Rig) -> Scaled:
    environ = {"CTRLPLANE_KUBECONFIG": str(kubernetes_rig.kubeconfig)}
    plane = make_plane(Engine("kubernetes", environ=environ))
    plane.begin()
    plane.write(FILE, SPECS)
    plane.commit()
    assert plane.apply().code == 0
    return Scaled(plane, kubernetes_rig)


def test_a_real_autoscaler_is_followed_shown_and_never_fought(scaled: Scaled) -> None:
    plane = scaled.plane
    assert scaled.replicas("web-v1") == 1
    plane.assert_settled()
    scaled.make_autoscaler()
    plan = plane.run("plan", "--detailed-exitcode")
    assert plan.code == 2 and "HorizontalPodAutoscaler load acts on web" in plan.out, plan.text
    assert plane.apply().code == 0
    assert scaled.target == "web-v1"

    with metrics_server(scaled.rig) as metrics:
        wait_until(lambda: scaled.replicas("web-v1") == 2)
        wait_until(lambda: len(scaled.pods()) == 2)
        # Nine tenths of what they may use, where a half is aimed at.
        scaled.load(metrics, "450m")
        wait_until(lambda: scaled.replicas("web-v1") == 4)
        wait_until(lambda: len(scaled.pods()) == 4)
        plane.assert_settled()
        plan = plane.ok("plan")
        assert f"{WEB}   replicas: 4 (autoscaler)" in plan.out, plan.out
        assert "decided by kube-controller-manager" in plan.out
        shown = plane.status()[WEB]["replicas"]
        assert shown == {"desired": 4, "ready": 4, "owner": "autoscaler"}
        assert "4/4 (autoscaler)" in plane.ok("status").out

        for image, kind in (("app:2", "rolling"), ("app:3", "blueGreen")):
            release = image[-1]
            if kind == "blueGreen":
                plane.edit(
                    FILE, "{type: rolling,", "{type: blueGreen, blueGreen: {scaleDownDelay: 0s},"
                )
            counts = scaled.apply(f"app:{int(release) - 1}", image)
            assert min(counts) >= 4 and max(counts) <= (5 if kind == "rolling" else 8), counts
            assert scaled.target == f"web-v{release}"
            assert scaled.replicas(f"web-v{release}") == 4
            plane.assert_settled()

    scaled.apply("suspended: false", "suspended: true")
    assert scaled.pods() == []
    plane.assert_settled()
    scaled.apply("suspended: true", "suspended: false")
    wait_until(lambda: scaled.replicas("web-v3") == 2)
    wait_until(lambda: len(scaled.pods()) == 2)
    plane.assert_settled()


def test_an_instance_is_handed_to_an_autoscaler_that_is_there_and_taken_back(
    scaled: Scaled,
) -> None:
    plane = scaled.plane
    scaled.apply("{owner: autoscaler, initial: 1}", "1")
    scaled.make_autoscaler()
    plane.assert_settled()
    scaled.apply("replicas: 1", "replicas: {owner: autoscaler, initial: 1}")
    assert scaled.target == "web-v1"
    plane.assert_settled()
    with metrics_server(scaled.rig):
        wait_until(lambda: scaled.replicas("web-v1") == 2)
        wait_until(lambda: len(scaled.pods()) == 2)
        plane.assert_settled()
    scaled.rig.client.delete("HorizontalPodAutoscaler", "load", scaled.namespace)
    scaled.apply("{owner: autoscaler, initial: 1}", "2")
    found = scaled.rig.client.get("Deployment", "web-v1", scaled.namespace)
    assert "ctrlplane.dev/autoscaled" not in found["metadata"]["annotations"]
    plane.assert_settled()
