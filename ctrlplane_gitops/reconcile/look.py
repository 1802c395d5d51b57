"""The looking half of a pass. Importing this loads nothing that acts: a plan needs none of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from ctrlplane_gitops.errors import SpecError
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.plan.change import Plan, PlanHeader, Policy
from ctrlplane_gitops.plan.compute import compute_plan
from ctrlplane_gitops.plan.scope import find_unsettled
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.reconcile.gather import Wanted
from ctrlplane_gitops.reconcile.held import is_kept, is_left_for_now
from ctrlplane_gitops.reconcile.observe import observe_all
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.observed import ObservedState
from ctrlplane_gitops.state.recorded import RecordedState
from ctrlplane_gitops.state.traffic import RouteTable
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import replace, struct

if TYPE_CHECKING:
    from ctrlplane_gitops.network.router import Router


@struct
class Look:
    """Everything one pass looked at, and what it would do about it. ``at`` is when it began."""

    wanted: Wanted
    desired: DesiredState
    observed: ObservedState
    recorded: RecordedState
    plan: Plan
    at: datetime

    @property
    def is_blind(self) -> bool:
        """Whether a provider did not answer where instances are or should be, or the router did
        not where requests would have to be moved."""
        if any(item.blocked and item.blocked.code == "router-gap" for item in self.plan.changes):
            return True
        silent = {gap.provider for gap in self.plan.gaps}
        if not silent:
            return False
        places = [item.provider for item in self.desired.instances.values()]
        places.extend(item.provider for item in self.recorded.instances.values())
        return not silent.isdisjoint(places)

    @property
    def must_retry(self) -> bool:
        """Whether the next pass will do what this one leaves, although nobody changes anything."""
        return self.is_blind or is_kept(self.plan)

    @property
    def must_widen(self) -> bool:
        """Whether a part is not enough to decide from. Guards weigh what is lost against all there
        is, so nothing is removed, held back or made anew because of a part alone."""
        if self.wanted.part is None:
            return False
        plan, recorded = self.plan, self.recorded
        removes = any(work.release is None for work in plan.works) or plan.records.removed_resources
        blocked = [item for item in plan.blocked if not is_left_for_now(item)]
        if plan.gaps or plan.refusals or blocked or removes or recorded.plane_id is None:
            return True
        seen = {item.instance for item in self.observed.replica_sets}
        known = map(recorded.instances.get, self.wanted.part.instances - seen)
        return any(item is not None and item.release is not None for item in known)


def as_recorded(recorded: RecordedState) -> RecordedState:
    """No change."""
    return recorded


def _narrow(observed: ObservedState, tenants: Collection[str]) -> ObservedState:
    """The router always shows everything; a part is about the routes of its tenants."""
    router = observed.router
    if router is None:
        return observed
    entries = tuple(item for item in router.table.entries if item.key.tenant in tenants)
    return replace(observed, router=replace(router, table=RouteTable(entries)))


def _focus(
    wanted: Wanted, desired: DesiredState, recorded: RecordedState, policy: Policy
) -> Wanted:
    """Of a part, only the instances that anything can have to be done about: those that are due,
    those that are held, and those that are not yet as the specs say."""
    part = wanted.part
    unsettled = None if part is None else find_unsettled(desired, recorded)
    if part is None or unsettled is None:
        return wanted
    held = part.instances & {*policy.holds, *policy.drift_holds}
    return replace(wanted, part=replace(part, instances=part.due | held | unsettled))


def look(
    wanted: Wanted,
    desired: DesiredState,
    providers: Mapping[str, Provider],
    store: Store,
    pool: Pool,
    policy: Policy,
    now: datetime,
    change: Callable[[RecordedState], RecordedState] = as_recorded,
    widen: Callable[[], Wanted] | None = None,
    observed: ObservedState | None = None,
    router: Router | None = None,
) -> Look:
    """Observe, load, compare. Nothing is changed anywhere. ``widen`` gives everything where a part
    turns out not to be enough; ``observed`` is what somebody has seen just now.

    The record is read after the providers have answered: what another pass wrote down meanwhile
    must not be missing for replicas that are already seen."""
    if wanted.part is not None:
        before = change(store.load_state(wanted.part.tenants, desired.resources))
        wanted = _focus(wanted, desired, before, policy)
    part = wanted.part
    instances = part.instances if part else None
    if observed is None:
        observed = observe_all(providers, pool, instances, router)
    recorded = change(store.load_state(part.tenants if part else None, desired.resources))
    if part is not None:
        observed = _narrow(observed, part.tenants)
    snapshot = wanted.snapshot
    header = PlanHeader(
        plane=desired.plane.name,
        commit=snapshot.commit,
        ref=snapshot.ref,
        is_dirty=snapshot.is_dirty,
        read_count=len(desired.resources),
        is_destroy=policy.is_destroy,
    )
    plan = compute_plan(
        desired, observed, recorded, policy, header, now, wanted.diagnostics, instances
    )
    seen = Look(wanted, desired, observed, recorded, plan, now)
    if widen is None or not seen.must_widen:
        return seen
    whole = widen()
    if whole.desired is None:
        raise SpecError("the control plane's own specs have errors")
    return look(whole, whole.desired, providers, store, pool, policy, now, change, router=router)
