"""The router ``gateway`` against a real API server, beyond the suite; the Gateway's controller is
played by the test, so that it may say what it likes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ctrlplane_gitops.errors import UnreachableError, UsageError
from ctrlplane_gitops.network.gateway.router import GatewayRouter
from ctrlplane_gitops.network.router import LiveReport, RouterSettings
from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key
from ctrlplane_gitops.state.traffic import Backend, Member, RouteEntry, RouteTable
from ctrlplane_gitops.value import replace
from tests.engines.kubernetes import Cluster, write_kubeconfig
from tests.kubernetes.client import Access
from tests.network.gateway_kit import INFRA, PUBLIC, install_gateway_api, router_access

pytestmark = pytest.mark.kubernetes
SOON, AT_ONCE = timedelta(seconds=10), timedelta(milliseconds=300)


class Scene:
    """A control plane with two tenants, each in a namespace of its own."""

    def __init__(self, cluster: Cluster, root: Path) -> None:
        self.cluster, self.client, self.root = cluster, cluster.client, root
        self.acme = cluster.make_namespace("acme")
        self.zen = cluster.make_namespace("zen")
        self.plane = self.acme
        self.effects: list[str] = []
        self.router = self.make()

    def make(self, access: Access | None = None, gateway: str = "") -> GatewayRouter:
        path = write_kubeconfig(access or router_access(self.cluster), self.root / "kubeconfig")
        environ = {"CTRLPLANE_KUBECONFIG": str(path), "CTRLPLANE_KUBE_CONTEXT": "rig"}
        options = {"gateway": gateway or f"{INFRA}/{PUBLIC}"}
        return GatewayRouter(
            RouterSettings(
                self.plane, "gateway", str(self.root), options, self.effects.append, environ
            )
        )

    def entry(self, tenant: str = "acme", host: str = "", **more: Any) -> RouteEntry:
        namespace = getattr(self, tenant)
        backends = tuple(
            Backend(
                release,
                weight,
                (Member(f"r.v{release}.0", f"web-v{release}.{namespace}.svc", 8080),),
            )
            for release, weight in ((1, 90), (2, 10))
        )
        key = ResourceKey(Kind.ROUTE, tenant, "web")
        instance = instance_key(tenant, "web")
        entry = RouteEntry(key, instance, (host or f"{tenant}.example",), "/", backends)
        return replace(entry, **more)

    def put(self, *entries: RouteEntry, timeout: timedelta = SOON) -> LiveReport:
        table = RouteTable(tuple(sorted(entries, key=lambda it: it.key)))
        generation = self.router.apply(table, {})
        for entry in entries:
            self.judge(getattr(self, entry.key.tenant))
        return self.router.wait_live(generation, timeout)

    def judge(self, namespace: str, status: str = "True", reason: str = "Accepted") -> None:
        """What the Gateway's controller says of all routes there."""
        for route in self.client.list("HTTPRoute", namespace):
            if "parentRefs" not in route["spec"]:
                continue
            conditions = [
                {
                    "type": name,
                    "status": status if name == "Accepted" else "True",
                    "reason": reason if name == "Accepted" else "ResolvedRefs",
                    "message": "",
                    "observedGeneration": route["metadata"]["generation"],
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }
                for name in ("Accepted", "ResolvedRefs")
            ]
            parent = {
                "parentRef": route["spec"]["parentRefs"][0],
                "controllerName": "example.com/controller",
                "conditions": conditions,
            }
            body = {"status": {"parents": [parent]}}
            self.client.patch(
                "HTTPRoute", route["metadata"]["name"], body, namespace, part="status"
            )

    def route(self, namespace: str, name: str = "web") -> dict[str, Any]:
        return self.client.get("HTTPRoute", name, namespace)


