"""The manifests we ship: the API server takes them, and with exactly those rights, used to the last
one, everything is done that is done in a cluster."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.conformance_watch import watched
from ctrlplane_gitops.providers.kubernetes.provider import KubernetesProvider
from ctrlplane_gitops.state.desired import ProviderConfig
from tests.e2e.plane import wait_until
from tests.e2e.route_kit import HOST, WEB
from tests.e2e.test_route_gateway import GATEWAY, PODS, GatewayWorld
from tests.engines.kubernetes import write_kubeconfig
from tests.kubernetes import isolation
from tests.kubernetes.client import Access
from tests.kubernetes.gateway import Gateway
from tests.kubernetes.metrics import metrics_server
from tests.kubernetes.rig import Rig
from tests.kubernetes.role import FOLDER, Right, documents, granted

pytestmark = [pytest.mark.kubernetes, pytest.mark.traefik]

SYSTEM, NAME = "ctrlplane-system", "ctrlplane-gitops"
USER = f"system:serviceaccount:{SYSTEM}:{NAME}"
_APPLIED = frozenset(
    {"namespaces", "serviceaccounts", "services", "configmaps", "secrets", "deployments",
     "persistentvolumeclaims", "poddisruptionbudgets", "httproutes", "referencegrants"}
)  # fmt: skip
_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "users": [USER]}, {"level": "None"}],
}
_HEADER = "apiVersion: ctrlplane.dev/v1\n"


@pytest.fixture
def audit(kubernetes_rig: Rig, tmp_path: Path) -> Iterator[Path]:
    """What our service account asks the API server for."""
    policy, log = tmp_path / "policy.json", tmp_path / "audit.log"
    policy.write_text(json.dumps(_POLICY))
    kubernetes_rig.kill_api()
    kubernetes_rig.start_api(f"--audit-policy-file={policy}", f"--audit-log-path={log}")
    yield log
    kubernetes_rig.kill_api()
    kubernetes_rig.start_api()


@pytest.fixture
def account(
    kubernetes_rig: Rig, kubernetes_gateway: Gateway, audit: Path, tmp_path: Path
) -> Access:
    """As the manifests have it; the Gateway's place is that of the rig's."""
    place, items = kubernetes_gateway.parent, []
    for name in ("namespace.yaml", "role.yaml", "rbac.yaml", "gateway.yaml"):
        for item in documents(name):
            metadata = item["metadata"]
            if metadata.get("namespace") == "infra":
                metadata["namespace"] = place["namespace"]
                for rule in item.get("rules", ()):
                    rule["resourceNames"] = [place["name"]]
            items.append(item)
    path = tmp_path / "manifests.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    done = kubernetes_rig.kubectl("apply", "--server-side", "-f", str(path))
    assert done.returncode == 0, done.stderr
    access = kubernetes_rig.access
    token = kubernetes_rig.token_of(NAME, SYSTEM)
    return Access(access.server, access.authority, token)


@pytest.fixture
def world(tmp_path: Path, kubernetes_gateway: Gateway, account: Access) -> Iterator[GatewayWorld]:
    if trouble := isolation.trouble():
        pytest.skip(f"containers cannot be isolated here: {trouble}")
    world = GatewayWorld(
        tmp_path / "world",
        replace(PODS, provider="{type: kubernetes, quota: mirror}"),
        plane=f"role-{secrets.token_hex(3)}",
        routing=GATEWAY,
        port=kubernetes_gateway.port,
        secure_port=kubernetes_gateway.secure_port,
    )
    world.gateway = kubernetes_gateway
    path = write_kubeconfig(account, tmp_path / "account.kubeconfig")
    world.environ |= {
        "CTRLPLANE_KUBECONFIG": str(path),
        "CTRLPLANE_KUBE_CONTEXT": "rig",
        "CTRLPLANE_SECRETS_DIR": str(tmp_path),
        "SHOP_TOKEN": "hunter22",
        "SHOP_PULL": "user:hunter22",
    }
    (tmp_path / "key.txt").write_text("hunter22")
    yield world
    world.run("destroy", "-y")


def specs(
    version: str,
    *,
    replicas: int | str = 2,
    memory: str = "64Mi",
    more: str = "",
    quota: str = "{memory: 2Gi}",
) -> str:
    """Everything a cluster is asked for besides pods."""
    return (
        f"{_HEADER}kind: Tenant\nmetadata: {{name: acme}}\nspec: {{quota: {quota}}}\n---\n"
        f"{_HEADER}kind: Instance\nmetadata: {{tenant: acme, name: web}}\n"
        f"spec:\n  replicas: {replicas}\n  resources: {{memory: {memory}}}\n"
        "  ports: [{name: http, port: 8080}]\n  secrets: [token, key, pull]\n"
        "  volumes: [{name: data, path: /data, size: 1Gi}]\n"
        "  health: [{name: up, type: http, path: /healthz, interval: 200ms, timeout: 2s}]\n"
        "  files: [{path: app/server.py, source: app/server.py}]\n---\n"
        f"{_HEADER}kind: Deployment\nmetadata: {{tenant: acme, name: web}}\n"
        "spec:\n  instance: web\n  image: 'python:3'\n  command: [python3, app/server.py]\n"
        f"  env: {{VERSION: '{version}'}}\n  strategy: {{type: rolling, minReady: 0s,"
        " progressDeadline: 60s, healthyDeadline: 40s, stopTimeout: 5s, drainTimeout: 1s}\n---\n"
        f"{_HEADER}kind: Route\nmetadata: {{tenant: acme, name: shop}}\n"
        f"spec: {{instance: web, hosts: [{HOST}]}}\n---\n"
        f"{_HEADER}kind: Route\nmetadata: {{tenant: acme, name: tls}}\n"
        f"spec: {{instance: web, hosts: [{HOST}], tls: {{certificate: auto}}}}\n---\n"
        f"{_HEADER}kind: Secret\nmetadata: {{tenant: acme, name: token}}\n"
        "spec: {type: env, key: TOKEN, from: {env: SHOP_TOKEN}}\n---\n"
        f"{_HEADER}kind: Secret\nmetadata: {{tenant: acme, name: key}}\n"
        "spec: {type: file, path: /run/key, from: {file: key.txt}}\n---\n"
        f"{_HEADER}kind: Secret\nmetadata: {{tenant: acme, name: pull}}\n"
        "spec: {type: registry, registry: registry.example.com, from: {env: SHOP_PULL}}\n"
        f"{more}"
    )


def apply(world: GatewayWorld, text: str) -> None:
    world.write(text)
    assert world.run("apply", "-y") == 0, world.output + world.errors


def test_the_api_server_takes_the_manifests(kubernetes_rig: Rig) -> None:
    """With the admission of the namespace's own label: restricted."""
    kubernetes_rig.client.apply(documents("namespace.yaml")[0])
    for name in ("role.yaml", "rbac.yaml", "serve.yaml"):
        path = FOLDER / name
        done = kubernetes_rig.kubectl("apply", "--server-side", "--dry-run=server", "-f", str(path))
        assert done.returncode == 0, done.stderr
        assert "would violate" not in done.stderr, done.stderr


