"""Routed rollouts of pods: a real API server, pods that really run, and a Gateway that routes."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ctrlplane_gitops.network.registry import build_router
from ctrlplane_gitops.network.router import Router, RouterSettings
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.registry import build_provider
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.state.observed import ObservedReplica
from tests.e2e.crash_kit import Runtime
from tests.e2e.plane import wait_until
from tests.e2e.route_kit import HOST, PROCESS, WEB, RouteWorld, Routing, app, assert_settled
from tests.e2e.test_route_certificate import own_anchor, see, write
from tests.e2e.test_route_crash import ABORTED, FORWARD, IS_FULL, Case, Sweep, sample
from tests.kubernetes import isolation
from tests.kubernetes.gateway import Gateway
from tests.kubernetes.rig import Rig

pytestmark = [pytest.mark.kubernetes, pytest.mark.traefik]

# Each takes two applies, and an API server takes its time; all with CTRLPLANE_TEST_SWEEP=full.
KILLS = 2
# As long as a Gateway may take to have in force what it has accepted.
GATEWAY = Routing("gateway", "1s")
PODS = Runtime(
    "{type: kubernetes}",
    "{type: kubernetes}",
    "image: 'python:3'\n  command: [python3, app/server.py]",
    PROCESS.checks,
)


class GatewayWorld(RouteWorld):
    """``gateway`` is where the requests go in."""

    gateway: Gateway

    @property
    def router_options(self) -> dict[str, Any]:
        parent = self.gateway.parent
        name = f"{parent['namespace']}/{parent['name']}"
        web = {"listener": "web", "probe": self.gateway.address}
        probe = f"https://127.0.0.1:{self.secure_port}"
        secure = {"port": self.secure_port, "tls": True, "probe": probe}
        return {"gateway": name, "entryPoints": {"web": web, "websecure": secure}}

    @property
    def namespace(self) -> str:
        return f"{self.plane}-acme"

    def router(self) -> Router:
        settings = RouterSettings(
            self.plane, "gateway", str(self.state_dir), self.router_options, environ=self.environ
        )
        return build_router(settings)

    def replicas(self) -> dict[str, tuple[int, ObservedReplica]]:
        config = ProviderConfig("local", "kubernetes", {})
        settings = ProviderSettings(self.plane, config, str(self.state_dir), environ=self.environ)
        with closing(build_provider(settings)) as provider:
            sets = provider.observe().replica_sets
        return {it.name: (item.release, it) for item in sets for it in item.replicas}

    def routes(self) -> dict[str, list[tuple[str, int]]]:
        """Services and their weights, of the last rule of each HTTPRoute."""
        found = self.gateway.cluster.client.list("HTTPRoute", self.namespace)
        return {
            it["metadata"]["name"]: [
                (ref["name"], ref["weight"]) for ref in it["spec"]["rules"][-1]["backendRefs"]
            ]
            for it in found
        }

    def leftovers(self) -> list[str]:
        """What there is of certificates, in the namespace and at the Gateway."""
        client, gateway = self.gateway.cluster.client, self.gateway
        found = client.list("ReferenceGrant", self.namespace)
        found += client.list("Secret", self.namespace)
        names = [it["metadata"]["name"] for it in found]
        spec = client.get("Gateway", gateway.name, gateway.namespace)["spec"]
        names += [it["name"] for it in spec["listeners"]]
        return [name for name in names if name.endswith(".tls") or name.startswith(self.plane)]

    def close(self) -> None:
        assert self.run("destroy", "-y") == 0, self.errors
        assert self.leftovers() == []
        with closing(self.router()) as router:
            assert router.observe().table.entries == ()


@pytest.fixture
def world(
    tmp_path: Path, kubernetes_rig: Rig, kubernetes_gateway: Gateway
) -> Iterator[GatewayWorld]:
    if trouble := isolation.trouble():
        pytest.skip(f"containers cannot be isolated here: {trouble}")
    plane = f"gw-{secrets.token_hex(3)}"
    world = GatewayWorld(
        tmp_path,
        PODS,
        plane=plane,
        routing=GATEWAY,
        port=kubernetes_gateway.port,
        secure_port=kubernetes_gateway.secure_port,
    )
    world.gateway = kubernetes_gateway
    world.environ |= {
        "CTRLPLANE_KUBECONFIG": str(kubernetes_rig.kubeconfig),
        "CTRLPLANE_KUBE_CONTEXT": "rig",
    }
    yield world
    world.close()


@pytest.mark.parametrize("case", FORWARD, ids=lambda item: item.name)
def test_a_rollout_of_pods_loses_no_request(world: GatewayWorld, case: Case) -> None:
    world.write(app(world, "one", case.strategy))
    assert world.run("apply", "-y") == 0, world.output + world.errors
    assert_settled(world, "begun")
    with world.load() as met:
        world.write(app(world, "two", case.strategy))
        assert world.run("apply", "-y") == 0, world.output + world.errors
    assert met["failures"] == [] and set(met["answers"]) == {"one", "two"}
    assert world.ask() == "two /"
    assert world.ask("/api/x") == "two /x"
    assert world.routes() == {
        "shop": [("web-v2", 100)],
        "shop.preview": [("web-v2", 100)],
        "api": [("web-v2", 100)],
    }
    assert_settled(world, "rolled out")


@pytest.mark.parametrize(
    "case", [*FORWARD[1:], *(ABORTED[:1] if IS_FULL else [])], ids=lambda item: item.name
)
def test_a_kill_at_any_effect_of_a_rollout_of_pods_loses_no_request(
    world: GatewayWorld, case: Case, record_property: Callable[..., None]
) -> None:
    sweep = Sweep(world, case)
    with world.load() as met:
        moments = sweep.count()
        numbers = sample(moments, KILLS)
        kills = [number for number in numbers if sweep.kill(number)]
    asked = sum(met["answers"].values())
    print(
        f"gateway, {case.name}: {len(kills)}/{len(numbers)} kills (of {moments} moments) made"
        f" good, {len(met['failures'])}/{asked} requests failed"
    )
    record_property("kills", len(kills))
    assert met["failures"] == [] and kills
    assert set(met["answers"]) > {sweep.good}


def test_a_canary_has_its_weight_and_its_header_and_can_be_taken_back(world: GatewayWorld) -> None:
    strategy = "type: canary, canary: {steps: [{weight: 20, pause: manual}]}"
    world.write(app(world, "one", strategy))
    assert world.run("apply", "-y") == 0, world.output + world.errors
    world.write(app(world, "two", strategy))
    assert world.run("apply", "-y") == 10, world.output + world.errors
    assert world.routes()["shop"] == [("web-v1", 80), ("web-v2", 20)]
    # At once: what it serves is asked, not what it has accepted.
    assert {world.ask(X_Canary="yes") for _ in range(5)} == {"two /"}
    assert {world.ask(host="next.acme.test") for _ in range(5)} == {"two /"}
    assert {world.ask() for _ in range(40)} == {"one /", "two /"}
    with world.load() as met:
        assert world.run("abort", WEB) == 0, world.output + world.errors
    assert met["failures"] == []
    assert world.routes()["shop"] == [("web-v1", 100)]
    assert {world.ask() for _ in range(20)} == {"one /"}


def test_a_certificate_is_issued_believed_and_renewed_without_a_failed_request(
    world: GatewayWorld,
) -> None:
    write(world, "duration: 2h, renewBefore: 1h")
    assert world.run("apply", "-y") == 0, world.output + world.errors
    assert see(world, own_anchor(world))
    first = see(world, own_anchor(world))
    assert see(world, own_anchor(world), "b.test") == first
    assert_settled(world, "with a certificate")

    write(world, "duration: 90d, renewBefore: 3h")
    with world.load() as met:
        assert world.run("apply", "-y") == 0, world.output + world.errors
        wait_until(lambda: see(world, own_anchor(world)) != first)
    assert met["failures"] == []
    assert "PRIVATE" not in world.output + world.errors
    assert_settled(world, "renewed")
    world.gateway.cluster.client.delete("Secret", "certificate.tls.tls", world.namespace)
    assert world.run("plan", "--detailed-exitcode") == 2
    assert "route/acme/tls" in world.output
    assert world.run("apply", "-y") == 0, world.output + world.errors
    assert_settled(world, "made good")
    write(world, more="")
    assert world.run("apply", "-y") == 0, world.output + world.errors
    assert world.leftovers() == []


def test_what_somebody_changed_in_an_http_route_is_named_and_taken_back(
    world: GatewayWorld,
) -> None:
    world.write(app(world, "one", FORWARD[0].strategy))
    assert world.run("apply", "-y") == 0, world.output + world.errors
    patch = [{"op": "replace", "path": "/spec/hostnames", "value": ["theirs.example"]}]
    done = world.gateway.cluster.kubectl(
        "-n", world.namespace, "patch", "httproute", "shop", "--type=json", "-p", json.dumps(patch)
    )
    assert done.returncode == 0, done.stderr
    assert world.run("plan", "--detailed-exitcode") == 2
    assert "route/acme/shop" in world.output and "kubectl-patch" in world.output
    assert world.run("apply", "-y") == 0, world.output + world.errors
    wait_until(lambda: world.ask(host=HOST) == "one /")
    assert_settled(world, "taken back")


@pytest.mark.parametrize("replicas", [2, 1], ids=["alone", "with fewer replicas"])
def test_a_service_that_somebody_removed_is_made_again_and_served(
    world: GatewayWorld, replicas: int
) -> None:
    """The Gateway cannot say that all is well before it is back, and nobody may wait for that."""
    world.write(app(world, "one", FORWARD[0].strategy))
    assert world.run("apply", "-y") == 0, world.output + world.errors
    world.gateway.cluster.client.delete("Service", "web-v1", world.namespace)
    world.write(app(world, "one", FORWARD[0].strategy, replicas=replicas))
    assert world.run("apply", "-y") == 0, world.output + world.errors
    wait_until(lambda: world.ask() == "one /")
    assert_settled(world, "back")
