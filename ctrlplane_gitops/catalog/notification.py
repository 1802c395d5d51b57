"""Who is told of what happens, and whether there is anything they could be told."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ctrlplane_gitops.catalog.finding import caution, suggest
from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import Notification, SecretRef
from ctrlplane_gitops.state.key import Kind, ResourceKey

_BACKENDS = ("env", "file")


def parse_notifications(spec: Mapping[str, Any], plane: str) -> tuple[Notification, ...]:
    """From the normalised spec of a control plane of this name."""
    return tuple(
        Notification(
            item["name"],
            tuple(item["events"]),
            _parse_source(item["secret"], plane),
            item.get("url") or "",
            _parse_source(item["urlFrom"], plane) if item.get("urlFrom") else None,
            tuple(item["tenants"]),
            dict(item["headers"]),
        )
        for item in spec.get("notifications") or ()
    )


def _parse_source(source: Mapping[str, str], plane: str) -> SecretRef:
    backend = next(name for name in _BACKENDS if source.get(name) is not None)
    return SecretRef(ResourceKey(Kind.CONTROL_PLANE, "", plane), backend, source[backend])


def warn_unheard(document: Document, types: Collection[str]) -> Iterator[Diagnostic]:
    """A warning for what matches none of the types of events there are."""
    for place, item in enumerate(document.spec.get("notifications") or ()):
        for index, pattern in enumerate(item["events"]):
            if not any(fnmatchcase(type, pattern) for type in types):
                yield caution(
                    document,
                    "unknown-event",
                    f"there are no events {pattern!r}",
                    *("notifications", place, "events", index),
                    hint=suggest(pattern, types),
                )
