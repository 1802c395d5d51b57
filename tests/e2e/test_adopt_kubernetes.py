"""A Deployment that somebody else made, in the words of a release."""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from ctrlplane_gitops.providers.kubernetes.foreign import describe_deployment
from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.state.template import Port
from tests.e2e.plane import Engine, Plane, wait_until
from tests.kubernetes.rig import Rig

SHOP: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "shop", "namespace": "legacy", "uid": "u"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {
                "containers": [
                    {
                        "name": "shop",
                        "image": "app:1",
                        "args": ["serve"],
                        "env": [
                            {"name": "LOG_LEVEL", "value": "info"},
                            {"name": "API_TOKEN", "value": "hunter22"},
                            {
                                "name": "DB",
                                "valueFrom": {"secretKeyRef": {"name": "shop", "key": "url"}},
                            },
                        ],
                        "ports": [{"name": "http", "containerPort": 8080}],
                        "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}},
                        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
                    }
                ]
            },
        },
    },
}


def shop(change: Callable[[dict[str, Any]], Any] = lambda spec: None) -> dict[str, Any]:
    found = copy.deepcopy(SHOP)
    change(found["spec"]["template"]["spec"])
    return found


def test_a_deployment_is_said_in_the_words_of_a_release() -> None:
    found = describe_deployment(shop())
    assert (found.name, found.image, found.command) == ("legacy/shop", "app:1", ("serve",))
    assert found.env == {"LOG_LEVEL": "info", "API_TOKEN": "hunter22"}
    assert found.references == {"DB": "the key 'url' of Secret 'shop'"}
    assert (found.ports, found.replicas) == ((Port("http", 8080),), 2)
    assert found.resources == Resources(250, 64 << 20)
    assert found.health == ({"name": "ready", "type": "http", "port": "http", "path": "/ready"},)
    assert found.obstacles == () and not found.is_autoscaled


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda it: it.update(initContainers=[{"name": "x"}]), r"initContainers\[x\]"),
        (lambda it: it["containers"].append({"name": "side"}), r"containers\[side\]"),
        (lambda it: it["containers"][0].update(command=["x"]), "command: .*entrypoint"),
        (lambda it: it["containers"][0].update(envFrom=[{}]), "envFrom"),
        (
            lambda it: it["containers"][0]["env"].append(
                {"name": "IP", "valueFrom": {"fieldRef": {}}}
            ),
            r"env\[IP\] is from fieldRef",
        ),
        (
            lambda it: it.update(volumes=[{"name": "d", "hostPath": {}}]),
            r"volumes\[d\] [(]hostPath",
        ),
        (lambda it: it.update(hostNetwork=True), "hostNetwork"),
        (lambda it: it.update(nodeSelector={"disk": "ssd"}), "nodeSelector"),
        (lambda it: it.update(tolerations=[{"operator": "Exists"}]), "tolerations"),
        (
            lambda it: it["containers"][0].update(securityContext={"privileged": True}),
            r"containers\[shop\].securityContext",
        ),
        (
            lambda it: it["containers"][0].update(lifecycle={"postStart": {"exec": {}}}),
            "lifecycle.postStart",
        ),
    ],
)
def test_what_a_release_would_lack_is_an_obstacle(change: Any, reason: str) -> None:
    [obstacle] = describe_deployment(shop(change)).obstacles
    assert re.search(reason, obstacle)


def test_every_field_that_is_in_the_way_is_named() -> None:
    def change(spec: dict[str, Any]) -> None:
        spec.update(initContainers=[{"name": "x"}], hostPID=True, affinity={"nodeAffinity": {}})

    assert len(describe_deployment(shop(change)).obstacles) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"spec": {"paused": True}}, "paused"),
        ({"spec": {"selector": {"matchExpressions": [{}]}}}, "matchExpressions"),
        ({"status": {"replicas": 3, "updatedReplicas": 1}}, "rollout of its own is under way"),
        ({"metadata": {"ownerReferences": [{"kind": "Rollout", "name": "x"}]}}, "made by Rollout"),
    ],
)
def test_a_deployment_that_is_not_free_is_not_adopted(change: Any, reason: str) -> None:
    found = shop()
    for part, fields in change.items():
        found[part] = {**found.get(part, {}), **fields}
    [obstacle] = describe_deployment(found).obstacles
    assert reason in obstacle


def test_replicas_that_an_autoscaler_decides_are_left_to_it() -> None:
    found = shop()
    found["metadata"]["managedFields"] = [
        {"manager": "kube-controller-manager", "subresource": "scale", "fieldsV1": {}}
    ]
    assert describe_deployment(found).is_autoscaled


@pytest.mark.kubernetes
def test_it_is_described_and_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
    make_plane: Callable[[Engine], Plane],
    kubernetes_rig: Rig,
) -> None:
    """It cannot be taken over, and that is said; the plan says what will be made beside it."""
    monkeypatch.setenv("CTRLPLANE_KUBECONFIG", str(kubernetes_rig.kubeconfig))
    plane = make_plane(Engine("kubernetes"))
    plane.environ["CTRLPLANE_KUBECONFIG"] = str(kubernetes_rig.kubeconfig)
    plane.begin()
    namespace = kubernetes_rig.make_namespace("legacy")
    kubernetes_rig.client.apply({**SHOP, "metadata": {"name": "shop"}}, namespace)

    def find() -> dict[str, Any]:
        return dict(kubernetes_rig.client.get("Deployment", "shop", namespace))

    # Its pods lack a Secret, so none will ever be ready; but all of them are there.
    wait_until(lambda: find().get("status", {}).get("updatedReplicas") == 2)
    before = find()["metadata"]["uid"]

    done = plane.ok("adopt", f"{namespace}/shop", "instance/acme/web")
    assert "it is left as it is" in done.out and "beside it" in done.text
    assert "hunter22" not in done.text
    text = (plane.repo / "tenants/acme/web.yaml").read_text()
    assert "hunter22" not in text and "not in the namespace of tenant acme" in text
    assert "the key 'url' of Secret 'shop'" in text
    found = find()
    assert found["metadata"]["uid"] == before and "labels" not in found["metadata"]

    values = {"ACME_WEB_API_TOKEN": secrets.token_hex(8), "ACME_WEB_DB": "x://y"}
    plan = plane.run("plan", "--detailed-exitcode", **values)
    assert plan.code == 2 and "instance/acme/web will be created" in plan.out, plan.text

    done = plane.run("adopt", f"{namespace}/nobody", "instance/acme/other")
    assert done.code == 1 and "no Deployment" in done.err, done.text
