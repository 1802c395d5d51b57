"""The router ``gateway`` keeps the suite's claims: a real API server, Traefik as the Gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ctrlplane_gitops.network.conformance_traffic import TrafficConformance
from ctrlplane_gitops.network.gateway.router import GatewayRouter
from ctrlplane_gitops.network.router import Router, RouterSettings
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import RouteEntry
from ctrlplane_gitops.value import replace
from tests.engines.kubernetes import Cluster
from tests.engines.outage import Relay, tcp_relay
from tests.engines.program import MissingEngineError, give_up
from tests.network.gateway_kit import (
    HOSTS,
    INFRA,
    PUBLIC,
    Services,
    TraefikGateway,
    install_gateway_api,
    router_access,
    router_environ,
)

pytestmark = [pytest.mark.kubernetes, pytest.mark.traefik]


class TestGatewayConformance(TrafficConformance):
    gateway: TraefikGateway
    services: Services
    relay: Relay
    environ: Mapping[str, str]
    hosts: Iterator[str]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def cluster(
        cls, kubernetes_cluster: Cluster, traefik: str, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[None]:
        root = tmp_path_factory.mktemp("gateway")
        install_gateway_api(kubernetes_cluster)
        # Where the tenant's Services are if the provider is not told otherwise.
        labels = {"ctrlplane.dev/plane": "conf", "ctrlplane.dev/tenant": "acme"}
        metadata = {"name": "conf-acme", "labels": labels}
        namespace = {"metadata": metadata, "apiVersion": "v1", "kind": "Namespace"}
        kubernetes_cluster.client.apply(namespace)
        cls.services = Services(kubernetes_cluster, "conf-acme")
        cls.hosts = cycle(HOSTS)
        url = urlsplit(kubernetes_cluster.access.server)
        port, cls.relay = tcp_relay((url.hostname or "", url.port or 443))
        access = router_access(kubernetes_cluster)
        cls.environ = router_environ(access, port, root / "router.kubeconfig")
        cls.gateway = TraefikGateway(kubernetes_cluster, traefik, root)
        cls.web_port, cls.secure_port = cls.gateway.web_port, cls.gateway.secure_port
        try:
            cls.gateway.declare()
            cls.gateway.start()
            yield
        except MissingEngineError as missing:
            give_up("kubernetes", str(missing))
        finally:
            cls.gateway.close()
            cls.relay.close()
            cls.services.close()

    def choose_host(self) -> str:
        return next(self.hosts)

    def make_router(self, plane: str, root: Path, on_effect: Callable[[str], None]) -> Router:
        options = {
            "gateway": f"{INFRA}/{PUBLIC}",
            "entryPoints": {"web": "http", "websecure": {"port": self.secure_port, "tls": True}},
        }
        return GatewayRouter(
            RouterSettings(plane, "gateway", str(root), options, on_effect, self.environ)
        )

    def rich_entries(self) -> tuple[RouteEntry, ...]:
        entries = (replace(item, is_sticky=False) for item in super().rich_entries())
        return tuple(map(self.services.place, entries))

    def put(
        self,
        router: Router,
        *entries: RouteEntry,
        certificates: Mapping[ResourceKey, SecretValue] | None = None,
    ) -> str:
        """With the Services that the entries lead to; and until the Gateway has caught up."""
        placed = map(self.services.place, entries)
        generation = super().put(router, *placed, certificates=certificates)
        self.gateway.confirm()
        return generation

    def kill_router(self, router: Router, root: Path) -> None:
        self.relay.is_down = True
        self.gateway.stop()

    def stop_router(self, router: Router, root: Path) -> None:
        self.kill_router(router, root)

    def start_router(self, router: Router, root: Path) -> bool:
        self.relay.is_down = False
        if self.gateway.is_running:
            router.ensure_running()
            return False
        self.gateway.start()
        router.ensure_running()
        self.gateway.confirm()
        return True
