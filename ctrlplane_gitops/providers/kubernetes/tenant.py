"""What a tenant has in a cluster: a namespace, and somebody its pods are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.resource import NAMESPACE, SERVICE_ACCOUNT
from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.container import owner_labels
from ctrlplane_gitops.providers.kubernetes.applying import Applier, check_owner
from ctrlplane_gitops.providers.kubernetes.manifest import build_account, build_namespace

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.kubernetes.acting import Site


def ensure_tenant(site: Site, tenant: str, namespace: str, applier: Applier) -> None:
    """Namespace and account, made where missing; looked at once. A namespace that somebody else has
    made is taken when it carries our labels. ProviderError for a stranger's, and (retryable) for
    one that is on its way out."""
    if namespace in site.tenants:
        return
    found = site.api.get(NAMESPACE, None, namespace)
    owner = owner_labels(site.plane, tenant)
    if found is None:
        applier.apply(NAMESPACE, build_namespace(site.plane, tenant, namespace))
    else:
        try:
            check_owner(NAMESPACE, found, owner)
        except ProviderError as stranger:
            labels = " ".join(f"{name}={value}" for name, value in owner.items())
            stranger.hint = f"to hand it over: kubectl label namespace {namespace} {labels}"
            raise
        if (found.get("status") or {}).get("phase") == "Terminating":
            raise ProviderError(
                f"namespace {namespace!r} is still being removed", is_retryable=True
            )
    try:
        applier.ensure(SERVICE_ACCOUNT, build_account(site.plane, tenant, namespace), owner)
    except ApiError as error:
        # Gone in the meantime: the next try makes it.
        error.is_retryable = error.is_retryable or error.is_absent
        raise
    site.tenants.add(namespace)
