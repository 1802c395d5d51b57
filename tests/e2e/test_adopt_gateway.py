"""A Deployment that kubectl made is adopted as it is, rolled to a release of ours, and gone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.plane import wait_until
from tests.e2e.route_kit import HOST, WEB
from tests.e2e.test_route_gateway import GatewayWorld
from tests.e2e.test_route_gateway import world as world
from tests.kubernetes.client import Client, Object

pytestmark = [pytest.mark.kubernetes, pytest.mark.traefik]
HEADER = "apiVersion: ctrlplane.dev/v1\n"
ROUTE = (
    f"---\n{HEADER}kind: Route\nmetadata: {{tenant: acme, name: shop}}\n"
    f"spec: {{instance: web, hosts: [{HOST}]}}\n"
)
STRATEGY = (
    "  strategy: {type: rolling, minReady: 0s, progressDeadline: 60s, healthyDeadline: 40s,"
    " stopTimeout: 5s, drainTimeout: 1s}\n"
)
SHOP: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "shop", "labels": {"app": "shop"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {
                "terminationGracePeriodSeconds": 10,
                "containers": [
                    {
                        "name": "main",
                        "image": "ctrlplane-test-app:1",
                        "env": [{"name": "VERSION", "value": "one"}],
                        "ports": [{"name": "http", "containerPort": 8080}],
                        "readinessProbe": {
                            "httpGet": {"path": "/healthz", "port": 8080},
                            "periodSeconds": 1,
                        },
                        "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
                    }
                ],
            },
        },
    },
}
FRONT: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "front"},
    "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": 8080}]},
}


def pods(client: Client, namespace: str) -> dict[str, int]:
    """By uid how often each has been started."""
    return {
        it["metadata"]["uid"]: it["status"]["containerStatuses"][0]["restartCount"]
        for it in client.list("Pod", namespace)
        if "deletionTimestamp" not in it["metadata"]
    }


def begin(world: GatewayWorld) -> Client:
    """Somebody's Deployment with a Service, in a namespace that is handed over."""
    world.write("")
    client = world.gateway.cluster.client
    labels = {"ctrlplane.dev/plane": world.plane, "ctrlplane.dev/tenant": "acme"}
    client.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": world.namespace, "labels": labels},
        }
    )
    client.apply(SHOP, world.namespace, manager="kubectl-client-side-apply")
    client.apply(FRONT, world.namespace, manager="kubectl-client-side-apply")

    def is_up() -> bool:
        status = client.get("Deployment", "shop", world.namespace).get("status") or {}
        return bool(status.get("availableReplicas") == 2 == status.get("updatedReplicas"))

    wait_until(is_up)
    return client


def adopt(world: GatewayWorld, *more: str) -> int:
    return world.run("adopt", f"{world.namespace}/shop", WEB, *more)


def test_an_adopted_deployment_goes_on_and_is_rolled_to_the_next_release(
    world: GatewayWorld,
) -> None:
    client = begin(world)
    before = pods(client, world.namespace)
    spec = client.get("Deployment", "shop", world.namespace)["spec"]
    assert adopt(world) == 0, world.output + world.errors
    assert "as v1 of instance/acme/web; it was not restarted" in world.output
    assert "Service front leads to its pods, and to none of the next release" in world.errors
    path = world.root / "repo" / "tenants/acme/web.yaml"
    text = path.read_text()
    assert "image: ctrlplane-test-app:1" in text and "replicas: 2" in text

    assert world.run("plan", "--detailed-exitcode") == 0, world.output
    assert "No changes." in world.output
    assert world.run("apply", "-y") == 0, world.output + world.errors
    assert world.run("plan", "--detailed-exitcode") == 0, world.output
    assert "Adopt:" not in world.output
    assert world.run("status") == 0 and "2/2" in world.output
    assert world.run("exec", WEB, "--", "sh", "-c", "exit 7") == 7, world.errors
    assert client.get("Deployment", "shop", world.namespace)["spec"] == spec
    assert pods(client, world.namespace) == before
    assert adopt(world, "--file", "again.yaml") == 64, world.output + world.errors

    text = text.replace("  instance: web\n", f"  instance: web\n{STRATEGY}") + ROUTE
    path.write_text(text)
    assert world.run("apply", "-y") == 0, world.output + world.errors
    wait_until(lambda: world.ask().startswith("one"))
    assert pods(client, world.namespace) == before

    with world.load() as met:
        path.write_text(text.replace("VERSION: one", "VERSION: two"))
        assert world.run("apply", "-y") == 0, world.output + world.errors
    assert met["failures"] == [] and set(met["answers"]) == {"one", "two"}
    names = [it["metadata"]["name"] for it in client.list("Deployment", world.namespace)]
    assert names == ["web-v2"]
    assert world.run("plan", "--detailed-exitcode") == 0, world.output


