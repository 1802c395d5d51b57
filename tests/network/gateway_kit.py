"""A Gateway that really routes: Traefik, told by a real API server; and who else plays a part."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from ctrlplane_gitops.network.conformance_kit import wait_until
from ctrlplane_gitops.state.traffic import Member, RouteEntry
from ctrlplane_gitops.value import replace
from tests.engines.kubernetes import Cluster, write_kubeconfig
from tests.engines.program import MissingEngineError, free_port, give_up, running
from tests.kubernetes.client import Access, ApiError, Client
from tests.kubernetes.gateway import CLASS_LABEL, install_definitions
from tests.kubernetes.lens import Lens
from tests.kubernetes.role import documents

# An EndpointSlice takes no loopback addresses: 10.x.y.z there is 127.x.y.z here (see ``Lens``).
HOSTS = tuple(f"127.77.{os.getpid() & 255}.{number}" for number in range(1, 255))
INFRA, PUBLIC = "infra", "public"
_HEAD = {"apiVersion": "gateway.networking.k8s.io/v1"}
CLASS = "conformance"


def install_gateway_api(cluster: Cluster) -> None:
    """The definitions, and the namespace of the Gateway; once."""
    if cluster in _INSTALLED:
        return
    try:
        install_definitions(cluster)
    except MissingEngineError as missing:
        give_up("kubernetes", str(missing))
    cluster.client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": INFRA}})
    # Established, they are still being made ready for a moment.
    wait_until(lambda: _is_listed(cluster), "HTTPRoutes to be listed")
    _INSTALLED.add(cluster)


_INSTALLED: set[Cluster] = set()


def _is_listed(cluster: Cluster) -> bool:
    try:
        for kind in ("HTTPRoute", "Gateway"):
            cluster.client.list(kind)
    except ApiError:
        return False
    return True


def router_access(cluster: Cluster) -> Access:
    """Somebody with the rights that we ship for provider and router, and no more; made once."""
    if cluster not in _ACCESS:
        rules = [rule for file in ("role.yaml", "gateway.yaml") for item in documents(file)
                 for rule in item.get("rules", ())]  # fmt: skip
        for rule in rules:
            # Of the one Gateway that is meant.
            rule.pop("resourceNames", None)
        _ACCESS[cluster] = cluster.make_account(rules, "router")
    return _ACCESS[cluster]


_ACCESS: dict[Cluster, Access] = {}


class TraefikGateway:
    """Traefik as the controller of a Gateway with the listener ``http``, which also takes those of
    others at ``secure_port``, and a class of its own."""

    def __init__(self, cluster: Cluster, binary: str, root: Path) -> None:
        self.client = cluster.client
        self.web_port, self.secure_port, self._api = free_port(), free_port(), free_port()
        self._binary, self._root = binary, root
        # Each of its watches keeps a connection.
        self._watching = Client(cluster.access, connections=64)
        self._lens = Lens(self._watching)
        self._stack: ExitStack | None = None
        self._marks = 0

    @property
    def is_running(self) -> bool:
        return self._stack is not None

    def declare(self) -> None:
        """Its class and itself, as whoever runs the cluster does."""
        self.client.apply(
            {
                **_HEAD,
                "kind": "GatewayClass",
                "metadata": {"name": CLASS, "labels": {CLASS_LABEL: CLASS}},
                "spec": {"controllerName": "traefik.io/gateway-controller"},
            }
        )
        routes = {"namespaces": {"from": "All"}}
        web = {"name": "http", "port": self.web_port, "protocol": "HTTP", "allowedRoutes": routes}
        self.client.apply(
            {
                **_HEAD,
                "kind": "Gateway",
                "metadata": {"name": PUBLIC, "namespace": INFRA},
                "spec": {"gatewayClassName": CLASS, "listeners": [web]},
            }
        )

    def start(self) -> None:
        assert self._stack is None
        self._stack = ExitStack()
        arguments = [
            self._binary,
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
            "--log.level=ERROR",
            "--api.insecure=true",
            "--ping=true",
            f"--entrypoints.traefik.address=127.0.0.1:{self._api}",
            f"--entrypoints.web.address=127.0.0.1:{self.web_port}",
            f"--entrypoints.websecure.address=127.0.0.1:{self.secure_port}",
            "--providers.providersthrottleduration=50ms",
            "--providers.kubernetesgateway=true",
            f"--providers.kubernetesgateway.endpoint={self._lens.address}",
            "--providers.kubernetesgateway.token=the-lens-has-its-own",
            f"--providers.kubernetesgateway.labelselector={CLASS_LABEL}={CLASS}",
        ]
        log = self._root / "traefik.log"
        try:
            self._stack.enter_context(running(arguments, log, self._is_up))
        except MissingEngineError:
            self._stack = None
            raise

    def stop(self) -> None:
        if self._stack is not None:
            stack, self._stack = self._stack, None
            stack.close()

    def close(self) -> None:
        self.stop()
        self._lens.close()
        self._watching.close()

    def _is_up(self) -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self._api), 0.2).close()
            return True
        return False

    def confirm(self) -> None:
        """Until it serves all that is in the cluster now: what comes last is a route of our own, to
        a Service and an endpoint that are new as well. It hears of each of these kinds by a watch
        of its own, and of what is of one kind in its order."""
        self._marks += 1
        name = f"mark-{self._marks}"
        target = Member(name, "127.0.0.1", self._api)
        self.client.apply(_service(name), INFRA)
        self.client.apply(_slice(name, 0, [target], [True]), INFRA)
        route = {
            **_HEAD,
            "kind": "HTTPRoute",
            "metadata": {"name": "mark", "namespace": INFRA},
            "spec": {
                "parentRefs": [{"name": PUBLIC}],
                "hostnames": [f"{name}.example"],
                "rules": [{"backendRefs": [{"name": name, "port": 80}]}],
            },
        }
        self.client.apply(route)
        wait_until(lambda: self._pings(f"{name}.example"), "the Gateway to serve what it was told")

    def _pings(self, host: str) -> bool:
        """Whether that host leads to its own API."""
        connection = http.client.HTTPConnection("127.0.0.1", self.web_port, timeout=2)
        try:
            connection.request("GET", "/ping", headers={"Host": host})
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


class Services:
    """Plays the provider: a Service for the members of each release, which leave it and come to it
    as members of a table do."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.client, self.namespace = cluster.client, namespace
        self._seen: dict[str, list[Member]] = {}
        self._is_ending = threading.Event()
        self._ready: dict[str, list[bool]] = {}
        self._lock = threading.Lock()
        self._prober = threading.Thread(target=self._probe)
        self._prober.start()

    def close(self) -> None:
        self._is_ending.set()
        self._prober.join()

    def _probe(self) -> None:
        """Plays the kubelet: who does not answer is not ready."""
        while not self._is_ending.wait(0.2):
            with self._lock:
                for name, members in self._seen.items():
                    ready = [_answers(item) for item in members]
                    if ready != self._ready.get(name):
                        self._write_slices(name, members, ready)

    def place(self, entry: RouteEntry) -> RouteEntry:
        """The entry with members as the provider shows them."""
        backends = []
        for backend in entry.backends:
            if not backend.members:
                backends.append(backend)
                continue
            name = f"{entry.key.name}-{entry.variant or 'main'}-v{backend.release}"
            host = f"{name}.{self.namespace}.svc"
            if any(item.host.endswith(".svc") for item in backend.members):
                backends.append(backend)
                continue
            self._write(name, list(backend.members))
            members = tuple(replace(item, host=host, port=80) for item in backend.members)
            backends.append(replace(backend, members=members))
        return replace(entry, backends=tuple(backends))

    def _write(self, name: str, members: list[Member]) -> None:
        with self._lock:
            self._write_all(name, members)

    def _write_all(self, name: str, members: list[Member]) -> None:
        if self._seen.get(name) == members:
            return
        if name not in self._seen:
            self.client.apply(_service(name), self.namespace)
        self._write_slices(name, members, [True] * len(members))
        self._seen[name] = members

    def _write_slices(self, name: str, members: list[Member], ready: list[bool]) -> None:
        """One for each member: every one has another port."""
        for number in range(max(len(members), len(self._ready.get(name, ())))):
            item, is_ready = members[number : number + 1], ready[number : number + 1]
            self.client.apply(_slice(name, number, item, is_ready), self.namespace)
        self._ready[name] = ready


def _answers(member: Member) -> bool:
    if member.host == "127.0.0.1":
        return True  # nobody who is to be asked
    try:
        socket.create_connection((member.host, member.port), 0.5).close()
    except TimeoutError:
        return True  # who is slow once is as ready as before, as with a kubelet
    except OSError:
        return False
    return True


def _service(name: str) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": ports},
    }


def _slice(name: str, number: int, members: list[Member], ready: list[bool]) -> dict[str, Any]:
    address = [item.host.replace("127.", "10.", 1) for item in members]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{number}",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [it], "conditions": {"ready": is_ready}}
            for it, is_ready in zip(address, ready, strict=True)
        ],
        "ports": [{"name": "http", "port": item.port, "protocol": "TCP"} for item in members],
    }


def router_environ(access: Access, port: int, path: Path) -> dict[str, str]:
    """What the router is told of a cluster that is reached at that port of 127.0.0.1."""
    there = Access(
        f"https://127.0.0.1:{port}", access.authority, access.token, access.certificate, access.key
    )
    write_kubeconfig(there, path)
    return {"CTRLPLANE_KUBECONFIG": str(path), "CTRLPLANE_KUBE_CONTEXT": "rig"}
