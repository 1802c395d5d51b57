"""Objects the rig's own tests create."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.kubernetes.client import Object


def deployment(
    name: str,
    image: str = "app:1",
    replicas: int = 1,
    *,
    annotations: Mapping[str, str] | None = None,
    container: Mapping[str, Any] | None = None,
    pod: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Object:
    """One container ``app``; ``container``, ``pod`` and ``spec`` are added to each part."""
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels, "annotations": dict(annotations or {})},
        "spec": {
            "containers": [{"name": "app", "image": image, **(container or {})}],
            **(pod or {}),
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": template,
            **spec,
        },
    }


def is_available(item: Object) -> bool:
    """Whether a Deployment has got where it was told to go."""
    status, wanted = item.get("status", {}), item["spec"]["replicas"]
    counts = [status.get(f"{name}eplicas", 0) for name in ("r", "updatedR", "availableR")]
    is_seen = status.get("observedGeneration", 0) >= item["metadata"]["generation"]
    return is_seen and counts == [wanted] * 3


def condition(item: Object, kind: str) -> tuple[str, str]:
    """Status and reason of a condition; two times "" where there is none."""
    for one in item.get("status", {}).get("conditions", ()):
        if one["type"] == kind:
            return one["status"], one.get("reason", "")
    return "", ""
