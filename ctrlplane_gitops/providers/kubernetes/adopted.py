"""A Deployment that was adopted: a release of ours under a name and a selector of its own. Its pods
carry no labels of ours, for they would have to be made anew to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ctrlplane_gitops.clock import sleep
from ctrlplane_gitops.cluster.resource import POD, SERVICE
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.kubernetes.applying import Applier
from ctrlplane_gitops.providers.kubernetes.manifest import Object, build_service, own
from ctrlplane_gitops.providers.kubernetes.marking import DELETION_COST, FIRST_TO_GO
from ctrlplane_gitops.providers.kubernetes.name import LABEL_ADOPTED, set_selector
from ctrlplane_gitops.providers.kubernetes.row import PodRow
from ctrlplane_gitops.state.template import Release

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.kubernetes.acting import Site

# Its ReplicaSet controller hears of pods within a moment. Labels of ours, by whose count it could
# be told when, are not on them.
_HEARD_S = 0.5


def is_adopted(found: Object, selector: Mapping[str, str]) -> bool:
    """Whether it is that release, by its labels."""
    labels = found["metadata"].get("labels") or {}
    return LABEL_ADOPTED in labels and selector.items() <= labels.items()


def ensure_service(site: Site, release: Release, found: Object, applier: Applier) -> None:
    """The Service by which its pods are reached as those of any release: one of ours, that selects
    as it does."""
    namespace = found["metadata"]["namespace"]
    desired = build_service(site.plane, namespace, release)
    if desired is None:
        return
    selector = found["spec"]["selector"]["matchLabels"]
    desired = desired | {"spec": desired["spec"] | {"selector": dict(selector)}}
    owner = set_selector(site.plane, release.instance, release.number)
    applier.ensure(SERVICE, own(desired, found), owner)


def retire_pods(site: Site, pods: Sequence[PodRow], effects: Effects) -> None:
    """They are the first to go when there are to be fewer."""
    for pod in pods:
        cost = {"metadata": {"annotations": {DELETION_COST: FIRST_TO_GO}}}
        with effects.made(f"retire:{pod.name}"):
            site.api.patch(POD, pod.namespace, pod.name, cost)
    if pods:
        sleep(_HEARD_S)
