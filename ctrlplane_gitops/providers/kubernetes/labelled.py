"""Labels of ours that somebody has taken away or changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ctrlplane_gitops.cluster.owner import FIELD_MANAGER
from ctrlplane_gitops.providers.base import (
    LABEL_INSTANCE,
    LABEL_PLANE,
    LABEL_RELEASE,
    LABEL_REVISION,
    LABEL_TENANT,
)
from ctrlplane_gitops.providers.kubernetes.name import MANAGED_BY, Owner, read_owner

_OURS = (LABEL_PLANE, LABEL_TENANT, LABEL_INSTANCE, LABEL_RELEASE, LABEL_REVISION, *MANAGED_BY)
Object = Mapping[str, Any]


def own_labels(deployment: Object) -> dict[str, str]:
    """What a Deployment of ours should carry: what its pods do, and before all its selector says,
    which nobody can change. Empty for one of somebody else's."""
    spec = deployment["spec"]
    selector = (spec.get("selector") or {}).get("matchLabels") or {}
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    return {**labels, **selector} if read_owner(selector) else {}


def find_owner(deployment: Object) -> Owner | None:
    """Whose it is; None for one that is none of ours."""
    labels = deployment["metadata"].get("labels") or {}
    return read_owner(own_labels(deployment) or labels)


def find_relabelled(metadata: Object, wanted: Object | None = None) -> Iterator[tuple[str, str]]:
    """Labels that are not as we have set them, as fields, with who has set them ("" for one that is
    gone: nobody keeps who has taken it away). ``wanted``: what they should be; without it one is
    taken for changed where others have written it and we have not.

    >>> labels = {name: "x" for name in _OURS if name != LABEL_REVISION}
    >>> list(find_relabelled({"labels": labels}))
    [('metadata.labels[ctrlplane.dev/revision]', '')]
    """
    labels = metadata.get("labels") or {}
    known = labels if wanted is None else wanted
    off = [it for it in _OURS if it not in labels or known.get(it, labels[it]) != labels[it]]
    # Who has written them is gone through only where that is asked: every look comes here.
    theirs = dict(find_theirs(metadata, _OURS if wanted is None else off))
    for name in _OURS:
        if name in off or (wanted is None and name in theirs):
            yield f"metadata.labels[{name}]", theirs.get(name, "")


def find_theirs(metadata: Object, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Those of these labels that others have written and we have not, with who that was."""
    managed = metadata.get("managedFields") or ()
    for name in names:
        writers = [str(it.get("manager")) for it in managed if _has_written(it, name)]
        if writers and FIELD_MANAGER not in writers:
            yield name, writers[0]


def _has_written(entry: Object, label: str) -> bool:
    metadata = (entry.get("fieldsV1") or {}).get("f:metadata") or {}
    return f"f:{label}" in (metadata.get("f:labels") or {})
