"""Certificates of routes at listeners of ours, against a real API server; the Gateway's controller
is played by the test."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctrlplane_gitops.network.certificate import parse_pem
from ctrlplane_gitops.network.conformance_kit import make_certificate
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.traffic import RouteEntry
from ctrlplane_gitops.value import replace
from tests.engines.kubernetes import Cluster
from tests.network.gateway_kit import INFRA, install_gateway_api
from tests.network.gateway_scene import AT_ONCE, SECURE_PORT, SOON, Scene, table

pytestmark = pytest.mark.kubernetes
ACME, ZEN = (ResourceKey(Kind.CERTIFICATE, tenant, "web") for tenant in ("acme", "zen"))
SECRET = "certificate.web.tls"


@pytest.fixture
def scene(kubernetes_cluster: Cluster, tmp_path: Path) -> Iterator[Scene]:
    install_gateway_api(kubernetes_cluster)
    scene = Scene(kubernetes_cluster, tmp_path)
    yield scene
    scene.router.close()


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> dict[ResourceKey, SecretValue]:
    root = tmp_path_factory.mktemp("pems")
    return {key: make_certificate(root, f"{key.tenant}.example") for key in (ACME, ZEN)}


@pytest.fixture
def other(tmp_path: Path) -> SecretValue:
    return make_certificate(tmp_path, "acme.example")


Pems = dict[ResourceKey, SecretValue]


def listener(scene: Scene, host: str = "acme.example") -> str:
    return f"{scene.plane}.websecure.{host}"


def test_a_certificate_is_a_secret_beside_its_route_that_a_listener_of_ours_shows(
    scene: Scene, pems: Pems
) -> None:
    assert scene.put(scene.secure(), scene.entry("zen"), certificates=pems).is_live
    secret = scene.client.get("Secret", SECRET, scene.acme)
    pem = parse_pem(pems[ACME])
    shown = {name: base64.b64decode(text).decode() for name, text in secret["data"].items()}
    assert secret["type"] == "kubernetes.io/tls"
    assert shown == {"tls.crt": pem.chain, "tls.key": pem.key}
    [grant] = scene.client.list("ReferenceGrant", scene.acme)
    assert grant["spec"]["from"][0]["namespace"] == INFRA
    assert [item["name"] for item in grant["spec"]["to"]] == [SECRET]
    found = scene.listeners()
    assert found.keys() == {"http", listener(scene)}
    ours = found[listener(scene)]
    assert (ours["port"], ours["protocol"]) == (SECURE_PORT, "HTTPS")
    assert ours["hostname"] == "acme.example"
    [reference] = ours["tls"]["certificateRefs"]
    assert (reference["namespace"], reference["name"]) == (scene.acme, SECRET)
    [parent] = scene.route(scene.acme)["spec"]["parentRefs"]
    assert parent["sectionName"] == listener(scene)
    state = scene.router.observe()
    assert state.table == table(scene.secure(), scene.entry("zen"))
    assert (state.is_live, state.faults) == (True, ())
    assert "PRIVATE" not in repr(state) + repr(scene.effects)


def test_with_the_last_route_all_of_it_goes_and_the_gateway_is_as_it_was(
    scene: Scene, pems: Pems
) -> None:
    before = scene.listeners()
    scene.put(scene.secure(), scene.secure("zen"), certificates=pems)
    assert len(scene.ours()) == 8
    scene.put(scene.secure("zen"), certificates=pems)
    assert len(scene.ours()) == 4
    scene.put()
    assert scene.ours() == set() and scene.listeners() == before


def test_a_renewed_certificate_changes_its_secret_and_nothing_else(
    scene: Scene, pems: Pems, other: SecretValue
) -> None:
    scene.put(scene.secure(), certificates=pems)
    before, made = scene.router.observe().generation, len(scene.effects)
    assert scene.put(scene.secure(), certificates={ACME: other}).is_live
    assert set(scene.effects[made:]) == {f"apply:Secret:{scene.acme}/{SECRET}"}
    state = scene.router.observe()
    assert state.is_live and state.generation != before
    again = scene.make()
    assert again.observe() == state
    again.close()


def test_hosts_of_several_routes_have_one_listener_each(scene: Scene, pems: Pems) -> None:
    root = scene.secure(hosts=("a.example", "b.example"))
    api = replace(root, key=ResourceKey(Kind.ROUTE, "acme", "api"), hosts=("b.example",))
    api = replace(api, path="/api")
    assert scene.put(root, api, certificates=pems).is_live
    ours = {listener(scene, host) for host in ("a.example", "b.example")}
    assert scene.listeners().keys() == {"http", *ours}
    parents = scene.route(scene.acme)["spec"]["parentRefs"]
    assert {item["sectionName"] for item in parents} == ours
    assert scene.router.observe().table == table(root, api)
    # And each goes with the last route that needs it.
    scene.put(api, certificates=pems)
    assert scene.listeners().keys() == {"http", listener(scene, "b.example")}


def test_control_planes_share_a_gateway_and_leave_each_other_alone(
    scene: Scene, pems: Pems, tmp_path: Path
) -> None:
    scene.put(scene.secure(), certificates=pems)
    (tmp_path / "two").mkdir()
    theirs = Scene(scene.cluster, tmp_path / "two")
    theirs.gateway = scene.gateway
    theirs.router.close()
    theirs.router = theirs.make()
    assert theirs.put(theirs.secure(host="theirs.example"), certificates=pems).is_live
    assert {listener(scene), listener(theirs, "theirs.example")} < scene.listeners().keys()
    # What one of them has, the other cannot have, and nothing else of it is held up.
    report = theirs.put(theirs.secure(), theirs.secure("zen"), certificates=pems)
    assert report.is_live and listener(scene) in report.refused[theirs.secure().key]
    assert listener(theirs, "zen.example") in theirs.listeners()
    theirs.put()
    assert scene.listeners().keys() == {"http", listener(scene)}
    theirs.router.close()


def test_a_gateway_without_room_refuses_the_routes_that_find_none(scene: Scene, pems: Pems) -> None:
    more = [{"name": f"l{it}", "port": 1000 + it, "protocol": "HTTP"} for it in range(62)]
    gateway = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway"}
    gateway |= {"metadata": {"name": scene.gateway, "namespace": INFRA}}
    scene.client.apply({**gateway, "spec": {"listeners": more}}, manager="somebody")
    report = scene.put(scene.secure(), scene.secure("zen"), certificates=pems)
    assert report.is_live and "at most 64" in report.refused[ZEN_ROUTE]
    assert list(report.refused) == [ZEN_ROUTE]
    assert len(scene.ours()) == 6  # and the Secret that is not shown is gone with the next write
    scene.put(scene.secure(), certificates=pems)
    assert len(scene.ours()) == 4


ZEN_ROUTE = ResourceKey(Kind.ROUTE, "zen", "web")


def test_without_the_right_to_add_a_listener_it_says_which_one_is_missing(
    scene: Scene, pems: Pems
) -> None:
    everything = {"verbs": ["get", "list", "create", "patch", "delete"]}
    rules = [
        {**everything, "apiGroups": [""], "resources": ["secrets", "services"]},
        {
            **everything,
            "apiGroups": ["gateway.networking.k8s.io"],
            "resources": ["httproutes", "referencegrants"],
        },
        {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["gateways"], "verbs": ["get"]},
    ]
    router = scene.make(scene.cluster.make_account(rules, "reader"))
    report = scene.put(scene.secure(), scene.entry("zen"), certificates=pems, router=router)
    assert report.is_live
    [reason] = report.refused.values()
    assert f"listener {listener(scene)}: Gateway {INFRA}/{scene.gateway} has none" in reason
    assert "cannot patch resource" in reason
    assert scene.route(scene.zen)["spec"]["hostnames"] == ["zen.example"]
    router.close()


def test_what_the_gateway_says_of_a_listener_is_believed_once_it_had_the_time(
    scene: Scene, pems: Pems
) -> None:
    generation = scene.router.apply(table(scene.secure(), scene.entry("zen")), pems)
    scene.judge(scene.zen)
    # It has seen the route before the listener.
    scene.judge(scene.acme, "False", "NoMatchingParent")
    report = scene.router.wait_live(generation, AT_ONCE)
    assert not report.is_live and "has not said" in report.message
    scene.judge(scene.acme)
    scene.judge_listeners("False", "InvalidCertificateRef")
    report = scene.router.wait_live(generation, AT_ONCE)
    assert report.is_live and "InvalidCertificateRef" in report.refused[scene.secure().key]
    state = scene.router.observe()
    assert not state.is_live and "InvalidCertificateRef" in " ".join(state.faults)
    scene.judge_listeners()
    assert scene.router.observe().is_live


def damage_secret(scene: Scene) -> str:
    data = {"data": {"tls.crt": base64.b64encode(b"theirs").decode()}}
    scene.client.patch("Secret", SECRET, data, scene.acme, manager="kubectl-edit")
    return "kubectl-edit"


def remove_secret(scene: Scene) -> str:
    scene.client.delete("Secret", SECRET, scene.acme)
    return "is missing"


def remove_grant(scene: Scene) -> str:
    scene.client.delete("ReferenceGrant", SECRET, scene.acme)
    return "is missing"


def replace_listeners(scene: Scene) -> str:
    """As a client-side apply of the Gateway by its operator does."""
    spec = {"spec": {"listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}
    scene.client.patch("Gateway", scene.gateway, spec, INFRA, manager="kubectl-client-side-apply")
    return "has no listener"


def edit_listener(scene: Scene) -> str:
    spec: Any = [*scene.listeners().values()]
    spec[-1]["port"] = 9443
    body = {"spec": {"listeners": spec}}
    scene.client.patch("Gateway", scene.gateway, body, INFRA, manager="kubectl-edit")
    return "it was changed"


DAMAGES = [damage_secret, remove_secret, remove_grant, replace_listeners, edit_listener]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_changed_by_hand_is_seen_and_made_good(
    scene: Scene, pems: Pems, damage: Any
) -> None:
    scene.put(scene.secure(), certificates=pems)
    words = damage(scene)
    state = scene.router.observe()
    assert not state.is_live and words in " ".join(state.faults)
    # So a plan sees that it is not what Git says.
    assert state.table == table(replace(scene.secure(), certificate=None))
    assert scene.put(scene.secure(), certificates=pems).is_live
    state = scene.router.observe()
    assert (state.table, state.is_live, state.faults) == (table(scene.secure()), True, ())


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_a_tenant_whose_specs_cannot_be_read_holds_up_nobody_else(
    scene: Scene, pems: Pems, damage: Any
) -> None:
    """Its table is then what was seen of it, and its certificate has no value."""
    scene.put(scene.secure(), scene.entry("zen"), certificates=pems)
    damage(scene)
    [seen, _] = scene.router.observe().table.entries
    report = scene.put(seen, scene.entry("zen", host="moved.example"))
    assert scene.route(scene.zen)["spec"]["hostnames"] == ["moved.example"]
    if damage in (damage_secret, remove_secret):
        assert "no value now" in report.refused[seen.key]
    else:
        assert report.is_live and report.refused == {}
        assert scene.router.observe().table.entries[0] == scene.secure()


def test_a_secret_of_that_name_that_is_not_ours_is_left_alone(scene: Scene, pems: Pems) -> None:
    theirs = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}}
    scene.client.create({**theirs, "stringData": {"a": "b"}}, scene.acme)
    report = scene.put(scene.secure(), scene.secure("zen"), certificates=pems)
    assert report.is_live and "is not ours" in report.refused[scene.secure().key]
    scene.put()
    assert scene.client.get("Secret", SECRET, scene.acme)["data"] == {"a": "Yg=="}


class Killed(BaseException):
    """As SIGKILL: nothing of ours runs after it."""


def killed_at(number: int, told: list[str]) -> Any:
    def tell(effect: str) -> None:
        told.append(effect)
        if len(told) == number:
            raise Killed

    return tell


def changes(scene: Scene) -> list[tuple[str, list[RouteEntry]]]:
    moved = scene.secure(hosts=("acme.example", "www.example"))
    return [
        ("added", [scene.secure(), scene.entry("zen")]),
        ("more hosts, another with a certificate", [moved, scene.secure("zen")]),
        ("without certificate", [scene.entry(), scene.secure("zen")]),
        ("empty", []),
    ]


def test_a_write_killed_at_any_effect_is_completed_and_leaves_nothing_behind(
    scene: Scene, pems: Pems
) -> None:
    kills = 0
    before: list[RouteEntry] = []
    for name, entries in changes(scene):
        scene.put(*entries, certificates=pems)
        expected = scene.ours()
        number = 2  # what an effect has done is what the next one finds
        while True:
            scene.put(*before, certificates=pems)
            told: list[str] = []
            router = scene.make(on_effect=killed_at(number, told))
            try:
                router.apply(table(*entries), pems)
            except Killed:
                kills += 1
            else:
                break
            finally:
                router.close()
            where = f"{name}, killed at {number}: {told[-1]}"
            again = scene.make()
            state = again.observe()
            if state.table == table(*entries):
                # Then nothing but this says that there is more to be done.
                assert not state.is_live or scene.ours() == expected, where
            assert scene.put(*entries, certificates=pems, router=again).is_live, where
            assert scene.ours() == expected, where
            assert again.observe().is_live, where
            again.close()
            number += 2
        assert scene.put(*entries, certificates=pems).is_live
        before = entries
    assert kills > 10


def test_keys_are_in_no_answer_that_a_look_asks_for(scene: Scene, pems: Pems) -> None:
    """A look may not even read a Secret, only what stands about it in a list."""
    scene.put(scene.secure(), certificates=pems)
    rules = [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]},
        {
            "apiGroups": ["gateway.networking.k8s.io"],
            "resources": ["httproutes", "referencegrants", "gateways"],
            "verbs": ["get", "list"],
        },
    ]
    looker = scene.make(scene.cluster.make_account(rules, "looker"))
    assert looker.observe() == scene.router.observe()
    looker.close()


def test_who_may_not_see_certificates_sees_a_gap(scene: Scene, pems: Pems) -> None:
    scene.put(scene.secure(), certificates=pems)
    rules = [
        {
            "apiGroups": ["gateway.networking.k8s.io"],
            "resources": ["httproutes", "gateways"],
            "verbs": ["get", "list"],
        }
    ]
    router = scene.make(scene.cluster.make_account(rules, "blind"))
    assert "secrets" in (router.observe().gap or "")
    router.close()


def test_a_certificate_is_shown_again_when_its_route_has_a_place(scene: Scene, pems: Pems) -> None:
    """Before the first replica there is no namespace: neither route nor Secret."""
    namespace = f"{scene.plane}-new"
    key = ResourceKey(Kind.ROUTE, "new", "web")
    certificate = ResourceKey(Kind.CERTIFICATE, "new", "web")
    entry = replace(scene.secure(), key=key, certificate=certificate, hosts=("new.example",))
    nobody = replace(entry, backends=(replace(entry.backends[0], weight=100, members=()),))
    values = {certificate: pems[ACME]}
    generation = scene.router.apply(table(nobody), values)
    assert scene.router.wait_live(generation, AT_ONCE).is_live
    assert scene.router.observe().generation == generation
    assert scene.ours() == set()
    labels = {"ctrlplane.dev/plane": scene.plane, "ctrlplane.dev/tenant": "new"}
    metadata = {"name": namespace, "labels": labels}
    scene.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    generation = scene.router.apply(table(nobody), values)
    scene.judge(namespace)
    scene.judge_listeners()
    assert scene.router.wait_live(generation, SOON).is_live
    assert scene.client.get("Secret", SECRET, namespace)
    assert scene.router.apply(table(nobody), values) == generation
