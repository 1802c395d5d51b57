"""What a container is given: its environment, and the files of its volumes."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.kubernetes.client import ApiError, Client, Object, path_of

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][\w.-]*)\)")
_SUFFIXES = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 1e3, "M": 1e6, "G": 1e9, "m": 1e-3}
_TOKEN_PATH = "token"


class NotReadyError(Exception):
    """Something a container needs is not there (yet). The text says what."""


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Names that are known are replaced; ``$$`` is a dollar.

    >>> expand("$(A) $$(A) $(B)", {"A": "1"})
    '1 $(A) $(B)'
    """

    def replaced(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return environ.get(match[1], match[0])

    return _REFERENCE.sub(replaced, text)


class Giver:
    """Reads as a node does what a pod's containers are given."""

    def __init__(self, client: Client, item: Object, ip: str, host_ip: str) -> None:
        self._client, self._item = client, item
        self._namespace = item["metadata"]["namespace"]
        self._own = {
            "metadata.name": item["metadata"]["name"],
            "metadata.namespace": self._namespace,
            "metadata.uid": item["metadata"]["uid"],
            "spec.nodeName": item["spec"].get("nodeName", ""),
            "spec.serviceAccountName": item["spec"].get("serviceAccountName", ""),
            "status.podIP": ip,
            "status.podIPs": ip,
            "status.hostIP": host_ip,
        }

    def environment(self, container: Object, before: Mapping[str, str]) -> dict[str, str]:
        """``before`` is the image's; NotReadyError names what is missing."""
        found = dict(before)
        for source in container.get("envFrom", ()):
            kind, reference = _either(
                source, ("ConfigMap", "configMapRef"), ("Secret", "secretRef")
            )
            values = self._data(kind, reference["name"], reference.get("optional", False))
            prefix = source.get("prefix", "")
            found |= {prefix + name: value.decode() for name, value in values.items()}
        for one in container.get("env", ()):
            value = self._value(one, container, found)
            if value is not None:
                found[one["name"]] = value
        return found

    def _value(self, one: Object, container: Object, known: Mapping[str, str]) -> str | None:
        source = one.get("valueFrom")
        if source is None:
            return expand(one.get("value", ""), known)
        if "fieldRef" in source:
            return self._field(source["fieldRef"]["fieldPath"])
        if "resourceFieldRef" in source:
            return _resource(container, source["resourceFieldRef"])
        kind, key = _either(source, ("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef"))
        is_optional = key.get("optional", False)
        values = self._data(kind, key["name"], is_optional)
        if key["key"] in values:
            return values[key["key"]].decode()
        if is_optional:
            return None
        raise NotReadyError(f"couldn't find key {key['key']} in {kind} {key['name']}")

    def _field(self, path: str) -> str:
        if path in self._own:
            return str(self._own[path])
        section, _, name = path.removeprefix("metadata.").partition("[")
        values: Mapping[str, str] = self._item["metadata"].get(section) or {}
        if name:
            return values.get(name.strip("]'\""), "")
        return "".join(f'{key}="{value}"\n' for key, value in sorted(values.items()))

    def _data(self, kind: str, name: str, is_optional: bool) -> dict[str, bytes]:
        try:
            found = self._client.get(kind, name, self._namespace)
        except ApiError as refused:
            if refused.status != 404:
                raise
            if is_optional:
                return {}
            raise NotReadyError(f'{kind.lower()} "{name}" not found') from None
        encoded = {**(found.get("binaryData") or {})}
        plain = found.get("data") or {}
        if kind == "Secret":
            encoded, plain = plain, {}
        values = {key: base64.b64decode(value) for key, value in encoded.items()}
        return values | {key: value.encode() for key, value in plain.items()}

    # Volumes.

    def prepare(self, folder: Path) -> dict[str, Path]:
        """Where each volume of the pod is on this machine, by name; made below ``folder`` unless it
        outlives the pod."""
        found = {}
        for volume in self._item["spec"].get("volumes", ()):
            place = folder / volume["name"]
            found[volume["name"]] = self._prepare(volume, place)
        return found

    def _prepare(self, volume: Object, place: Path) -> Path:
        if "hostPath" in volume:
            return Path(volume["hostPath"]["path"])
        if "persistentVolumeClaim" in volume:
            return self._claimed(volume["persistentVolumeClaim"]["claimName"])
        place.mkdir(parents=True, exist_ok=True)
        if "emptyDir" not in volume:
            for source in _sources(volume):
                self._lay(source, place)
        return place

    def _claimed(self, name: str) -> Path:
        claim = self._client.get("PersistentVolumeClaim", name, self._namespace)
        if claim.get("status", {}).get("phase") != "Bound":
            raise NotReadyError(f'persistentvolumeclaim "{name}" is not bound')
        volume = self._client.get("PersistentVolume", claim["spec"]["volumeName"])
        path = Path(volume["spec"]["hostPath"]["path"])
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _lay(self, source: Object, place: Path) -> None:
        """Files of one source, with their modes."""
        part = source["part"]
        mode = part.get("defaultMode", source["mode"])
        if source["type"] == "serviceAccountToken":
            _write(place / part.get("path", _TOKEN_PATH), self._token(part).encode(), mode)
            return
        if source["type"] == "downwardAPI":
            for item in part.get("items", ()):
                text = self._field(item["fieldRef"]["fieldPath"])
                _write(place / item["path"], text.encode(), item.get("mode", mode))
            return
        kind = "Secret" if source["type"] == "secret" else "ConfigMap"
        name = part.get("secretName") or part["name"]
        values = self._data(kind, name, part.get("optional", False))
        items = part.get("items") or [{"key": key, "path": key} for key in values]
        for item in items:
            if item["key"] not in values:
                raise NotReadyError(f"references non-existent config key: {item['key']}")
            _write(place / item["path"], values[item["key"]], item.get("mode", mode))

    def _token(self, part: Object) -> str:
        account = self._item["spec"].get("serviceAccountName") or "default"
        spec: Object = {"expirationSeconds": part.get("expirationSeconds", 3600)}
        if part.get("audience"):
            spec["audiences"] = [part["audience"]]
        reference = {"apiVersion": "v1", "kind": "Pod", "name": self._own["metadata.name"]}
        spec["boundObjectRef"] = reference | {"uid": self._own["metadata.uid"]}
        path = path_of("ServiceAccount", self._namespace, account) + "/token"
        return str(self._client.send("POST", path, {"spec": spec})["status"]["token"])


def _sources(volume: Object) -> list[Object]:
    """Of a volume: its one source, or those that are projected into it."""
    if "projected" in volume:
        mode = volume["projected"].get("defaultMode", 0o644)
        parts = [part for one in volume["projected"]["sources"] for part in one.items()]
    else:
        mode = 0o644
        names = ("configMap", "secret", "downwardAPI")
        parts = [(name, volume[name]) for name in names if name in volume]
    if not parts:
        raise NotReadyError(f"volume {volume['name']} is of a type that these nodes do not know")
    return [{"type": name, "part": part, "mode": mode} for name, part in parts]


def mounts_of(
    container: Object, volumes: Mapping[str, Path], known: Mapping[str, str]
) -> list[tuple[str, str, bool]]:
    """Source, target and whether it is read-only, of each mount."""
    found = []
    for mount in container.get("volumeMounts", ()):
        source = volumes[mount["name"]]
        below = expand(mount.get("subPathExpr", ""), known) or mount.get("subPath", "")
        if below:
            source = source / below
            if not source.exists():
                source.mkdir(parents=True)
        found.append((str(source), mount["mountPath"], mount.get("readOnly", False)))
    return found


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _either(source: Object, *choices: tuple[str, str]) -> tuple[str, Any]:
    for kind, name in choices:
        if name in source:
            return kind, source[name]
    raise NotReadyError(f"unknown source {', '.join(source)}")


def _resource(container: Object, reference: Object) -> str:
    section, _, name = reference["resource"].partition(".")
    text = str(container.get("resources", {}).get(section, {}).get(name, "0"))
    return str(quantity(text))


def quantity(text: str) -> int:
    """Rounded up.

    >>> quantity("128Mi"), quantity("500m"), quantity("2")
    (134217728, 1, 2)
    """
    for suffix, factor in _SUFFIXES.items():
        if text.endswith(suffix):
            return math.ceil(float(text.removesuffix(suffix)) * factor)
    return math.ceil(float(text))