@pytest.fixture
def scene(kubernetes_cluster: Cluster, tmp_path: Path) -> Iterator[Scene]:
    install_gateway_api(kubernetes_cluster)
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": PUBLIC, "namespace": INFRA},
        "spec": {
            "gatewayClassName": "none",
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
        },
    }
    if not kubernetes_cluster.client.list("Gateway", INFRA):
        kubernetes_cluster.client.apply(gateway)
    scene = Scene(kubernetes_cluster, tmp_path)
    yield scene
    scene.router.close()


def test_a_route_is_live_when_its_gateway_has_accepted_this_very_generation(scene: Scene) -> None:
    generation = scene.router.apply(RouteTable((scene.entry(),)), {})
    report = scene.router.wait_live(generation, AT_ONCE)
    assert not report.is_live and "has not answered" in report.message
    scene.judge(scene.acme)
    assert scene.router.wait_live(generation, SOON).is_live

    moved = replace(scene.entry(), backends=(scene.entry().backends[0],))
    moved = replace(moved, backends=(replace(moved.backends[0], weight=100),))
    generation = scene.router.apply(RouteTable((moved,)), {})
    report = scene.router.wait_live(generation, AT_ONCE)
    assert not report.is_live and "has not said Accepted" in report.message
    assert not scene.router.observe().is_live
    scene.judge(scene.acme)
    assert scene.router.wait_live(generation, SOON).is_live


def test_it_is_written_under_our_name_with_weights(scene: Scene) -> None:
    assert scene.put(scene.entry()).is_live
    route = scene.route(scene.acme)
    managers = [it["manager"] for it in route["metadata"]["managedFields"]]
    assert "ctrlplane-gitops" in managers
    [rule] = route["spec"]["rules"]
    assert [(it["name"], it["weight"]) for it in rule["backendRefs"]] == [
        ("web-v1", 90),
        ("web-v2", 10),
    ]


def test_a_route_that_is_refused_keeps_nobody_else_waiting(scene: Scene) -> None:
    table = RouteTable((scene.entry(), scene.entry("zen")))
    generation = scene.router.apply(table, {})
    scene.judge(scene.acme, "False", "NotAllowedByListeners")
    scene.judge(scene.zen)
    report = scene.router.wait_live(generation, AT_ONCE)
    assert report.is_live and list(report.refused) == [scene.entry().key]
    assert "NotAllowedByListeners" in report.refused[scene.entry().key]
    assert "NotAllowedByListeners" in " ".join(scene.router.observe().faults)
    # Nor does it later on: what was not touched is not asked about again.
    moved = scene.entry("zen", host="other.example")
    generation = scene.router.apply(RouteTable((scene.entry(), moved)), {})
    scene.judge(scene.zen)
    assert scene.router.wait_live(generation, timedelta(0)).is_live


def test_what_cannot_be_written_is_refused_alone(scene: Scene) -> None:
    scene.put(scene.entry(), scene.entry("zen"))
    bad = scene.entry(is_sticky=True, host="new.example")
    moved = scene.entry("zen", host="moved.example")
    report = scene.put(bad, moved)
    assert report.is_live and "sticky" in report.refused[bad.key]
    # What was served of it before goes on.
    assert scene.route(scene.acme)["spec"]["hostnames"] == ["acme.example"]
    assert scene.route(scene.zen)["spec"]["hostnames"] == ["moved.example"]


def test_an_http_route_that_is_not_ours_is_left_alone(scene: Scene) -> None:
    theirs = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "web", "namespace": scene.acme},
        "spec": {"hostnames": ["theirs.example"]},
    }
    other = {**theirs, "metadata": {"name": "other", "namespace": scene.acme}}
    other["metadata"]["labels"] = {"ctrlplane.dev/plane": "somebody-elses"}
    scene.client.create(theirs)
    scene.client.create(other)
    report = scene.put(scene.entry(), scene.entry("zen"))
    assert "is not ours" in report.refused[scene.entry().key]
    scene.put()
    names = {it["metadata"]["name"] for it in scene.client.list("HTTPRoute", scene.acme)}
    assert names == {"web", "other"}
    assert scene.route(scene.acme)["spec"]["hostnames"] == ["theirs.example"]
    assert scene.client.list("HTTPRoute", scene.zen) == []


