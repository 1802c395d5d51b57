"""Routes of the Gateway API move requests that really arrive."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections import Counter

import pytest
import urllib3

from ctrlplane_gitops.clock import monotonic_s, sleep
from tests.kubernetes import isolation
from tests.kubernetes.client import Object
from tests.kubernetes.gateway import Gateway
from tests.kubernetes.scene import Scene

pytestmark = [pytest.mark.kubernetes, pytest.mark.traefik]
_PROBE = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1}
_PORTS = [{"name": "http", "containerPort": 8080}]


class Shop:
    """Two versions behind one route."""

    def __init__(self, scene: Scene, gateway: Gateway) -> None:
        self.scene, self.gateway = scene, gateway
        self.host = f"shop.{scene.namespace}.test"
        self.pool = urllib3.PoolManager(maxsize=8, retries=False, timeout=10)
        for version in ("1", "2"):
            self._deploy(version)
        for version in ("1", "2"):
            scene.settle(f"web{version}")

    def _deploy(self, version: str) -> None:
        name = f"web{version}"
        self.deploy(version)
        spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": "http"}]}
        item = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
        self.scene.client.apply(item, self.scene.namespace)

    def deploy(self, version: str, number: int = 1) -> None:
        """Another ``number`` replaces every pod, one after the other."""
        container = {
            "ports": _PORTS,
            "readinessProbe": _PROBE,
            # As long as it may take until nobody is sent here any more.
            "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
            "env": [{"name": "NUMBER", "value": str(number)}],
        }
        image = f"ctrlplane-test-app:{version}"
        self.scene.deploy(f"web{version}", image, 2, container=container)

    def route(self, *rules: Object) -> None:
        """Until the controller accepts it and requests are sent by it, which a path that is known
        to no other shows: what it accepts it does a little later."""
        path = f"/{secrets.token_hex(4)}"
        rewrite = {"type": "ReplaceFullPath", "replaceFullPath": "/known"}
        known = {
            "matches": [{"path": {"type": "Exact", "value": path}}],
            "filters": [{"type": "URLRewrite", "urlRewrite": {"path": rewrite}}],
            "backendRefs": [{"name": "web1", "port": 80}],
        }
        item = {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "shop"},
            "spec": {
                "parentRefs": [self.gateway.parent],
                "hostnames": [self.host],
                "rules": [known, *rules],
            },
        }
        self.scene.client.apply(item, self.scene.namespace)
        self.scene.client.wait(
            "the route", lambda: self.gateway.is_live("shop", self.scene.namespace)
        )
        self.scene.client.wait("its first answer", lambda: self.arrives_at(path) == "/known")

    def arrives_at(self, path: str) -> str:
        """The path that a version sees."""
        answer = self.pool.request("GET", self.gateway.address + path, headers={"Host": self.host})
        return answer.headers.get("X-Path", "")

    def get(self, path: str = "/", **headers: str) -> str:
        """The version that answers, or the status."""
        url = self.gateway.address + path
        answer = self.pool.request("GET", url, headers={"Host": self.host, **headers})
        return answer.data.decode() if answer.status == 200 else str(answer.status)

    def seen(self, number: int = 20) -> Counter[str]:
        return Counter(self.get() for _ in range(number))


@pytest.fixture(scope="module")
def shop(kubernetes_gateway: Gateway, namespace: str) -> Shop:
    if trouble := isolation.trouble():
        pytest.skip(f"containers cannot be isolated here: {trouble}")
    return Shop(Scene(kubernetes_gateway.cluster, namespace), kubernetes_gateway)


def split(first: int, second: int) -> Object:
    """A rule for all requests, by weight."""
    backends = [
        {"name": name, "port": 80, "weight": weight}
        for name, weight in (("web1", first), ("web2", second))
    ]
    return {"backendRefs": backends}


def test_a_change_of_weights_moves_requests(shop: Shop) -> None:
    shop.route(split(100, 0))
    assert shop.seen() == {"1": 20}
    shop.route(split(25, 75))
    assert shop.seen() == {"1": 5, "2": 15}
    shop.route(split(0, 100))
    assert shop.seen() == {"2": 20}


def test_a_prefix_is_stripped_and_a_header_decides(shop: Shop) -> None:
    rewrite = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
    api = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/api"}}],
        "filters": [{"type": "URLRewrite", "urlRewrite": {"path": rewrite}}],
        "backendRefs": [{"name": "web2", "port": 80}],
    }
    header = {
        "matches": [{"headers": [{"name": "X-Canary", "value": "yes"}]}],
        "backendRefs": [{"name": "web2", "port": 80}],
    }
    shop.route(api, header, split(1, 0))
    assert shop.seen() == {"1": 20}
    assert shop.get(**{"X-Canary": "yes"}) == "2"
    assert (shop.get("/api/x"), shop.arrives_at("/api/x")) == ("2", "/x")


def test_a_backend_that_is_missing_is_said_to_be_unresolved(shop: Shop) -> None:
    backend = {"name": "nobody", "port": 80}
    item = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "lost"},
        "spec": {
            "parentRefs": [shop.gateway.parent],
            "hostnames": [f"lost.{shop.host}"],
            "rules": [{"backendRefs": [backend]}],
        },
    }
    scene = shop.scene
    scene.client.apply(item, scene.namespace)
    said = scene.client.wait(
        "the word of the controller", lambda: shop.gateway.parent_status("lost", scene.namespace)
    )
    assert (said["ResolvedRefs"]["status"], said["ResolvedRefs"]["reason"]) == (
        "False",
        "BackendNotFound",
    )


def test_no_request_is_lost_while_weights_change_and_pods_are_replaced(shop: Shop) -> None:
    shop.route(split(1, 0))
    is_over, counts, lock = threading.Event(), Counter[str](), threading.Lock()

    def send() -> None:
        """Fifty a second."""
        first = monotonic_s()
        for number in itertools.count(1):
            if is_over.is_set():
                return
            try:
                answer = shop.get()
            except urllib3.exceptions.HTTPError as failed:
                answer = type(failed).__name__
            with lock:
                counts[answer] += 1
            sleep(max(0.0, first + number / 50 - monotonic_s()))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for first, second in ((9, 1), (5, 5), (0, 1), (5, 5), (1, 0)):
            shop.route(split(first, second))
            sleep(0.3)
        shop.deploy("1", number=2)
        shop.scene.settle("web1")
        shop.scene.client.wait("the old pods to go", lambda: len(shop.scene.pods("web1")) == 2)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert set(counts) == {"1", "2"}, counts
    assert counts.total() > 200
