"""One plan on its way: what is written down before its works, what of them is left, and what comes
last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.cleanup import (
    audit_plan,
    providers_of_tenant,
    removed_tenants,
    tell_begin,
    tell_end,
)
from ctrlplane_gitops.execute.effect import Effects
from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.execute.material import Materials
from ctrlplane_gitops.execute.part import ApplyResult, Ending, WorkResult
from ctrlplane_gitops.execute.start import record_plan
from ctrlplane_gitops.execute.step import WorkState
from ctrlplane_gitops.ids import IdPrefix, new_id
from ctrlplane_gitops.plan.change import Plan, Work
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.action import Outcome, RemoveTenant
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedState
from ctrlplane_gitops.state.recorded import RecordedState
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.value import replace, struct


def _ignore(value: object) -> None:
    """Nobody asked."""


@struct
class Alert:
    """Something that is told together with a plan."""

    type: EventType
    address: str
    text: str


@dataclass(slots=True)
class Batch:
    """``plan`` as it was made from ``recorded`` and ``observed``. ``materials`` and ``secrets``
    are what its works need besides. ``mark`` is the loop's at the time before anybody looked.
    ``alerts`` are told at the beginning. ``on_end`` is told what came of it once that is written
    down, ``on_error`` why nothing can be written down any more.

    ``left`` are the instances whose works have not ended; ``tenants`` those being removed."""

    plan: Plan
    recorded: RecordedState
    materials: Materials
    secrets: Mapping[ResourceKey, SecretValue] = field(default_factory=dict)
    observed: ObservedState | None = None
    mark: int = 0
    alerts: tuple[Alert, ...] = ()
    on_end: Callable[[ApplyResult], None] = _ignore
    on_error: Callable[[CtrlplaneError], None] = _ignore
    left: set[ResourceKey] = field(default_factory=set)
    results: dict[ResourceKey, WorkResult] = field(default_factory=dict)
    effects: int = 0
    steered: int = 0
    settles_by: datetime | None = None
    tenants: dict[ResourceKey, int] | None = None
    failed_tenants: dict[ResourceKey, CtrlplaneError] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether all that is left is to say so."""
        return not self.left and self.tenants is not None and not any(self.tenants.values())

    @property
    def may_stop_router(self) -> bool:
        """Whether nothing may be left for a router to do."""
        plan = self.plan
        return bool(plan.unrouted) or plan.stops_router or plan.header.is_destroy

    def load(self) -> None:
        """Have the contents that the works need, and those that a rollout may have to return to.
        SourceError when they are not to be had."""
        plan = self.plan
        releases = [work.release for work in plan.works if work.release is not None]
        self.materials.load([*releases, *plan.records.releases, *self._active_releases()])

    def _active_releases(self) -> list[Release]:
        return [
            release
            for work in self.plan.works
            for release in self.recorded.releases.get(work.instance, ())
            if release.number == work.active
        ]

    def leave_out(self, keys: Iterable[ResourceKey]) -> None:
        """Do nothing about instances that have moved since they were looked at."""
        moved = frozenset(keys)
        if not moved:
            return
        records = self.plan.records
        records = replace(
            records,
            instances=tuple(x for x in records.instances if x.key not in moved),
            removed_instances=tuple(x for x in records.removed_instances if x not in moved),
            releases=tuple(x for x in records.releases if x.instance not in moved),
            removed_releases=tuple(x for x in records.removed_releases if x[0] not in moved),
        )
        works = tuple(work for work in self.plan.works if work.instance not in moved)
        for work in self.plan.works:
            if work.instance in moved:
                self.end(work.instance, WorkState.OVERTAKEN, "it moved while it was looked at")
        self.plan = replace(self.plan, works=works, records=records)

    def fail(self, errors: Mapping[ResourceKey, CtrlplaneError]) -> None:
        """Do nothing about instances that lack what their works need."""
        if not errors:
            return
        works = tuple(work for work in self.plan.works if work.instance not in errors)
        self.plan = replace(self.plan, works=works)
        for key, error in errors.items():
            self.end(key, WorkState.FAILED, error.message, error)

    def begin(self, journal: Journal, clock: Clock) -> None:
        """Put down what needs no work."""
        plane_id = None
        if self.recorded.plane_id is None:
            plane_id = new_id(IdPrefix.PLANE, clock.now())
        record_plan(self.plan, plane_id, journal, self.materials)
        tell_begin(self.plan, journal)
        for item in self.alerts:
            journal.tell(item.type, item.address, item.text)

    def end(
        self, key: ResourceKey, state: WorkState, text: str, error: CtrlplaneError | None = None
    ) -> None:
        """The work on an instance has ended, as far as this plan is concerned."""
        self.left.discard(key)
        self.results[key] = WorkResult(key, state, text, error)

    def remove_tenants(self, effects: Effects) -> None:
        """Once every work has ended: remove from every provider what it keeps for the removed
        tenants. They are forgotten after that, so that a crash on the way leaves a row that is
        planned again; those one of whose removals did not succeed are for the next pass."""
        failed = {
            item.instance.tenant
            for item in self.results.values()
            if item.state is not WorkState.DONE
        }
        self.tenants = {}
        for tenant in removed_tenants(self.plan):
            if tenant.name in failed:
                continue
            names = providers_of_tenant(self.plan, tenant, effects.providers)
            self.tenants[tenant] = len(names)
            for name in names:
                effects.intend(RemoveTenant(tenant, name))

    def take(self, outcome: Outcome) -> None:
        """What came of an action about a tenant."""
        action = outcome.action
        assert isinstance(action, RemoveTenant) and self.tenants is not None
        self.tenants[action.tenant] -= 1
        self.effects += outcome.effects
        if outcome.error is not None:
            self.failed_tenants[action.tenant] = outcome.error

    def close(
        self,
        ending: Ending,
        journal: Journal,
        warnings: Iterable[str],
        unserved: tuple[CtrlplaneError, ...],
        steered: int,
        *,
        is_settled: bool,
    ) -> ApplyResult:
        """Write down the end. ``unserved`` is why the router does not serve what is wanted,
        ``steered`` how many times it was written to so far."""
        failed = self.failed_tenants
        errors = tuple(failed[key] for key in sorted(failed))
        if ending is Ending.COMPLETE:
            journal.remove(resources=[key for key in self.tenants or {} if key not in failed])
            told = {str(item.error) for item in self.results.values() if item.error is not None}
            errors += tuple(item for item in unserved if str(item) not in told)
        if ending is not Ending.LOST:
            if self.plan.certificates and is_settled and not unserved:
                journal.put(resources=self.plan.certificates)
            texts = {key: f"{x.state} {x.message}".strip() for key, x in self.results.items()}
            audit_plan(self.plan, texts, journal)
            tell_end(self.plan, str(ending), journal)
        results = tuple(sorted(self.results.values(), key=lambda item: item.instance))
        count = self.effects + steered - self.steered
        return ApplyResult(ending, results, count, errors, tuple(warnings))


def says_the_same(one: Work, other: Work) -> bool:
    """Whether two works make the same of an instance.

    Limits that are changed already are not to be changed any more, and what is swept is gone."""
    if one.desired is None or other.desired is None:
        return one.desired is other.desired
    if one.release is None or other.release is None:
        return one.release is other.release
    return (
        one.release.number == other.release.number
        and one.release.revision == other.release.revision
        and one.provider == other.provider
        and (one.update_resources or not other.update_resources)
        and set(one.sweep) >= set(other.sweep)
        and all(
            getattr(one.desired, name) == getattr(other.desired, name)
            for name in (
                "replicas",
                "is_autoscaled",
                "allowance",
                "resources",
                "health",
                "params",
                "routes",
            )
        )
    )
