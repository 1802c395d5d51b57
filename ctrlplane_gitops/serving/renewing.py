"""The renewer of certificates with parts of its own."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from ctrlplane_gitops.app import App, certifier
from ctrlplane_gitops.reconcile.gather import read_documents, resolve_wanted
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.serving.planes import Planes
from ctrlplane_gitops.source.latest import LatestSource
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.workers.cert_renewer import CertRenewer
from ctrlplane_gitops.workers.reconciler import Reconciler


def build_renewer(
    app: App,
    planes: Planes,
    source: LatestSource,
    reconciler: Reconciler,
    cancel: threading.Event,
) -> CertRenewer:
    """``planes`` must be nobody else's."""

    def read_secrets() -> Mapping[ResourceKey, SecretValue]:
        return resolve_wanted(read_documents(source.fetch(), None), app.backends).secrets or {}

    return CertRenewer(
        lambda: reconciler.desired,
        read_secrets,
        certifier(app),
        lambda plane: planes.open_parts(plane, cancel).store,
        app.clock,
    )
