"""One instance in the route table, as an apply brings it there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.execute.drain import Drain
from ctrlplane_gitops.rollout.routing import build_entries, follow_entry, places_of
from ctrlplane_gitops.rollout.view import RouteStep
from ctrlplane_gitops.state.desired import DesiredInstance
from ctrlplane_gitops.state.observed import ObservedReplicaSet
from ctrlplane_gitops.state.traffic import RouteEntry

NOTHING = RouteStep((), ())
Sets = Sequence[ObservedReplicaSet]


@dataclass(slots=True)
class Line:
    """One instance: how its requests are shared, its entries in the table, the version that
    brought them, and why that version was refused. ``live`` is the step and the entries that were
    last confirmed."""

    step: RouteStep = NOTHING
    entries: tuple[RouteEntry, ...] = ()
    live: tuple[RouteStep, tuple[RouteEntry, ...]] = (NOTHING, ())
    version: int = 0
    error: CtrlplaneError | None = None
    drain: Drain = field(default_factory=Drain)

    @property
    def served(self) -> frozenset[str]:
        return frozenset((*self.step.members, *self.step.preview))


def entries_of(
    instance: DesiredInstance, before: Sequence[RouteEntry], step: RouteStep, sets: Sets
) -> tuple[RouteEntry, ...]:
    """Those of the routes Git gives the instance, and of those it does not (that must not be
    removed yet): who is not told to go must not come to lead to nobody."""
    places = places_of(sets)
    keys = {route.key for route in instance.routes}
    kept = [follow_entry(item, step, places) for item in before if item.key not in keys]
    built = build_entries(instance.key, instance.routes, step, places)
    return tuple(sorted((*built, *kept), key=lambda item: (item.key, item.variant)))
