"""What a plan shows of a resource and a record keeps: the normalised spec, small."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ctrlplane_gitops.catalog.fingerprint import canonical_json, fingerprint_of
from ctrlplane_gitops.catalog.template import digest_of
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import DesiredResource, Json
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.text import Text


def build_resource(
    key: ResourceKey, document: Document, extra: Json, keep: Callable[[str], Text]
) -> DesiredResource:
    """The spec, with ``extra`` over it and the labels and annotations beside it; its text as
    ``keep`` keeps it."""
    attributes = {**document.spec, **extra}
    if document.labels:
        attributes["labels"] = dict(document.labels)
    if document.annotations:
        attributes["annotations"] = dict(document.annotations)
    text = canonical_json(attributes)
    return DesiredResource(
        key,
        keep(text),
        fingerprint_of(text),
        document.origin,
        bool(document.spec.get("protect")),
    )


def show_files(spec: Json, entries: Mapping[str, str]) -> Json:
    """``files`` with digests, so that a change of content shows; without the content, which may
    be large."""
    if not spec["files"]:
        return {}
    files: list[dict[str, Any]] = [
        {
            **{name: value for name, value in item.items() if name != "content"},
            "digest": digest_of(item, entries),
        }
        for item in spec["files"]
    ]
    return {"files": files}
