"""Taking away what runs, and what was kept for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.cluster.resource import (
    CLAIM,
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    NAMESPACE,
    POD,
    SECRET,
    SERVICE,
    ResourceType,
)
from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.base import LABEL_INSTANCE, LABEL_PLANE
from ctrlplane_gitops.providers.container import owner_labels
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.kubernetes.going import is_going, is_held, still_going
from ctrlplane_gitops.providers.kubernetes.labelled import find_owner
from ctrlplane_gitops.providers.kubernetes.name import (
    LABEL_ADOPTED,
    MANAGED_BY,
    set_name,
    set_selector,
)
from ctrlplane_gitops.providers.kubernetes.row import find_finalizers
from ctrlplane_gitops.providers.kubernetes.waiting import wait_for
from ctrlplane_gitops.state.action import RemoveInstance, RemoveTenant
from ctrlplane_gitops.state.key import ResourceKey

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.kubernetes.acting import Site

# What a release has besides its Deployment.
BELONGINGS = (SERVICE, SECRET, CONFIG_MAP, DISRUPTION_BUDGET)
_SOON_S, _MARGIN_S = 2.0, 13.0


def remove_set(
    site: Site,
    instance: ResourceKey,
    release: int,
    stop_s: float,
    effects: Effects,
    found: Any,
) -> None:
    """A Deployment with all that it owns, and wait for the end of its pods. A retryable error when
    that takes longer than it may, or when nothing but somebody's finalizers keeps it."""
    namespace = site.lookup.namespace_of(instance.tenant)
    if found is None:
        _sweep(site, namespace, set_selector(site.plane, instance, release), effects)
        return
    metadata = found["metadata"]
    name = metadata["name"]
    pods = site.lookup.pods_of(instance, release)
    if not is_going(found):
        with effects.made(f"remove:{name}"):
            site.api.delete(
                DEPLOYMENT, namespace, name, uid=metadata["uid"], propagation="Foreground"
            )
    grace_s = math.ceil(stop_s)
    for pod in pods:
        if pod.grace_s > grace_s:
            # Less than they were made with. Zero would not wait for the kubelet at all.
            with effects.made(f"stop:{pod.name}"):
                site.api.delete(POD, namespace, pod.name, uid=pod.uid, grace_s=max(1, grace_s))
    _await_end(site, instance, release, metadata, stop_s)


def _await_end(
    site: Site, instance: ResourceKey, release: int, metadata: Any, stop_s: float
) -> None:
    """``metadata`` of the Deployment."""
    namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
    left: Any = None

    def is_over() -> bool:
        nonlocal left
        left = site.api.get(DEPLOYMENT, namespace, name)
        return left is None or left["metadata"]["uid"] != uid or is_held(left)

    def is_left() -> bool:
        return left is not None and left["metadata"]["uid"] == uid

    # Who has been asked before need not be waited for again where pods are held.
    if wait_for(is_over, 0.0 if "deletionTimestamp" in metadata else stop_s + _SOON_S):
        pods = site.lookup.pods_of(instance, release) if is_left() else []
    else:
        pods = site.lookup.pods_of(instance, release)
        if not any(pod.finalizers for pod in pods) or not all(pod.is_final for pod in pods):
            wait_for(is_over, _MARGIN_S)
            pods = site.lookup.pods_of(instance, release) if is_left() else []
    if is_left():
        raise still_going(DEPLOYMENT.kind, left["metadata"], pods)
    site.lookup.take_end(uid)


def _sweep(
    site: Site,
    namespace: str,
    labels: dict[str, str],
    effects: Effects,
    kinds: Iterable[ResourceType] = BELONGINGS,
) -> None:
    """What has lost its Deployment, by labels. A retryable error where somebody's finalizers keep
    some of it."""
    held = []
    for kind in kinds:
        for item in site.api.read_all(kind, labels, dict, namespace=namespace, is_meta=True):
            metadata = item["metadata"]
            if not is_going(item):
                with effects.made(f"remove:{metadata['name']}"):
                    site.api.delete(kind, namespace, metadata["name"])
            if find_finalizers(metadata):
                held.append((kind.kind, metadata))
    if held:
        raise still_going(*held[0])


def _name(item: Any) -> str:
    return str(item["metadata"]["name"])


def remove_instance(site: Site, action: RemoveInstance, effects: Effects) -> None:
    instance = action.instance
    namespace = site.lookup.namespace_of(instance.tenant)
    labels = owner_labels(site.plane, instance.tenant, instance.name)
    stop_s = action.stop_timeout.total_seconds()
    for release, item in _find_sets(site, instance, namespace, labels):
        remove_set(site, instance, release, stop_s, effects, item)
    _sweep(site, namespace, labels, effects)
    if action.is_volumes:
        _sweep(site, namespace, labels, effects, (CLAIM,))


def _find_sets(
    site: Site, instance: ResourceKey, namespace: str, labels: dict[str, str]
) -> Iterator[tuple[int, Any]]:
    """By their labels, and by the pods of those that somebody has taken labels from."""
    known = set()
    for item in site.api.read_all(DEPLOYMENT, labels, lambda item: item, namespace=namespace):
        metadata, owner = item["metadata"], find_owner(item)
        if owner is None or owner.instance != instance:
            continue
        is_adopted = LABEL_ADOPTED in metadata["labels"]
        if is_adopted or metadata["name"] == set_name(instance, owner.release):
            known.add(owner.release)
            yield owner.release, item
    for release in sorted({pod.release for pod in site.lookup.pods_of(instance)} - known):
        found = site.lookup.find_made(namespace, instance, release)
        if found is not None:
            yield release, found


def remove_tenant(site: Site, action: RemoveTenant, effects: Effects, warnings: list[str]) -> None:
    """The namespace, where we made it and nothing is left in it: volumes that are kept keep it."""
    tenant = action.tenant.name
    namespace = site.lookup.namespace_of(tenant)
    site.tenants.forget(namespace)
    found = site.api.get(NAMESPACE, None, namespace)
    labels = owner_labels(site.plane, tenant)
    if found is None or not labels.items() <= (found["metadata"].get("labels") or {}).items():
        return
    if (found.get("status") or {}).get("phase") == "Terminating":
        return
    is_made_by_us = MANAGED_BY.items() <= found["metadata"]["labels"].items()
    deployments = site.api.read_all(
        DEPLOYMENT, {LABEL_PLANE: site.plane}, _instance, namespace=namespace, is_meta=True
    )
    if deployments:
        left = ", ".join(sorted(set(deployments)))
        raise ProviderError(f"{action.tenant} still has instances here: {left}")
    if not is_made_by_us:
        # Labelled by hand, to hand it over.
        warnings.append(f"namespace {namespace} is kept: it was not made by us")
        return
    for kind in (CLAIM, POD):
        kept = site.api.read_all(kind, {}, _staying, namespace=namespace, is_meta=True)
        if any(kept):
            warnings.append(
                f"namespace {namespace} is kept: there are {kind.plural} in it: "
                f"{', '.join(sorted(filter(None, kept))[:5])}"
            )
            return
    with effects.made(f"remove-namespace:{namespace}"):
        site.api.delete(NAMESPACE, None, namespace, uid=found["metadata"]["uid"])


def _staying(item: Any) -> str:
    return "" if "deletionTimestamp" in item["metadata"] else _name(item)


def _instance(item: Any) -> str:
    return f"instance/{(item['metadata'].get('labels') or {}).get(LABEL_INSTANCE, '?')}"
