"""The API of Kubernetes as JSON: what the rig itself speaks, and tests that look past a client."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from ctrlplane_gitops.clock import monotonic_s, sleep

Object = dict[str, Any]
_PATCHES = {
    "apply": "application/apply-patch+yaml",
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
}
# The kinds that the rig and its tests name.
_KINDS = {
    "Namespace": ("/api/v1", "namespaces"),
    "Node": ("/api/v1", "nodes"),
    "PersistentVolume": ("/api/v1", "persistentvolumes"),
    "StorageClass": ("/apis/storage.k8s.io/v1", "storageclasses"),
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    "CustomResourceDefinition": (
        "/apis/apiextensions.k8s.io/v1",
        "customresourcedefinitions",
    ),
    "ValidatingAdmissionPolicy": (
        "/apis/admissionregistration.k8s.io/v1",
        "validatingadmissionpolicies",
    ),
    "ValidatingAdmissionPolicyBinding": (
        "/apis/admissionregistration.k8s.io/v1",
        "validatingadmissionpolicybindings",
    ),
    "ValidatingWebhookConfiguration": (
        "/apis/admissionregistration.k8s.io/v1",
        "validatingwebhookconfigurations",
    ),
    "PriorityLevelConfiguration": (
        "/apis/flowcontrol.apiserver.k8s.io/v1",
        "prioritylevelconfigurations",
    ),
    "FlowSchema": ("/apis/flowcontrol.apiserver.k8s.io/v1", "flowschemas"),
    "GatewayClass": ("/apis/gateway.networking.k8s.io/v1", "gatewayclasses"),
    "NodeMetrics": ("/apis/metrics.k8s.io/v1beta1", "nodes"),
}
_NAMESPACED = {
    "Pod": ("/api/v1", "pods"),
    "Service": ("/api/v1", "services"),
    "Secret": ("/api/v1", "secrets"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "Event": ("/api/v1", "events"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "ResourceQuota": ("/api/v1", "resourcequotas"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "ReplicaSet": ("/apis/apps/v1", "replicasets"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "Job": ("/apis/batch/v1", "jobs"),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices"),
    "Gateway": ("/apis/gateway.networking.k8s.io/v1", "gateways"),
    "HTTPRoute": ("/apis/gateway.networking.k8s.io/v1", "httproutes"),
    "ReferenceGrant": ("/apis/gateway.networking.k8s.io/v1beta1", "referencegrants"),
    "PodMetrics": ("/apis/metrics.k8s.io/v1beta1", "pods"),
}


class ApiError(Exception):
    """What the API server refused. ``status`` is HTTP's, ``body`` its Status object."""

    def __init__(self, status: int, body: Object) -> None:
        super().__init__(f"{status}: {body.get('message', body)}")
        self.status, self.body = status, body


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach an API server as somebody: a token, or a client's certificate and key."""

    server: str
    authority: Path
    token: str = ""
    certificate: Path | None = None
    key: Path | None = None

    def kubeconfig(self, namespace: str = "default") -> Object:
        """The document, everything inside: it may be moved. JSON is YAML as well."""
        user: Object = {"token": self.token} if self.token else {}
        if self.certificate and self.key:
            user |= {
                "client-certificate-data": _encode(self.certificate),
                "client-key-data": _encode(self.key),
            }
        cluster = {"server": self.server, "certificate-authority-data": _encode(self.authority)}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "rig", "cluster": cluster}],
            "users": [{"name": "rig", "user": user}],
            "contexts": [
                {
                    "name": "rig",
                    "context": {"cluster": "rig", "user": "rig", "namespace": namespace},
                }
            ],
            "current-context": "rig",
        }


