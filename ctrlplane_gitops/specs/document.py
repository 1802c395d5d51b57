"""One validated document, normalised: what the parse cache stores and the catalog reads."""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Any

from ctrlplane_gitops.diagnostics import Origin
from ctrlplane_gitops.state.desired import Json
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.value import field, struct

# A tenth of the time of asking the enum: a large repo has tens of thousands of documents.
_KINDS = {kind.value: kind for kind in Kind}


@struct
class Document:
    """``spec`` is the normalised spec: camelCase keys, JSON values, every default filled in and
    every quantity, duration and percentage in its canonical text (``500m``, ``256Mi``, ``1h30m``),
    so that two ways to write the same thing are equal. ``index`` counts the documents of the file
    from 0; with it ``specs.locate`` finds a field's line again without every line being kept.
    """

    kind: Kind
    tenant: str
    name: str
    spec: Json
    path: str
    index: int
    line: int
    column: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> ResourceKey:
        return ResourceKey(self.kind, self.tenant, self.name)

    @property
    def origin(self) -> Origin:
        return Origin(self.path, self.line, self.column)

    def to_json(self) -> dict[str, Any]:
        """Everything but the path: equal blobs at two paths share one cache entry."""
        return {
            "kind": self.kind.value,
            "tenant": self.tenant,
            "name": self.name,
            "spec": self.spec,
            "index": self.index,
            "line": self.line,
            "column": self.column,
            "labels": self.labels,
            "annotations": self.annotations,
        }


def load_document(value: Mapping[str, Any], path: str) -> Document:
    """The inverse of ``Document.to_json`` for a file at ``path``. Names are interned: keys and
    replicas have the same ones."""
    return Document(
        kind=_KINDS[value["kind"]],
        tenant=value["tenant"],
        name=intern(value["name"]),
        spec=value["spec"],
        path=path,
        index=value["index"],
        line=value["line"],
        column=value["column"],
        labels=value["labels"],
        annotations=value["annotations"],
    )
