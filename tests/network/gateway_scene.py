"""A control plane behind a Gateway whose controller is played by the test, so that it may say what
it likes; the API server is real."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from ctrlplane_gitops.network.gateway.router import GatewayRouter
from ctrlplane_gitops.network.router import LiveReport, RouterSettings
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key
from ctrlplane_gitops.state.traffic import Backend, Member, RouteEntry, RouteTable
from ctrlplane_gitops.value import replace
from tests.engines.kubernetes import Cluster, write_kubeconfig
from tests.kubernetes.client import Access
from tests.network.gateway_kit import INFRA, router_access

SOON, AT_ONCE = timedelta(seconds=10), timedelta(milliseconds=300)
SECURE_PORT = 8443
POINTS = {"web": {}, "websecure": {"port": SECURE_PORT, "tls": True}}
_HEAD = {"apiVersion": "gateway.networking.k8s.io/v1"}
_THEN = "2026-01-01T00:00:00Z"


class Scene:
    """A control plane with two tenants, each in a namespace of its own, and a Gateway."""

    def __init__(self, cluster: Cluster, root: Path) -> None:
        self.cluster, self.client, self.root = cluster, cluster.client, root
        self.plane = f"plane-{secrets.token_hex(3)}"
        self.acme, self.zen = (self.make_namespace(tenant) for tenant in ("acme", "zen"))
        self.gateway = f"gateway-{secrets.token_hex(3)}"
        spec = {
            "gatewayClassName": "none",
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
        }
        metadata = {"name": self.gateway, "namespace": INFRA}
        self.client.apply({**_HEAD, "kind": "Gateway", "metadata": metadata, "spec": spec})
        self.effects: list[str] = []
        self.router = self.make()

    def make_namespace(self, tenant: str) -> str:
        labels = {"ctrlplane.dev/plane": self.plane, "ctrlplane.dev/tenant": tenant}
        return self.cluster.make_namespace(tenant, labels)

    def make(
        self,
        access: Access | None = None,
        gateway: str = "",
        plane: str = "",
        on_effect: Callable[[str], None] | None = None,
    ) -> GatewayRouter:
        path = write_kubeconfig(access or router_access(self.cluster), self.root / "kubeconfig")
        environ = {"CTRLPLANE_KUBECONFIG": str(path), "CTRLPLANE_KUBE_CONTEXT": "rig"}
        options = {"gateway": f"{INFRA}/{gateway or self.gateway}", "entryPoints": POINTS}
        settings = RouterSettings(
            plane or self.plane,
            "gateway",
            str(self.root),
            options,
            on_effect or self.effects.append,
            environ,
        )
        return GatewayRouter(settings)

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

    def secure(self, tenant: str = "acme", host: str = "", **more: Any) -> RouteEntry:
        """With a certificate."""
        key = ResourceKey(Kind.CERTIFICATE, tenant, "web")
        return self.entry(tenant, host, entry_point="websecure", certificate=key, **more)

    def put(
        self,
        *entries: RouteEntry,
        certificates: Mapping[ResourceKey, SecretValue] | None = None,
        timeout: timedelta = SOON,
        router: GatewayRouter | None = None,
    ) -> LiveReport:
        router = router or self.router
        generation = router.apply(table(*entries), certificates or {})
        for tenant in {entry.key.tenant for entry in entries}:
            self.judge(getattr(self, tenant))
        self.judge_listeners()
        return router.wait_live(generation, timeout)

    def judge(self, namespace: str, status: str = "True", reason: str = "Accepted") -> None:
        """What the Gateway's controller says of all routes there."""
        for route in self.client.list("HTTPRoute", namespace):
            generation = route["metadata"]["generation"]
            parents = [
                {
                    "parentRef": parent,
                    "controllerName": "example.com/controller",
                    "conditions": [
                        _condition("Accepted", generation, status, reason),
                        _condition("ResolvedRefs", generation),
                    ],
                }
                for parent in route["spec"].get("parentRefs", ())
            ]
            if parents:
                name, body = route["metadata"]["name"], {"status": {"parents": parents}}
                self.client.patch("HTTPRoute", name, body, namespace, part="status")

    def judge_listeners(self, status: str = "True", reason: str = "Programmed") -> None:
        """What it says of all listeners; ``status`` is of ours."""
        found = self.client.get("Gateway", self.gateway, INFRA)
        generation, said = found["metadata"]["generation"], []
        for name in self.listeners():
            is_ours = name.startswith(f"{self.plane}.")
            conditions = [
                _condition("Accepted", generation),
                _condition("ResolvedRefs", generation, *((status, reason) if is_ours else ())),
                _condition("Programmed", generation),
            ]
            kinds: list[Any] = []
            item = {"name": name, "attachedRoutes": 0, "supportedKinds": kinds}
            said.append({**item, "conditions": conditions})
        body = {"status": {"listeners": said}}
        self.client.patch("Gateway", self.gateway, body, INFRA, part="status")

    def route(self, namespace: str, name: str = "web") -> dict[str, Any]:
        return self.client.get("HTTPRoute", name, namespace)

    def listeners(self) -> dict[str, dict[str, Any]]:
        """Of the Gateway, by name."""
        found = self.client.get("Gateway", self.gateway, INFRA)
        return {item["name"]: item for item in found["spec"]["listeners"]}

    def ours(self) -> set[str]:
        """Everything there is of the control plane in its namespaces and at the Gateway."""
        found = {name for name in self.listeners() if name.startswith(f"{self.plane}.")}
        for namespace in (self.acme, self.zen):
            for kind in ("HTTPRoute", "Secret", "ReferenceGrant"):
                items = self.client.list(kind, namespace)
                found |= {f"{kind} {namespace}/{item['metadata']['name']}" for item in items}
        return found


def table(*entries: RouteEntry) -> RouteTable:
    return RouteTable(tuple(sorted(entries, key=lambda it: (it.key, it.variant))))


def _condition(kind: str, generation: int, status: str = "True", reason: str = "") -> Any:
    return {
        "type": kind,
        "status": status,
        "reason": reason or kind,
        "message": "",
        "observedGeneration": generation,
        "lastTransitionTime": _THEN,
    }
