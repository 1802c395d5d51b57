"""Which named parts a template has: what somebody takes away leaves no trace but that it is not
there. What is changed or added has an owner in the metadata. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ctrlplane_gitops.providers.kubernetes.name import CONTAINER

_NAMED = {"env": "name", "ports": "containerPort", "volumeMounts": "mountPath"}
_WHOLE = ("args", "workingDir", "lifecycle", "startupProbe", "readinessProbe")


def write_shape(pod: Mapping[str, Any]) -> str:
    """The names of what a pod's specification has, for an annotation.

    >>> write_shape({"containers": [{"name": "app", "env": [{"name": "A"}], "args": ["x"]}]})
    '["args","env.A"]'
    """
    return json.dumps(sorted(_parts(pod)), separators=(",", ":"))


def find_taken(pod: Mapping[str, Any], shape: str) -> list[str]:
    """What of it is not there any more; whoever has more of it has others to thank.

    >>> pod = {"containers": [{"name": "app", "env": [{"name": "B"}]}]}
    >>> find_taken(pod, '["args","env.A","env.B"]')
    ['args', 'env.A']
    >>> find_taken(pod, "")
    []
    """
    try:
        before = json.loads(shape) if shape else []
    except ValueError:
        return ["the list of its parts"]
    return sorted({str(part) for part in before} - set(_parts(pod)))


def _parts(pod: Mapping[str, Any]) -> Iterator[str]:
    items = pod.get("containers") or ()
    container: Mapping[str, Any] = next((it for it in items if it.get("name") == CONTAINER), {})
    yield from (name for name in _WHOLE if container.get(name))
    for name, key in _NAMED.items():
        yield from (f"{name}.{item.get(key)}" for item in container.get(name) or ())
    yield from (f"volumes.{item.get('name')}" for item in pod.get("volumes") or ())
    pulls = pod.get("imagePullSecrets") or ()
    yield from (f"imagePullSecrets.{item.get('name')}" for item in pulls)
