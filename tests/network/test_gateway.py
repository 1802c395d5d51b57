"""The router ``gateway`` against a real API server, beyond the suite; the Gateway's controller is
played by the test, so that it may say what it likes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import UnreachableError, UsageError
from ctrlplane_gitops.network.gateway.router import GatewayRouter
from ctrlplane_gitops.network.router import RouterSettings
from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key
from ctrlplane_gitops.state.traffic import Backend, RouteEntry, RouteTable
from ctrlplane_gitops.value import replace
from tests.engines.kubernetes import Cluster
from tests.network.gateway_kit import install_gateway_api
from tests.network.gateway_scene import AT_ONCE, SOON, Scene

pytestmark = pytest.mark.kubernetes


@pytest.fixture
def scene(kubernetes_cluster: Cluster, tmp_path: Path) -> Iterator[Scene]:
    install_gateway_api(kubernetes_cluster)
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
    router = scene.make(gateway="nowhere")
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