def read_kubeconfig(path: Path, folder: Path) -> Access:
    """Of the current context; what stands inside is written below ``folder``."""
    from ruamel.yaml import YAML

    document = YAML(typ="safe").load(path.read_text())
    names = {name: {item["name"]: item for item in document[name]} for name in _SECTIONS}
    context = names["contexts"][document["current-context"]]["context"]
    cluster = names["clusters"][context["cluster"]]["cluster"]
    user = names["users"][context["user"]]["user"]

    def file(section: Object, name: str) -> Path | None:
        if name in section:
            return path.parent / section[name]
        if f"{name}-data" not in section:
            return None
        written = folder / name
        written.write_bytes(base64.b64decode(section[f"{name}-data"]))
        written.chmod(0o600)
        return written

    authority = file(cluster, "certificate-authority")
    if authority is None:
        raise ValueError(f"{path}: the cluster names no certificate-authority")
    return Access(
        cluster["server"],
        authority,
        user.get("token", ""),
        file(user, "client-certificate"),
        file(user, "client-key"),
    )


_SECTIONS = ("contexts", "clusters", "users")


def _encode(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


class Client:
    """Speaks as ``access`` says. Safe to share between threads. ``BROKEN`` is what it raises where
    nothing answers."""

    BROKEN = (HTTPError, OSError)

    def __init__(self, access: Access, connections: int = 16) -> None:
        self.access = access
        context = ssl.create_default_context(cafile=str(access.authority))
        if access.certificate:
            context.load_cert_chain(str(access.certificate), access.key and str(access.key))
        self._pool = urllib3.PoolManager(
            num_pools=2, maxsize=connections, ssl_context=context, retries=False, timeout=30.0
        )
        self._headers = {"Accept": "application/json"}
        if access.token:
            self._headers["Authorization"] = f"Bearer {access.token}"

    def close(self) -> None:
        self._pool.clear()

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = "application/json",
        **query: Any,
    ) -> Object:
        """The answer's JSON; ApiError from 400 on, urllib3's errors without an answer."""
        answer = self._pool.request(
            method,
            self.url(path, query),
            body=None if body is None else json.dumps(body).encode(),
            headers={**self._headers, "Content-Type": kind},
        )
        return _checked(answer.status, answer.data)

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Any:
        """As it is, its answer as a stream, whatever its status; whoever gets it closes it."""
        return self._pool.request(
            method,
            self.access.server + path,
            body=body,
            headers={**self._headers, **headers},
            preload_content=False,
            timeout=urllib3.Timeout(connect=5, read=None),
        )

    def text(self, path: str, **query: Any) -> str:
        """An answer that is no JSON, as logs are."""
        answer = self._pool.request("GET", self.url(path, query), headers=self._headers)
        if answer.status >= 400:
            _checked(answer.status, answer.data)
        return answer.data.decode(errors="replace")

    def url(self, path: str, query: Mapping[str, Any]) -> str:
        return self.access.server + path + (f"?{urlencode(query, doseq=True)}" if query else "")

    # Objects, by kind.

    def get(self, kind: str, name: str, namespace: str = "") -> Object:
        return self.send("GET", path_of(kind, namespace, name))

    def list(self, kind: str, namespace: str = "", **query: Any) -> list[Object]:
        """Of one namespace, or of all."""
        return self.send("GET", path_of(kind, namespace), **query)["items"]

    def create(self, item: Object, namespace: str = "") -> Object:
        where = namespace or item["metadata"].get("namespace", "")
        return self.send("POST", path_of(item["kind"], where), item)

    def apply(self, item: Object, namespace: str = "", manager: str = "rig") -> Object:
        """Server-side, with force: what a test arranges, it arranges."""
        where = namespace or item["metadata"].get("namespace", "")
        path = path_of(item["kind"], where, item["metadata"]["name"])
        return self.send(
            "PATCH", path, item, kind=_PATCHES["apply"], fieldManager=manager, force="true"
        )

    def patch(
        self,
        kind: str,
        name: str,
        change: Any,
        namespace: str = "",
        *,
        part: str = "",
        type: str = "merge",
        manager: str = "rig",
    ) -> Object:
        """``part`` is a subresource as ``status`` or ``scale``; ``type`` is merge, json, apply."""
        path = path_of(kind, namespace, name) + (f"/{part}" if part else "")
        return self.send("PATCH", path, change, kind=_PATCHES[type], fieldManager=manager)

    def delete(self, kind: str, name: str, namespace: str = "", **options: Any) -> None:
        """Already gone is gone."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options}
        try:
            self.send("DELETE", path_of(kind, namespace, name), body)
        except ApiError as refused:
            if refused.status not in (404, 409):
                raise

    def watch(self, kind: str, **query: Any) -> Watch:
        """Every object of a kind, now and from now on."""
        return Watch(self, kind, query)

    def open(self, path: str, query: Mapping[str, Any]) -> Any:
        """A stream; whoever gets it closes it."""
        answer = self._pool.request(
            "GET",
            self.url(path, query),
            headers=self._headers,
            preload_content=False,
            timeout=urllib3.Timeout(connect=5, read=None),
        )
        if answer.status >= 400:
            _checked(answer.status, answer.data)
        return answer

    def wait(self, what: str, holds: Callable[[], Any], patience_s: float = 20) -> Any:
        """Until ``holds`` says something true, which is returned; what is not there, or not yet,
        is waited for as well."""
        deadline = monotonic_s() + patience_s
        while True:
            try:
                found = holds()
            except ApiError as refused:
                if refused.status not in (404, 429, 503):
                    raise
                found = None
            if found:
                return found
            assert monotonic_s() < deadline, f"still waiting for: {what}"
            sleep(0.03)


class Watch:
    """Iterated: ("ADDED", object) and on, listed, then watched; again from the list whenever the
    watch is lost, with ("LISTED", list) after each list. ``close`` ends it, from any thread."""

    def __init__(self, client: Client, kind: str, query: Mapping[str, Any]) -> None:
        self._client, self._path, self._query = client, path_of(kind), query
        self._lock = threading.Lock()
        self._is_over = False
        self._answer: Any = None

    def close(self) -> None:
        with self._lock:
            self._is_over = True
            if self._answer is not None:
                self._answer.shutdown()

    def __iter__(self) -> Iterator[tuple[str, Object]]:
        while not self._is_over:
            try:
                listed = self._client.send("GET", self._path, **self._query)
                for item in listed["items"]:
                    yield "ADDED", item
                yield "LISTED", listed
                yield from self._follow(listed["metadata"]["resourceVersion"])
            except (HTTPError, ApiError, OSError, ValueError):
                sleep(0.1)

    def _follow(self, version: str) -> Iterator[tuple[str, Object]]:
        query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}
        answer = self._client.open(self._path, {**self._query, **query})
        with self._lock:
            if self._is_over:
                answer.close()
                return
            self._answer = answer
        try:
            for line in _lines(answer):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]
        finally:
            with self._lock:
                self._answer = None
            answer.close()


def _lines(answer: Any) -> Iterator[bytes]:
    rest = b""
    while data := answer.read1(1 << 16):
        *whole, rest = (rest + data).split(b"\n")
        yield from whole


def _checked(status: int, data: bytes) -> Object:
    try:
        body = json.loads(data) if data else {}
    except ValueError:
        body = {"message": data.decode(errors="replace")}
    if status >= 400:
        raise ApiError(status, body)
    return body


def path_of(kind: str, namespace: str = "", name: str = "") -> str:
    """Of a collection or an object.

    >>> path_of("Deployment", "acme", "web")
    '/apis/apps/v1/namespaces/acme/deployments/web'
    >>> path_of("Namespace", "", "acme")
    '/api/v1/namespaces/acme'
    """
    if kind in _KINDS:
        group, plural = _KINDS[kind]
        path = f"{group}/{plural}"
    else:
        group, plural = _NAMESPACED[kind]
        path = f"{group}/namespaces/{namespace}/{plural}" if namespace else f"{group}/{plural}"
    return f"{path}/{name}" if name else path