def test_with_the_shipped_role_and_nothing_more_everything_is_done(
    world: GatewayWorld, kubernetes_rig: Rig, audit: Path
) -> None:
    apply(world, specs("one"))
    wait_until(lambda: world.ask() == "one /")
    assert world.run("plan", "--detailed-exitcode") == 0, world.output
    assert world.run("logs", WEB) == 0 and "version one listens" in world.output
    assert world.run("exec", WEB, "--", "sh", "-c", "exit 7") == 7, world.errors

    apply(world, specs("one", memory="96Mi"))
    apply(world, specs("one", memory="96Mi", replicas=3))
    change_by_hand(world, kubernetes_rig)
    apply(world, specs("one", memory="96Mi", replicas=2))
    delete_by_hand(world, kubernetes_rig)
    apply(world, specs("one", memory="96Mi", replicas=3))
    apply(world, specs("one", memory="96Mi", replicas=1))
    apply(world, specs("two", memory="96Mi"))
    wait_until(lambda: world.ask() == "two /")
    make_autoscaler(world, kubernetes_rig)
    apply(world, specs("two", memory="96Mi", replicas="{owner: autoscaler, initial: 1}"))

    config = ProviderConfig("local", "kubernetes", {})
    settings = ProviderSettings(world.plane, config, str(world.state_dir), environ=world.environ)
    provider = KubernetesProvider(settings)
    try:
        assert provider.find_leftovers() == ()
        [found] = provider.observe().replica_sets
        with watched(provider):
            check = {("", "namespaces", "get")}
            for keys in (None, [found.instance]):
                look = partial(provider.observe, keys)
                wait_until(lambda look=look: asked_by(look, audit) == check)
            assert provider.observe().replica_sets == (found,)
        with metrics_server(kubernetes_rig):
            wait_until(lambda: provider.read_usage(found.replicas))
    finally:
        provider.close()

    apply(world, specs("two", memory="96Mi", quota="{}"))
    leave_behind(world, kubernetes_rig)
    # Less than the pods were made with.
    apply(world, specs("two", memory="96Mi").replace("stopTimeout: 5s", "stopTimeout: 2s"))
    plane = world.root / "repo" / "ctrlplane.yaml"
    plane.write_text(plane.read_text() + "  prune: {volumes: true}\n")
    assert world.run("destroy", "-y") == 0, world.output + world.errors

    asked, refused = read_audit(audit)
    assert refused == set()
    assert with_create(asked) == granted()


