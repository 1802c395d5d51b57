"""Taking away what runs, and what was kept for it."""

from __future__ import annotations

import math
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
)
from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.base import LABEL_INSTANCE, LABEL_PLANE
from ctrlplane_gitops.providers.container import owner_labels
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.kubernetes.name import MANAGED_BY, set_name, set_selector
from ctrlplane_gitops.providers.kubernetes.waiting import wait_for
from ctrlplane_gitops.state.action import RemoveInstance, RemoveTenant
from ctrlplane_gitops.state.key import ResourceKey

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.kubernetes.acting import Site

# What a release has besides its Deployment.
BELONGINGS = (SERVICE, SECRET, CONFIG_MAP, DISRUPTION_BUDGET)
_MARGIN_S = 15.0


def remove_set(
    site: Site,
    instance: ResourceKey,
    release: int,
    stop_s: float,
    effects: Effects,
    found: Any,
) -> None:
    """A Deployment with all that it owns, and wait for the end of its pods. A retryable error when
    that takes longer than it may: a finalizer, or a node that does not answer."""
    namespace, name = site.lookup.namespace_of(instance.tenant), set_name(instance, release)
    if found is None:
        _sweep(site, namespace, set_selector(site.plane, instance, release), effects)
        return
    metadata = found["metadata"]
    pods = site.lookup.pods_of(instance, release)
    if "deletionTimestamp" not in metadata:
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
    if not wait_for(lambda: _is_gone(site, namespace, name, metadata["uid"]), stop_s + _MARGIN_S):
        left = site.api.get(DEPLOYMENT, namespace, name)
        holding = (left or found)["metadata"].get("finalizers") or ()
        raise ProviderError(
            f"{name} is still being removed"
            + (f": it is held by {', '.join(holding)}" if holding else ""),
            is_retryable=True,
        )


def _is_gone(site: Site, namespace: str, name: str, uid: str) -> bool:
    found = site.api.get(DEPLOYMENT, namespace, name)
    return found is None or found["metadata"]["uid"] != uid


def _sweep(site: Site, namespace: str, labels: dict[str, str], effects: Effects) -> None:
    """What has lost its Deployment, by labels."""
    for kind in BELONGINGS:
        for name in site.api.read_all(kind, labels, _name, namespace=namespace, is_meta=True):
            with effects.made(f"remove:{name}"):
                site.api.delete(kind, namespace, name)


def _name(item: Any) -> str:
    return str(item["metadata"]["name"])


def remove_instance(site: Site, action: RemoveInstance, effects: Effects) -> None:
    instance = action.instance
    namespace = site.lookup.namespace_of(instance.tenant)
    labels = owner_labels(site.plane, instance.tenant, instance.name)
    stop_s = action.stop_timeout.total_seconds()
    found = site.api.read_all(DEPLOYMENT, labels, lambda item: item, namespace=namespace)
    for item in found:
        release = int(item["metadata"]["labels"].get("ctrlplane.dev/release", "0"))
        if item["metadata"]["name"] == set_name(instance, release):
            remove_set(site, instance, release, stop_s, effects, item)
    _sweep(site, namespace, labels, effects)
    if action.is_volumes:
        for name in site.api.read_all(CLAIM, labels, _name, namespace=namespace, is_meta=True):
            with effects.made(f"remove-volume:{name}"):
                site.api.delete(CLAIM, namespace, name)


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
