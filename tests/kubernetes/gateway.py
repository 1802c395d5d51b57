"""A Gateway that really routes: Traefik with its own controller for the Gateway API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.engines.kubernetes import Cluster
from tests.engines.program import MissingEngineError, free_port, running
from tests.engines.router import find_traefik
from tests.kubernetes.client import Client, Object
from tests.kubernetes.lens import Lens

CLASS, NAME = "traefik", "rig"
CLASS_LABEL = "rig.ctrlplane.dev/class"
_CONTROLLER = "traefik.io/gateway-controller"
_GROUP = "gateway.networking.k8s.io"
_DEFINITIONS = "gateway-api"


class Gateway:
    """Routes that name it as their parent, from any namespace, are served at ``address``. Listeners
    may be added to it at ``secure_port``."""

    def __init__(self, cluster: Cluster, namespace: str, port: int, secure_port: int) -> None:
        self.cluster, self.namespace, self.port = cluster, namespace, port
        self.secure_port = secure_port
        self.name = NAME
        self.address = f"http://127.0.0.1:{port}"

    @property
    def parent(self) -> Object:
        """As a route's ``parentRefs`` name it."""
        return {"name": self.name, "namespace": self.namespace}

    def parent_status(self, route: str, namespace: str) -> Object:
        """What the controller says of a route: conditions by type, {} while it says nothing."""
        found = self.cluster.client.get("HTTPRoute", route, namespace)
        for one in found.get("status", {}).get("parents", ()):
            if one["parentRef"]["name"] == self.name:
                return {item["type"]: item for item in one["conditions"]}
        return {}

    def is_live(self, route: str, namespace: str) -> bool:
        """Whether it has accepted what the route says now."""
        generation = self.cluster.client.get("HTTPRoute", route, namespace)["metadata"][
            "generation"
        ]
        said = self.parent_status(route, namespace)
        return all(
            said.get(kind, {}).get("status") == "True"
            and said[kind].get("observedGeneration") == generation
            for kind in ("Accepted", "ResolvedRefs")
        )


def install_definitions(cluster: Cluster) -> None:
    """The Gateway API in its standard channel; what is there already is left as it is."""
    from ruamel.yaml import YAML

    if cluster.assets is None:
        raise MissingEngineError("the existing cluster brings its own Gateway API, or none")
    folder = cluster.assets / _DEFINITIONS
    if not folder.is_dir():
        raise MissingEngineError(f"{folder} is missing (tests/kubernetes/assets/build.sh)")
    yaml = YAML(typ="safe")
    items = [
        json.loads(json.dumps(item, default=str))
        for path in sorted(folder.glob("*.yaml"))
        for item in yaml.load_all(path.read_text())
        if item
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(cluster.client.apply, items))
    names = {
        item["metadata"]["name"] for item in items if item["kind"] == "CustomResourceDefinition"
    }
    cluster.client.wait("the Gateway API", lambda: _established(cluster.client) >= names, 60)


def _established(client: Client) -> set[str]:
    return {
        item["metadata"]["name"]
        for item in client.list("CustomResourceDefinition")
        for one in item.get("status", {}).get("conditions") or ()
        if (one["type"], one["status"]) == ("Established", "True")
    }


def _declare(gateway: Gateway) -> None:
    client, head = gateway.cluster.client, {"apiVersion": f"{_GROUP}/v1"}
    spec: Object = {"controllerName": _CONTROLLER}
    # A controller of this kind takes all classes of its kind, unless it is told which.
    metadata: Object = {"name": CLASS, "labels": {CLASS_LABEL: CLASS}}
    client.apply({**head, "kind": "GatewayClass", "metadata": metadata, "spec": spec})
    listener = {
        "name": "web",
        "protocol": "HTTP",
        "port": gateway.port,
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    spec = {"gatewayClassName": CLASS, "listeners": [listener]}
    item = {**head, "kind": "Gateway", "metadata": {"name": gateway.name}, "spec": spec}
    client.apply(item, gateway.namespace)


@contextmanager
def gateway(cluster: Cluster, root: Path) -> Iterator[Gateway]:
    """From its Gateway being programmed to its end."""
    program = find_traefik()
    install_definitions(cluster)
    made = Gateway(cluster, cluster.make_namespace("gateway"), free_port(), free_port())
    _declare(made)
    ping = free_port()
    with ExitStack() as stack:
        client = Client(cluster.access, connections=64)
        stack.callback(client.close)
        lens = Lens(client)
        stack.callback(lens.close)
        config = root / "traefik.json"
        config.write_text(json.dumps(_config(made, ping, lens.address)))
        arguments = [program, f"--configFile={config}"]
        stack.enter_context(running(arguments, root / "traefik.log", lambda: _answers(ping)))
        cluster.client.wait("the Gateway", lambda: _is_programmed(made), 60)
        yield made


def _config(made: Gateway, ping: int, server: str) -> Object:
    return {
        "entryPoints": {
            "web": {"address": f"127.0.0.1:{made.port}"},
            "websecure": {"address": f"127.0.0.1:{made.secure_port}"},
            "ping": {"address": f"127.0.0.1:{ping}"},
        },
        "ping": {"entryPoint": "ping"},
        "log": {"level": "INFO"},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "providers": {
            "providersThrottleDuration": "100ms",
            "kubernetesGateway": {
                "endpoint": server,
                "token": "the-lens-has-its-own",
                "labelSelector": f"{CLASS_LABEL}={CLASS}",
            },
        },
    }


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/ping", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _is_programmed(made: Gateway) -> bool:
    found = made.cluster.client.get("Gateway", made.name, made.namespace)
    return any(
        (one["type"], one["status"]) == ("Programmed", "True")
        for one in found.get("status", {}).get("conditions", ())
    )
