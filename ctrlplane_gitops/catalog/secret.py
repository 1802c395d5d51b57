"""Where secrets come from, known before anything else is resolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import SecretRef
from ctrlplane_gitops.state.key import Kind, ResourceKey

_BACKENDS = ("env", "file")


def secret_refs_of(documents: Iterable[Document]) -> Mapping[ResourceKey, SecretRef]:
    """Every secret's source, by key and sorted. Usable before ``build_catalog``, which wants the
    digests of the values. Of two documents with one address the first by place counts."""
    found: dict[ResourceKey, SecretRef] = {}
    secrets = [item for item in documents if item.kind is Kind.SECRET]
    for document in sorted(secrets, key=lambda item: (item.path, item.index)):
        ref = build_ref(document)
        found.setdefault(ref.key, ref)
    return dict(sorted(found.items()))


def build_ref(document: Document) -> SecretRef:
    """ValueError when ``from`` names no backend, which no document that passed does."""
    source = document.spec["from"]
    for backend in _BACKENDS:
        if source.get(backend) is not None:
            return SecretRef(document.key, backend, source[backend])
    raise ValueError(f"{document.key} says no source for its value")