def asked_by(call: Callable[[], object], log: Path) -> set[Right]:
    """What one call asks the API server for."""
    before = len(log.read_text().splitlines())
    call()
    return read_audit(log, before)[0]


def delete_by_hand(world: GatewayWorld, rig: Rig) -> None:
    """Somebody deletes all that a release has besides its pods."""
    kinds = ("service", "configmap", "secret", "poddisruptionbudget")
    done = rig.kubectl("-n", world.namespace, "delete", *(f"{kind}/web-v1" for kind in kinds))
    assert done.returncode == 0, done.stderr


def change_by_hand(world: GatewayWorld, rig: Rig) -> None:
    """Somebody changes everything there is of the release."""
    changes = {
        "deployment/web-v1": {"spec": {"minReadySeconds": 1}},
        "service/web-v1": {"spec": {"sessionAffinity": "ClientIP"}},
        "configmap/web-v1": {"data": {"theirs": "x"}},
        "secret/web-v1": {"data": {"theirs": "eA=="}},
        "resourcequota/ctrlplane-quota": {"spec": {"hard": {"pods": "9"}}},
        "poddisruptionbudget/web-v1": {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}},
    }
    for name, change in changes.items():
        patch = ("patch", name, "--type=merge", "-p", json.dumps(change))
        done = rig.kubectl("-n", world.namespace, *patch)
        assert done.returncode == 0, done.stderr


def make_autoscaler(world: GatewayWorld, rig: Rig) -> None:
    """Somebody makes one that is for the instance, by its labels."""
    labels = {"ctrlplane.dev/plane": world.plane, "ctrlplane.dev/tenant": "acme"}
    labels["ctrlplane.dev/instance"] = "web"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    item = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "load", "labels": labels},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 2},
    }
    rig.client.apply(item, world.namespace)


def leave_behind(world: GatewayWorld, rig: Rig) -> None:
    """What an apply that was killed may leave: nothing owns it yet."""
    labels = {"ctrlplane.dev/plane": world.plane, "ctrlplane.dev/tenant": "acme"}
    labels["ctrlplane.dev/instance"] = "web"
    metadata = {"name": "left", "namespace": world.namespace, "labels": labels}
    budget = {"maxUnavailable": 1, "selector": {"matchLabels": {"nobody": "true"}}}
    items = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata},
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata,
            "spec": budget,
        },
    ]
    path = world.root / "left.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    done = rig.kubectl("create", "-f", str(path))
    assert done.returncode == 0, done.stderr


def with_create(asked: set[Right]) -> set[Right]:
    """Server-side apply is a PATCH and ``exec`` a GET to the audit; both take the right to create
    as well, the former where it creates."""
    made = {
        (group, kind, "create")
        for group, kind, verb in asked
        if kind == "pods/exec" or (verb == "patch" and kind in _APPLIED)
    }
    return asked | made


def read_audit(log: Path, since: int = 0) -> tuple[set[Right], set[Right]]:
    """What was asked for, and what of it was forbidden; ``since`` how many lines."""
    asked: set[Right] = set()
    refused: set[Right] = set()
    for line in log.read_text().splitlines()[since:]:
        event = json.loads(line)
        what = event.get("objectRef")
        if what is None:
            continue
        resource = what["resource"] + (f"/{what['subresource']}" if "subresource" in what else "")
        right = what.get("apiGroup", ""), resource, event["verb"]
        asked.add(right)
        if event["responseStatus"]["code"] == 403:
            refused.add(right)
    return asked, refused