def test_what_somebody_changed_is_named_with_who_did_it_and_taken_back(scene: Scene) -> None:
    entry = scene.entry()
    scene.put(entry)
    change = [{"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 50}]
    scene.client.patch("HTTPRoute", "web", change, scene.acme, type="json", manager="kubectl-edit")
    state = scene.router.observe()
    [seen] = state.table.entries
    assert [item.weight for item in seen.backends] == [50, 10]
    [fault] = [text for text in state.faults if "changed" in text]
    assert "kubectl-edit" in fault and scene.acme in fault and not state.is_live

    assert scene.put(entry).is_live
    state = scene.router.observe()
    assert (state.table.entries, state.faults, state.is_live) == ((entry,), (), True)


def test_what_a_controller_holds_is_left_to_it_and_said(scene: Scene) -> None:
    scene.put(scene.entry(), scene.entry("zen"))
    change = [{"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 50}]
    scene.client.patch("HTTPRoute", "web", change, scene.acme, type="json", manager="flagger")
    report = scene.put(scene.entry(), scene.entry("zen", host="moved.example"))
    assert report.is_live
    assert "spec.rules" in report.refused[scene.entry().key]
    assert "held by flagger" in report.refused[scene.entry().key]
    [rule] = scene.route(scene.acme)["spec"]["rules"]
    assert [it["weight"] for it in rule["backendRefs"]] == [50, 10]
    assert scene.route(scene.zen)["spec"]["hostnames"] == ["moved.example"]


def test_nobody_answers_until_there_is_a_namespace(scene: Scene) -> None:
    """An instance's route may be told before its first replica: then there is no place for it."""
    key = ResourceKey(Kind.ROUTE, "new", "web")
    entry = RouteEntry(key, instance_key("new", "web"), ("new.example",), "/", (Backend(0, 100),))
    table = RouteTable((entry,))
    generation = scene.router.apply(table, {})
    assert scene.router.wait_live(generation, AT_ONCE).is_live
    assert scene.router.observe().table == table
    made = [it for it in scene.effects if not it.startswith("apply:")]
    assert made == []


def test_a_route_goes_with_its_namespace_and_comes_back_elsewhere(scene: Scene) -> None:
    scene.put(scene.entry())
    moved = replace(scene.entry("zen"), key=scene.entry().key, instance=scene.entry().instance)
    generation = scene.router.apply(RouteTable((moved,)), {})
    scene.judge(scene.zen)
    assert scene.router.wait_live(generation, SOON).is_live
    assert scene.client.list("HTTPRoute", scene.acme) == []
    assert scene.router.observe().table.entries == (moved,)


def test_another_process_sees_what_was_written(scene: Scene) -> None:
    scene.put(scene.entry())
    other = scene.make()
    state = other.observe()
    assert state == scene.router.observe()
    made = len(scene.effects)
    assert other.apply(state.table, {}) == state.generation
    assert len(scene.effects) == made
    other.close()


def test_a_gateway_that_is_not_there_is_named(scene: Scene) -> None:
    router = scene.make(gateway=f"{INFRA}/nowhere")
    with pytest.raises(UnreachableError, match="no Gateway infra/nowhere"):
        router.ensure_running()
    router.close()


def test_who_may_not_look_sees_a_gap_and_not_an_empty_table(scene: Scene) -> None:
    router = scene.make(scene.cluster.make_account([], "nobody"))
    state = router.observe()
    assert state.gap is not None and "forbidden" in state.gap
    router.close()


def test_without_a_cluster_it_says_how_to_name_one(tmp_path: Path) -> None:
    options = {"gateway": "infra/public"}
    router = GatewayRouter(RouterSettings("prod", "gateway", str(tmp_path), options, environ={}))
    with pytest.raises(UsageError) as caught:
        router.ensure_running()
    assert "CTRLPLANE_KUBECONFIG" in (caught.value.hint or "")
    assert "CTRLPLANE_KUBECONFIG" in (router.observe().gap or "")
