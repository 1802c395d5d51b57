"""What somebody has made of an adopted Deployment, and what putting it back leaves alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.kubernetes.foreign import print_of
from ctrlplane_gitops.providers.kubernetes.name import APPLIED
from ctrlplane_gitops.providers.kubernetes.original import find_changed, restore
from ctrlplane_gitops.providers.kubernetes.provider import KubernetesProvider
from ctrlplane_gitops.state.desired import ProviderConfig
from tests.cluster.api_server import serving, write_kubeconfig
from tests.cluster.object_server import ObjectServer

NAMESPACE = "prod-acme"
ROOT = f"/apis/apps/v1/namespaces/{NAMESPACE}"
MAIN: dict[str, Any] = {
    "name": "main",
    "image": "shop:1",
    "imagePullPolicy": "Always",
    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
}
SIDECAR = {"name": "aside", "image": "proxy:1"}
FIELD = "spec.template.spec.containers[main]"
HELM = {"image": {}, "imagePullPolicy": {}, "env": {'k:{"name":"A"}': {}, 'k:{"name":"B"}': {}}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ObjectServer]:
    with serving(ObjectServer, tmp_path) as server:
        yield server


@pytest.fixture
def provider(server: ObjectServer, tmp_path: Path) -> Iterator[KubernetesProvider]:
    environ = {"CTRLPLANE_KUBECONFIG": str(write_kubeconfig(server, tmp_path))}
    config = ProviderConfig("kube", "kubernetes")
    made = KubernetesProvider(ProviderSettings("prod", config, str(tmp_path), environ=environ))
    yield made
    made.close()


def written(manager: str, time: str, fields: dict[str, Any]) -> dict[str, Any]:
    """What a manager has of the container."""
    own = {name if name.startswith("k:") else f"f:{name}": below for name, below in fields.items()}
    within = {'k:{"name":"main"}': own}
    spec = {"f:template": {"f:spec": {"f:containers": within}}}
    return {"manager": manager, "time": time, "fieldsV1": {"f:spec": spec}}


def put(
    server: ObjectServer, containers: Sequence[dict[str, Any]], *written: dict[str, Any]
) -> dict[str, Any]:
    """The Deployment as it is now; it was adopted with ``MAIN`` alone."""
    template = {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [MAIN]}}
    spec = {"selector": {"matchLabels": {"app": "shop"}}, "replicas": 0, "template": template}
    metadata = {"name": "shop", "namespace": NAMESPACE, "uid": "u", "managedFields": [*written]}
    metadata["labels"] = {}
    found = {"metadata": metadata, "spec": spec}
    own = {"ownerReferences": [{"uid": "u"}], "namespace": NAMESPACE, "name": "shop-1"}
    server.put(
        f"{ROOT}/replicasets/shop-1",
        {"metadata": own | {"labels": {"app": "shop"}}, "spec": spec},
    )
    held = {"annotations": {APPLIED: print_of(found)}}
    template = template | {"spec": {"containers": [*containers]}}
    return server.put(
        f"{ROOT}/deployments/shop",
        {"metadata": metadata | held, "spec": spec | {"template": template}},
    )


@pytest.mark.parametrize(
    ("change", "by", "found"),
    [
        ({}, (), []),
        (
            {"image": "evil:9"},
            (
                written("kubectl-set", "2", {"image": {}}),
                written("helm", "3", {"imagePullPolicy": {}}),
            ),
            [(f"{FIELD}.image", "kubectl-set")],
        ),
        # Nobody keeps who has taken something away.
        ({"env": MAIN["env"][:1]}, (written("helm", "1", HELM),), [(f"{FIELD}.env", "")]),
        (
            {"env": [MAIN["env"][0], {"name": "B", "value": "9"}]},
            (
                written("helm", "1", HELM),
                written("kubectl-edit", "2", {"env": {'k:{"name":"B"}': {"f:value": {}}}}),
            ),
            [(f"{FIELD}.env", "kubectl-edit")],
        ),
    ],
    ids=["nothing", "image", "variable gone", "variable changed"],
)
def test_fields_are_named_with_who_changed_them(
    server: ObjectServer,
    provider: KubernetesProvider,
    change: dict[str, Any],
    by: Sequence[dict[str, Any]],
    found: list[tuple[str, str]],
) -> None:
    put(server, [MAIN | change], *by)
    assert list(find_changed(provider.site.api, NAMESPACE, "shop")) == found


def test_what_stands_beside_is_left_alone(
    server: ObjectServer, provider: KubernetesProvider
) -> None:
    for containers in (
        [SIDECAR, MAIN | {"image": "evil:9"}],
        [MAIN | {"image": "evil:9"}, SIDECAR],
    ):
        found = put(server, containers)
        warnings: list[str] = []
        restore(provider.site, found, Effects(lambda effect: None), warnings)
        [body] = [it.body for it in server.asked if it.method == "PATCH"]
        server.asked.clear()
        made = {it["name"]: it for it in body["spec"]["template"]["spec"]["containers"]}
        assert made == {"aside": SIDECAR, "main": MAIN}
        assert warnings == [f"Deployment shop: {FIELD}.image is as it was before somebody"]


def test_what_is_called_otherwise_or_a_controllers_is_not_touched(
    server: ObjectServer, provider: KubernetesProvider
) -> None:
    effects = Effects(lambda effect: None)
    found = put(server, [MAIN | {"name": "other", "image": "evil:9"}])
    assert restore(provider.site, found, effects, []) is found
    found = put(server, [MAIN | {"image": "evil:9"}], written("operator", "2", {"image": {}}))
    with pytest.raises(ProviderError, match="held by operator"):
        restore(provider.site, found, effects, [])
    assert not [it for it in server.asked if it.method == "PATCH"]
