"""How much is asked of an API server: counted, whatever time it takes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ctrlplane_gitops.cluster.api import PAGE_SIZE
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.kubernetes.manifest import (
    build_deployment,
    build_instance_service,
    build_service,
)
from ctrlplane_gitops.providers.kubernetes.provider import KubernetesProvider
from ctrlplane_gitops.state.action import Material, ScaleReplicaSet
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.template import Port, Release, ReleaseTemplate
from tests.cluster.api_server import Asked, serving, write_kubeconfig
from tests.cluster.object_server import ObjectServer
from tests.e2e.crash_kit import CrashWorld, Runtime

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEMPLATE = ReleaseTemplate("kube", image="shop:1", ports=(Port("http", 8080),))
NEW = ["GET deployments", "PATCH deployments", "POST services", "POST services"]
# What one tenant has besides, looked at and made once.
TENANT = ["GET namespaces", "PATCH namespaces", "GET serviceaccounts", "PATCH serviceaccounts"]
LOOK = ["GET deployments", "GET pods", "GET services"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ObjectServer]:
    with serving(ObjectServer, tmp_path) as server:
        yield server


@pytest.fixture
def environ(server: ObjectServer, tmp_path: Path) -> dict[str, str]:
    return {"CTRLPLANE_KUBECONFIG": str(write_kubeconfig(server, tmp_path))}


@pytest.fixture
def provider(environ: dict[str, str], tmp_path: Path) -> Iterator[KubernetesProvider]:
    config = ProviderConfig("kube", "kubernetes")
    made = KubernetesProvider(ProviderSettings("prod", config, str(tmp_path), environ=environ))
    yield made
    made.close()


def scale(number: int, replicas: int = 1) -> ScaleReplicaSet:
    key = instance_key("acme", f"web{number}")
    return ScaleReplicaSet(key, "kube", Release(key, 1, "rev", TEMPLATE, "c0ffee", AT), replicas)


def kinds(server: ObjectServer) -> list[str]:
    """What was asked for since, without names."""
    found = sorted(call.partition("/")[0] for call in server.calls)
    server.asked.clear()
    return found


def make(server: ObjectServer, count: int) -> None:
    """So many instances with a replica each, as they were applied at some time."""
    for number in range(count):
        action = scale(number)
        deployment = build_deployment("prod", "prod-acme", action, 1)
        own = build_service("prod", "prod-acme", action.release)
        shared = build_instance_service("prod", "prod-acme", action.release)
        name = deployment["metadata"]["name"]
        server.put(f"/apis/apps/v1/namespaces/prod-acme/deployments/{name}", deployment)
        for service in (own, shared):
            assert service is not None
            name = service["metadata"]["name"]
            server.put(f"/api/v1/namespaces/prod-acme/services/{name}", service)


def test_a_thousand_instances_are_seen_with_three_lists(
    server: ObjectServer, provider: KubernetesProvider
) -> None:
    make(server, 1000)
    found = provider.observe()
    assert not found.gaps
    assert sum(len(item.live) for item in found.replica_sets) == len(found.replica_sets) == 1000
    assert kinds(server) == LOOK


def test_more_than_a_page_holds_is_seen_page_by_page(
    server: ObjectServer, provider: KubernetesProvider
) -> None:
    make(server, PAGE_SIZE + 1)
    assert len(provider.observe().replica_sets) == PAGE_SIZE + 1
    assert kinds(server) == sorted([*LOOK, *LOOK])


def test_who_looks_at_few_of_many_is_shown_few(
    server: ObjectServer, provider: KubernetesProvider
) -> None:
    make(server, 20)
    others = [instance_key("other", "web7"), instance_key("other", "web8")]
    few = provider.observe([*others, scale(3).instance, scale(7).instance])
    assert [item.instance.name for item in few.replica_sets] == ["web3", "web7"]
    lists = [parse_qs(urlsplit(asked.path).query) for asked in server.asked]
    # And which of the pods that are ready their Services lead to.
    assert Counter(kinds(server)) == Counter([*LOOK, "GET endpointslices"])
    for query in lists:
        assert "ctrlplane.dev/instance in (web3,web7,web8)" in query["labelSelector"][0]
        assert "ctrlplane.dev/tenant in (acme,other)" in query["labelSelector"][0]
    many = [instance_key("acme", f"web{number}") for number in range(2000)]
    assert len(provider.observe([*many, *others]).replica_sets) == 20
    fleets = [instance_key(f"tenant{number}", "web3") for number in range(2000)]
    assert len(provider.observe([*fleets, scale(3).instance]).replica_sets) == 1
    assert max(len(asked.path) for asked in server.asked) < 8000


def test_who_may_not_see_what_services_lead_to_is_told_so(
    server: ObjectServer, provider: KubernetesProvider
) -> None:
    """With a role of an older release, say: pods are as ready as they say themselves."""
    make(server, 1)
    keys = [scale(0).instance]
    assert provider.observe(keys).warnings == ()
    server.refused = "endpointslices"
    seen = provider.observe(keys)
    [warning] = seen.warnings
    assert warning.startswith("kube: a ready pod may count before its Service leads to it")
    assert "endpointslices" in warning
    [replica] = seen.replica_sets[0].replicas
    assert replica.verdict is not None and replica.verdict.is_ready
    assert provider.observe().warnings == ()


def test_a_new_instance_takes_four_calls_and_its_tenant_is_made_once(
    server: ObjectServer, provider: KubernetesProvider
) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(provider.perform, scale(number), Material()) for number in range(20)]
    assert all(it.result().is_ok for it in done)
    assert Counter(kinds(server)) == Counter(20 * NEW + TENANT)


def test_a_look_does_not_wait_for_what_is_being_written(
    server: ObjectServer, provider: KubernetesProvider
) -> None:
    provider.perform(scale(0), Material())
    is_over, is_writing = threading.Event(), threading.Semaphore(0)

    def hold_writes(asked: Asked) -> None:
        if asked.method == "PATCH":
            is_writing.release()
            is_over.wait(20)

    server.before = hold_writes
    with ThreadPoolExecutor(16) as pool:
        done = [pool.submit(provider.perform, scale(number), Material()) for number in range(1, 17)]
        for _ in range(8):
            assert is_writing.acquire(timeout=20)
        assert len(provider.observe().replica_sets) == 1
        assert not any(item.done() for item in done)
        is_over.set()
    assert all(item.result().is_ok for item in done)


def test_a_pass_over_what_stands_lists_four_times_and_writes_nothing(
    server: ObjectServer, environ: dict[str, str], tmp_path: Path
) -> None:
    runtime = Runtime("{type: kubernetes}", "", "image: 'shop:1'")
    world = CrashWorld(tmp_path / "world", runtime, environ=environ)
    world.write("---\n".join([_TENANT, *(_INSTANCE.format(number=it) for it in range(20))]))
    assert world.run("apply", "-y") == 0, world.output + world.errors
    assert Counter(kinds(server))["PATCH deployments"] == 20
    for _ in range(3):
        assert world.run("apply", "-y") == 0, world.output + world.errors
        assert kinds(server) == LOOK


_TENANT = "apiVersion: ctrlplane.dev/v1\nkind: Tenant\nmetadata: {name: acme}\nspec: {}\n"
_INSTANCE = """\
apiVersion: ctrlplane.dev/v1
kind: Instance
metadata: {{tenant: acme, name: web{number}}}
spec: {{ports: [{{name: http, port: 8080}}]}}
---
apiVersion: ctrlplane.dev/v1
kind: Deployment
metadata: {{tenant: acme, name: web{number}}}
spec: {{instance: web{number}, image: 'shop:1', strategy: {{type: rolling, minReady: 0s}}}}
"""
