"""An API server that keeps what it is given, in pages as long as asked for, and whose pods run as
soon as there is a Deployment for them: to count what is asked of one."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.cluster.api_server import ApiServer, Asked, Reply

Object = dict[str, Any]
_REQUIREMENT = re.compile(r"([\w./-]+)(?:( in )\(([^)]*)\)|=([^,]*))?,?")
_AT = "2026-03-01T12:00:00Z"
_ABSENT = Reply(404, {"reason": "NotFound", "message": "there is none"})
_EXISTS = Reply(409, {"reason": "AlreadyExists", "message": "there is one"})


class ObjectServer(ApiServer):
    """``objects`` are by path. ``before`` is called before each answer, by the thread that gives
    it. ``refused`` is a kind, in the plural, that nobody may list."""

    def __init__(self, pem: Path) -> None:
        super().__init__(pem)
        self.objects: dict[str, Object] = {}
        self.refused = "nothing"
        self.before: Callable[[Asked], None] = lambda asked: None
        self._lock = threading.Lock()
        self._count = 0

    @property
    def calls(self) -> list[str]:
        """What was asked for, as in ``GET deployments/web-v1``, or ``GET deployments`` for a list
        of them, wherever they are."""
        return [_describe(asked) for asked in self.asked]

    def answer(self, asked: Asked) -> Reply:
        self.before(asked)
        with self._lock:
            return self._answer(asked)

    def _answer(self, asked: Asked) -> Reply:
        url = urlsplit(asked.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        is_named = _describe(asked).count("/") == 1
        if asked.method == "GET" and not is_named and url.path.endswith(f"/{self.refused}"):
            text = f"{self.refused} is forbidden: User cannot list resource"
            return Reply(403, {"reason": "Forbidden", "message": text})
        if asked.method == "GET" and not is_named:
            return self._list(url.path, query)
        if asked.method == "GET":
            found = self.objects.get(url.path)
            return _ABSENT if found is None else Reply(body=found)
        if asked.method == "DELETE":
            return _ABSENT if self.objects.pop(url.path, None) is None else Reply()
        path = url.path if is_named else f"{url.path}/{asked.body['metadata']['name']}"
        if not is_named and path in self.objects:
            return _EXISTS
        body = asked.body
        if asked.method == "PATCH" and "name" not in body["metadata"]:
            body = merge(self.objects[path], body)
        return Reply(201, self.put(path, body))

    def put(self, path: str, item: Object) -> Object:
        """Keep it, with its pods where it is a Deployment, to which Services of its name lead."""
        self._count += 1
        known = {"uid": f"uid-{self._count}", "generation": 1, "creationTimestamp": _AT}
        known["resourceVersion"] = str(self._count)
        found = item | {"metadata": known | item["metadata"]}
        self.objects[path] = found
        if "/deployments/" in path:
            found["status"] = {"observedGeneration": 1}
            uids = [self._make_pod(path, found, it) for it in range(found["spec"]["replicas"])]
            metadata = found["metadata"]
            root = f"/apis/discovery.k8s.io/v1/namespaces/{metadata['namespace']}/endpointslices"
            self.objects[f"{root}/{metadata['name']}"] = {
                "metadata": {key: metadata[key] for key in ("name", "namespace", "labels")},
                "endpoints": [{"targetRef": {"uid": uid}} for uid in uids],
            }
        return found

    def _make_pod(self, path: str, deployment: Object, number: int) -> str:
        """Its identity."""
        metadata, template = deployment["metadata"], deployment["spec"]["template"]
        name, namespace = f"{metadata['name']}-{number}", metadata["namespace"]
        uid = f"{metadata['uid']}/{number}"
        container = {"name": "app", "state": {"running": {"startedAt": _AT}}, "ready": True}
        condition = {"type": "Ready", "status": "True", "lastTransitionTime": _AT}
        self.objects[f"/api/v1/namespaces/{namespace}/pods/{name}"] = {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid,
                "creationTimestamp": _AT,
                "labels": template["metadata"]["labels"],
            },
            "spec": template["spec"],
            "status": {
                "phase": "Running",
                "containerStatuses": [container | {"started": True}],
                "conditions": [condition],
            },
        }
        return uid

    def _list(self, path: str, query: Mapping[str, str]) -> Reply:
        """Of one namespace, or of all."""
        root, _, plural = path.rpartition("/")
        labels = _read_selector(query.get("labelSelector", ""))
        there = [
            item
            for place, item in self.objects.items()
            if place.startswith(f"{root}/") and place.split("/")[-2] == plural
        ]
        found = [it for it in there if _carries(it["metadata"].get("labels") or {}, labels)]
        first = int(query.get("continue", "0"))
        end = first + int(query.get("limit", len(found)))
        # Of a full page it is not known whether what follows carries them.
        is_more = end < len(found) or end == len(found) < len(there)
        token = str(end) if is_more else ""
        return Reply(body={"metadata": {"continue": token}, "items": found[first:end]})


def _read_selector(text: str) -> dict[str, set[str]]:
    """By label which values will do; none where every one does.

    >>> _read_selector("a=b,c,d in (e)")
    {'a': {'b'}, 'c': set(), 'd': {'e'}}
    """
    found: dict[str, set[str]] = {}
    for name, is_among, these, value in _REQUIREMENT.findall(text):
        found[name] = set(these.split(",")) if is_among else {value} - {""}
    return found


def _carries(labels: Mapping[str, str], wanted: Mapping[str, set[str]]) -> bool:
    return all(
        labels.get(name) in values if values else name in labels for name, values in wanted.items()
    )


def _describe(asked: Asked) -> str:
    """
    >>> _describe(Asked("GET", "/apis/apps/v1/namespaces/n/deployments/web-v1?x=y", {}, None))
    'GET deployments/web-v1'
    >>> _describe(Asked("GET", "/api/v1/pods?limit=2", {}, None))
    'GET pods'
    >>> _describe(Asked("POST", "/api/v1/namespaces/n/services", {}, None))
    'POST services'
    """
    parts = urlsplit(asked.path).path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if rest[0] == "namespaces" and len(rest) > 2:
        rest = rest[2:]
    return f"{asked.method} {'/'.join(rest)}"


def merge(whole: Any, change: Any) -> Any:
    """A JSON merge patch (RFC 7386).

    >>> merge({"a": {"b": 1, "c": [2]}}, {"a": {"b": None, "c": [3]}})
    {'a': {'c': [3]}}
    """
    if not isinstance(change, dict):
        return change
    found = dict(whole) if isinstance(whole, dict) else {}
    for name, value in change.items():
        found[name] = merge(found.get(name), value)
    return {name: value for name, value in found.items() if change.get(name, 0) is not None}
