"""The garbage collector with parts of its own, so that it shares none with the passes."""

from __future__ import annotations

import threading

from ctrlplane_gitops.app import App
from ctrlplane_gitops.errors import GuardError, SpecError
from ctrlplane_gitops.reconcile.gather import is_empty, read_documents, resolve_wanted
from ctrlplane_gitops.reconcile.run import PassParts, Specs
from ctrlplane_gitops.serving.planes import Planes
from ctrlplane_gitops.source.latest import LatestSource
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import replace
from ctrlplane_gitops.workers.garbage_collector import ACTOR, Aged, GarbageCollector
from ctrlplane_gitops.workers.reconciler import Reconciler


def build_collector(
    app: App, planes: Planes, source: LatestSource, reconciler: Reconciler, cancel: threading.Event
) -> GarbageCollector:
    """``planes`` must be nobody else's."""

    def open_parts(desired: DesiredState) -> PassParts:
        return replace(planes.open_parts(desired.plane, cancel), actor=ACTOR)

    return GarbageCollector(
        lambda: reconciler.desired,
        open_parts,
        lambda: _read(app, source),
        find_aged,
        app.clock,
        cancel,
    )


def find_aged(store: Store, desired: DesiredState) -> Aged:
    """Everything that is cleared away by age, and how long it is kept."""
    kept, retained = desired.plane.retention, store.retained
    return {
        "events": (retained.events, kept.events),
        "audit": (retained.audit, kept.audit),
        "intents": (retained.intents, kept.intents),
        "deliveries": (store.deliveries, kept.deliveries),
        "health": (store.health, kept.health),
    }


def _read(app: App, source: LatestSource) -> Specs:
    """Everything Git says. Parsed anew: it is seldom asked for, and a cache that two threads
    share is the passes' own."""
    wanted = resolve_wanted(read_documents(source.fetch(), None), app.backends)
    if is_empty(wanted):
        raise GuardError("there are no specs, so nothing is collected")
    if wanted.desired is None:
        raise SpecError("the control plane's own specs have errors, so nothing is collected")
    return wanted, wanted.desired
