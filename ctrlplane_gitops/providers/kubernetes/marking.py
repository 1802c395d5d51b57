"""Telling Kubernetes which pods go when there are to be fewer, and waiting until it knows.

Its ReplicaSet controller chooses by what it has heard of pods, which is as old as the machine is
busy. So pods that are to go lose a label of their template together with getting a cost: how many
pods of a ReplicaSet carry all labels is in its status, by the controller's own count. What it knows
of the others is no older then, for pods come to it in the order of their changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.cluster.resource import POD, REPLICA_SET
from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.base import LABEL_REVISION
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.kubernetes.row import PodRow
from ctrlplane_gitops.providers.kubernetes.waiting import wait_for

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.kubernetes.acting import Site

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
FIRST_TO_GO = "-1000"
_PATIENCE_S = 10.0


def mark_pods(
    site: Site,
    selector: Mapping[str, str],
    revision: str,
    going: Sequence[PodRow],
    staying: Sequence[PodRow],
    effects: Effects,
) -> None:
    """Those ``going`` are the first to go from now on, and nobody else is. ``selector`` are the
    labels of the replica set. A retryable error when the controller does not take notice."""
    if not going:
        return
    for pod in going:
        if not pod.is_marked:
            _patch(site, pod, "retire", "", FIRST_TO_GO, effects)
    for pod in staying:
        if pod.is_marked:
            # By who was stopped before it came to fewer.
            _patch(site, pod, "keep", revision, None, effects)
    namespace = going[0].namespace
    # Somebody may have taken labels from others by hand, which says nothing of these.
    if not wait_for(
        lambda: _count(site, namespace, selector) == len(going), _PATIENCE_S
    ) and _count(site, namespace, selector) < len(going):
        raise ProviderError(
            f"{', '.join(pod.name for pod in going)}: the cluster's ReplicaSet controller has "
            "not taken notice that they are to go, so it was not asked for fewer",
            hint="is the cluster's kube-controller-manager at work?",
            is_retryable=True,
        )


def _patch(
    site: Site, pod: PodRow, what: str, revision: str, cost: str | None, effects: Effects
) -> None:
    metadata = {"labels": {LABEL_REVISION: revision}, "annotations": {DELETION_COST: cost}}
    with effects.made(f"{what}:{pod.name}"):
        site.api.patch(POD, pod.namespace, pod.name, {"metadata": metadata})


def _count(site: Site, namespace: str, selector: Mapping[str, str]) -> int:
    """How many pods the controller knows to be marked."""
    return sum(site.api.read_all(REPLICA_SET, selector, count_marked, namespace=namespace))


def count_marked(item: Mapping[str, Any]) -> int:
    """Pods of a ReplicaSet that lack a label of its template.

    >>> count_marked({"status": {"replicas": 3, "fullyLabeledReplicas": 2}})
    1
    """
    status = item.get("status") or {}
    return int(status.get("replicas", 0)) - int(status.get("fullyLabeledReplicas", 0))