def test_a_lost_store_finds_what_was_adopted_and_scaling_it_restarts_nobody(
    world: GatewayWorld,
) -> None:
    client = begin(world)
    assert adopt(world) == 0, world.output + world.errors
    assert world.run("apply", "-y") == 0, world.output + world.errors
    before = pods(client, world.namespace)
    (world.state_dir / "state.db").unlink()
    for _ in range(2):
        assert world.run("apply", "-y") == 0, world.output + world.errors
    assert pods(client, world.namespace) == before
    path = world.root / "repo" / "tenants/acme/web.yaml"
    path.write_text(path.read_text().replace("replicas: 2", "replicas: 1"))
    assert world.run("apply", "-y") == 0, world.output + world.errors
    left = pods(client, world.namespace)
    assert len(left) == 1 and left.items() <= before.items()


def test_what_somebody_makes_of_what_was_adopted_is_named_and_taken_back(
    world: GatewayWorld,
) -> None:
    client = begin(world)
    assert adopt(world) == 0, world.output + world.errors
    assert world.run("apply", "-y") == 0, world.output + world.errors
    before = client.get("Deployment", "shop", world.namespace)["spec"]["template"]
    rig = world.gateway.cluster
    for change in (
        ("set", "image", "deployment/shop", "main=ctrlplane-test-app:2"),
        ("set", "env", "deployment/shop", "VERSION=theirs", "MORE=x"),
    ):
        done = rig.kubectl("-n", world.namespace, *change)
        assert done.returncode == 0, done.stderr
    assert world.run("plan", "--detailed-exitcode") == 2, world.output
    container = "spec.template.spec.containers[main]"
    for field in ("image", "env"):
        assert f"changed by hand: {container}.{field} (by kubectl-set)" in world.output
    assert world.run("apply", "-y") == 0, world.output + world.errors
    assert client.get("Deployment", "shop", world.namespace)["spec"]["template"] == before

    def is_settled() -> bool:
        return world.run("plan", "--detailed-exitcode") == 0

    wait_until(is_settled)
    assert len(pods(client, world.namespace)) == 2

    change = ("set", "image", "deployment/shop", "main=ctrlplane-test-app:2")
    done = rig.kubectl("-n", world.namespace, *change, "--field-manager=other-operator")
    assert done.returncode == 0, done.stderr
    assert world.run("apply", "-y") != 0
    assert f"{container}.image of Deployment shop is held by other-operator" in world.errors
    assert client.get("Deployment", "shop", world.namespace)["spec"]["template"] != before
    done = rig.kubectl("-n", world.namespace, "rollout", "undo", "deployment/shop")
    assert done.returncode == 0, done.stderr
    wait_until(is_settled)

    # What the cluster has forgotten nobody can put back, and that is said.
    client.patch("Deployment", "shop", {"spec": {"revisionHistoryLimit": 0}}, world.namespace)
    done = rig.kubectl("-n", world.namespace, *change)
    assert done.returncode == 0, done.stderr

    def is_forgotten() -> bool:
        return world.run("plan") == 0 and "was changed since it was adopted" in world.output

    wait_until(is_forgotten)


def test_what_cannot_be_taken_over_is_refused_with_every_field(world: GatewayWorld) -> None:
    client = begin(world)
    spec: dict[str, Any] = SHOP["spec"]["template"]["spec"]
    worse = spec | {
        "initContainers": [{"name": "setup", "image": "app:1"}],
        "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
    }
    item = SHOP | {"spec": SHOP["spec"] | {"template": SHOP["spec"]["template"] | {"spec": worse}}}
    client.apply(item, world.namespace)
    client.apply(FRONT | {"metadata": {"name": "web"}}, world.namespace)
    client.patch(
        "Namespace", world.namespace, {"metadata": {"labels": {"ctrlplane.dev/tenant": None}}}
    )
    assert adopt(world) == 64
    for part in (
        "initContainers[setup]", "volumes[host] (hostPath)", "nodeSelector",
        "a Service web already", "is not handed over: kubectl label namespace",
    ):  # fmt: skip
        assert part in world.errors, world.errors
    assert not (world.root / "repo" / "tenants").exists()
    labels = client.get("Deployment", "shop", world.namespace)["metadata"]["labels"]
    assert labels == {"app": "shop"}
