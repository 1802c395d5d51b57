"""What a tenant has in a cluster: a namespace, and somebody its pods are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.resource import NAMESPACE, SERVICE_ACCOUNT
from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.container import owner_labels
from ctrlplane_gitops.providers.kubernetes.applying import Applier, check_owner
from ctrlplane_gitops.providers.kubernetes.going import namespace_going
from ctrlplane_gitops.providers.kubernetes.manifest import build_account, build_namespace

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.kubernetes.acting import Site


class Tenants:
    """The namespaces that were seen to have what they need. For several threads: each of them is
    looked after by one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready: set[str] = set()
        self._turns: dict[str, threading.Lock] = {}

    @contextmanager
    def unready(self, namespace: str) -> Iterator[bool]:
        """Whether it is still to be looked after, by whoever has the block; when that ends well it
        has what it needs."""
        with self._lock:
            turn = self._turns.setdefault(namespace, threading.Lock())
        with turn:
            is_unready = namespace not in self._ready
            yield is_unready
            if is_unready:
                self._ready.add(namespace)

    def forget(self, namespace: str) -> None:
        self._ready.discard(namespace)


def ensure_tenant(site: Site, tenant: str, namespace: str, applier: Applier) -> None:
    """Namespace and account, made where missing; looked at once. A namespace that somebody else has
    made is taken when it carries our labels. ProviderError for a stranger's, and (retryable) for
    one that is on its way out."""
    with site.tenants.unready(namespace) as is_unready:
        if is_unready:
            _ensure(site, tenant, namespace, applier)


def _ensure(site: Site, tenant: str, namespace: str, applier: Applier) -> None:
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
            raise namespace_going(found)
    try:
        applier.ensure(SERVICE_ACCOUNT, build_account(site.plane, tenant, namespace), owner)
    except ApiError as error:
        # Gone in the meantime: the next try makes it.
        error.is_retryable = error.is_retryable or error.is_absent
        raise
