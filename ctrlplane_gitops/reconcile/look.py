"""The looking half of a pass. Importing this loads nothing that acts: a plan needs none of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.plan.change import Plan, PlanHeader, Policy
from ctrlplane_gitops.plan.compute import compute_plan
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.reconcile.gather import Wanted
from ctrlplane_gitops.reconcile.observe import observe_all
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.observed import ObservedState
from ctrlplane_gitops.state.recorded import RecordedState
from ctrlplane_gitops.store.base import Store


@dataclass(frozen=True, slots=True)
class Look:
    """Everything one pass looked at, and what it would do about it."""

    wanted: Wanted
    desired: DesiredState
    observed: ObservedState
    recorded: RecordedState
    plan: Plan

    @property
    def is_blind(self) -> bool:
        """Whether a provider did not answer where instances are or should be."""
        silent = {gap.provider for gap in self.plan.gaps}
        if not silent:
            return False
        places = [item.provider for item in self.desired.instances.values()]
        places.extend(item.provider for item in self.recorded.instances.values())
        return not silent.isdisjoint(places)


def look(
    wanted: Wanted,
    desired: DesiredState,
    providers: Mapping[str, Provider],
    store: Store,
    pool: Pool,
    policy: Policy,
    now: datetime,
    change: Callable[[RecordedState], RecordedState] = lambda recorded: recorded,
) -> Look:
    """Observe, load, compare. Nothing is changed anywhere.

    The record is read after the providers have answered: what another pass wrote down meanwhile
    must not be missing for replicas that are already seen."""
    observed = observe_all(providers, pool)
    recorded = change(store.load_state())
    snapshot = wanted.snapshot
    header = PlanHeader(
        plane=desired.plane.name,
        commit=snapshot.commit,
        ref=snapshot.ref,
        is_dirty=snapshot.is_dirty,
        read_count=len(desired.resources),
        is_destroy=policy.is_destroy,
    )
    plan = compute_plan(desired, observed, recorded, policy, header, now, wanted.diagnostics)
    return Look(wanted, desired, observed, recorded, plan)
