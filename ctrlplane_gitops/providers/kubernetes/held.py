"""Secrets and files of a release, and what somebody else did to them, without looking into them:
who has written which key stands in their metadata. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ctrlplane_gitops.cluster.owner import FIELD_MANAGER
from ctrlplane_gitops.cluster.resource import CONFIG_MAP, SECRET
from ctrlplane_gitops.providers.kubernetes.labelled import find_relabelled
from ctrlplane_gitops.providers.kubernetes.row import PARTS, Needed, find_foreign
from ctrlplane_gitops.state.observed import Alteration
from ctrlplane_gitops.value import struct

# A file's content is not text to Kubernetes.
_PART = {SECRET.kind: "data", CONFIG_MAP.kind: "binaryData"}


@struct
class ContentRow:
    """``keys`` are those that we have written last; ``foreign`` fields that somebody else has, with
    who that was."""

    keys: frozenset[str]
    foreign: tuple[tuple[str, str], ...]


# By kind, namespace and name.
Contents = Mapping[tuple[str, str, str], ContentRow]


def read_content(item: Mapping[str, Any]) -> tuple[tuple[str, str], ContentRow]:
    """Namespace and name, and who has written what; the metadata tell."""
    metadata = item["metadata"]
    managed = metadata.get("managedFields") or ()
    foreign = {*find_foreign(managed), *find_relabelled(metadata)}
    row = ContentRow(frozenset(_own_keys(managed)), tuple(sorted(foreign)))
    return (metadata["namespace"], metadata["name"]), row


def _own_keys(managed: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for entry in managed:
        if entry.get("manager") == FIELD_MANAGER:
            for part in PARTS:
                held = (entry.get("fieldsV1") or {}).get(f"f:{part}") or {}
                yield from (name[2:] for name in held if name.startswith("f:"))


def find_altered(namespace: str, needed: Iterable[Needed], contents: Contents) -> list[Alteration]:
    """What is not as we left it of what pods need to start."""
    found = []
    for item in needed:
        what = f"the {item.kind} {item.name}"
        held = contents.get((item.kind, namespace, item.name))
        if held is None:
            found.append(Alteration(f"{what} is gone"))
            continue
        found += [Alteration(f"{field} of {what}", by) for field, by in held.foreign]
        theirs = {field.partition(".")[2] for field, _ in held.foreign}
        part = _PART[item.kind]
        gone = sorted(set(item.keys) - held.keys - theirs)
        found += [Alteration(f"{part}.{key} of {what} is gone") for key in gone]
    return found
