"""``quota: mirror``: a tenant's namespace has a ResourceQuota with its quota, and no other has."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.plane import Engine, Plane
from tests.kubernetes.rig import Rig

pytestmark = pytest.mark.kubernetes
WEB, FILE, CONTROL = "instance/acme/web", "tenants/acme.yaml", "ctrlplane.yaml"
SPECS = """\
apiVersion: ctrlplane.dev/v1
kind: Tenant
metadata: {name: acme}
spec: {quota: {cpu: "1", memory: 256Mi, disk: 2Gi, instances: 3}}
---
apiVersion: ctrlplane.dev/v1
kind: Instance
metadata: {tenant: acme, name: web}
spec:
  replicas: 2
  resources: {cpu: 500m, memory: 128Mi}
  volumes: [{name: data, path: /data, size: 1Gi}]
---
apiVersion: ctrlplane.dev/v1
kind: Deployment
metadata: {tenant: acme, name: web}
spec:
  instance: web
  image: app:1
  strategy:
    {type: rolling, rolling: {maxSurge: 0, maxUnavailable: 1}, minReady: 0s,
     healthyDeadline: 20s, progressDeadline: 40s, stopTimeout: 2s}
"""


@pytest.fixture
def plane(make_plane: Callable[[Engine], Plane], kubernetes_rig: Rig) -> Plane:
    environ = {"CTRLPLANE_KUBECONFIG": str(kubernetes_rig.kubeconfig)}
    plane = make_plane(Engine("kubernetes", {"quota": "mirror"}, environ))
    plane.begin()
    plane.write(FILE, SPECS)
    plane.commit()
    return plane


def quotas(rig: Rig, plane: Plane) -> list[dict[str, Any]]:
    found = rig.client.list("ResourceQuota", f"{plane.name}-acme")
    return [dict(item["spec"]["hard"]) for item in found]


def test_a_quota_is_mirrored_follows_git_is_repaired_and_taken_away(
    plane: Plane, kubernetes_rig: Rig
) -> None:
    done = plane.apply()
    assert done.code == 0, done.text
    whole = {"limits.cpu": "1", "limits.memory": "268435456", "requests.storage": "2147483648"}
    assert quotas(kubernetes_rig, plane) == [whole]
    plane.assert_settled()

    # A whole rollout fits, as it does into the quota of the specs.
    plane.edit(FILE, "app:1", "app:2")
    done = plane.apply()
    assert done.code == 0, done.text
    plane.assert_settled()

    plane.edit(FILE, 'cpu: "1"', 'cpu: "2"')
    assert plane.apply().code == 0
    assert quotas(kubernetes_rig, plane) == [whole | {"limits.cpu": "2"}]
    plane.assert_settled()

    change = json.dumps({"spec": {"hard": {"limits.cpu": "9", "pods": "1"}}})
    where = ("-n", f"{plane.name}-acme", "resourcequota/ctrlplane-quota")
    done_by_hand = kubernetes_rig.kubectl("patch", *where, "--type=merge", "-p", change)
    assert done_by_hand.returncode == 0, done_by_hand.stderr
    plan = plane.run("plan", "--detailed-exitcode")
    assert plan.code == 2 and "cpu 9" in plan.out and "(by kubectl" in plan.out, plan.text
    assert plane.apply().code == 0
    assert quotas(kubernetes_rig, plane) == [whole | {"limits.cpu": "2"}]
    plane.assert_settled()

    plane.edit(CONTROL, '"quota": "mirror"', '"quota": "none"')
    assert plane.apply().code == 0
    assert quotas(kubernetes_rig, plane) == []
    plane.assert_settled()


def test_what_a_quota_refuses_is_said_with_the_pods_name(plane: Plane, kubernetes_rig: Rig) -> None:
    """Somebody else has pods in the namespace."""
    plane.edit(FILE, "replicas: 2", "replicas: 1")
    assert plane.apply().code == 0
    limits = {"limits": {"cpu": "600m", "memory": "64Mi"}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "theirs"},
        "spec": {"containers": [{"name": "app", "image": "app:1", "resources": limits}]},
    }
    plane.edit(FILE, 'cpu: "1"', "cpu: 1500m")
    assert plane.apply().code == 0
    kubernetes_rig.client.create(pod, f"{plane.name}-acme")
    plane.edit(FILE, "replicas: 1", "replicas: 2")
    plane.edit(FILE, "healthyDeadline: 20s", "healthyDeadline: 4s")
    done = plane.apply()
    assert done.code != 0, done.text
    assert "exceeded quota: ctrlplane-quota" in plane.ok("status").out
    assert 'pods "web-v1-' in plane.ok("status").out


def test_a_namespace_that_was_handed_over_is_left_as_it_is(
    plane: Plane, kubernetes_rig: Rig
) -> None:
    labels = {"ctrlplane.dev/plane": plane.name, "ctrlplane.dev/tenant": "acme"}
    metadata = {"name": f"{plane.name}-acme", "labels": labels}
    kubernetes_rig.client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    assert plane.apply().code == 0
    assert quotas(kubernetes_rig, plane) == []
    plane.assert_settled()
