"""A plan applied for real: a store in a file, memory providers that do as they are told, and a
clock that moves when somebody waits on it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ctrlplane_gitops.clock import Clock, FakeClock
from ctrlplane_gitops.execute.apply import apply_plan
from ctrlplane_gitops.execute.batch import Batch
from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.execute.material import Materials
from ctrlplane_gitops.execute.part import ApplyParts, ApplyResult
from ctrlplane_gitops.execute.perform import address_of
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.execute.traffic import Traffic
from ctrlplane_gitops.network.memory import MemoryRouter
from ctrlplane_gitops.plan.change import Plan, Policy
from ctrlplane_gitops.plan.compute import compute_plan
from ctrlplane_gitops.providers.base import Capability, ExecResult, LogLine, ProviderSettings
from ctrlplane_gitops.providers.memory import MemoryProvider
from ctrlplane_gitops.redact import Redactor, SecretValue
from ctrlplane_gitops.state.action import Action, Material, Outcome
from ctrlplane_gitops.state.desired import DesiredState, ProviderConfig
from ctrlplane_gitops.state.key import ResourceKey, parse_address
from ctrlplane_gitops.state.log import AuditFilter, EventFilter, LogFilter
from ctrlplane_gitops.state.observed import ObservedReplica, ObservedState
from ctrlplane_gitops.state.recorded import AuditEntry, Event, RecordedState
from ctrlplane_gitops.state.usage import Usage
from ctrlplane_gitops.store.base import Fence
from ctrlplane_gitops.store.sqlite import SqliteStore
from tests.plan.plan_kit import HEADER, NOW, POLICY

PATIENCE = timedelta(seconds=15)


class Scripted:
    """The memory provider, and before each call whatever a test wants: to look, to wait, to
    raise. ``performed`` and ``looks`` are the calls that were made."""

    capabilities = frozenset(Capability)

    def __init__(self, name: str, root: Path, clock: Clock) -> None:
        config = ProviderConfig(name, "memory")
        self.name = name
        self.memory = MemoryProvider(ProviderSettings("prod", config, str(root)), clock=clock)
        self.performed: list[Action] = []
        self.looks: list[frozenset[ResourceKey] | None] = []
        self.before: Callable[[Action], Outcome | None] = lambda action: None
        self.before_look: Callable[[], None] = lambda: None
        self.exit_code: Callable[[str], int] = lambda replica: 0

    def observe(self, keys: Collection[ResourceKey] | None = None) -> ObservedState:
        self.looks.append(None if keys is None else frozenset(keys))
        self.before_look()
        return self.memory.observe(keys)

    def perform(self, action: Action, material: Material) -> Outcome:
        self.performed.append(action)
        return self.before(action) or self.memory.perform(action, material)

    def read_logs(self, replica: str, *, tail: int | None, is_follow: bool) -> Iterator[LogLine]:
        return iter(())

    def execute(self, replica: str, command: Sequence[str], timeout: timedelta) -> ExecResult:
        return ExecResult(self.exit_code(replica), b"")

    def read_usage(self, replicas: Collection[ObservedReplica]) -> Mapping[str, Usage]:
        return self.memory.read_usage(replicas)

    def close(self) -> None:
        self.memory.close()

    @property
    def addresses(self) -> list[str]:
        """What was performed, by the address it was about."""
        return [address_of(action) for action in self.performed]


@dataclass
class Scene:
    """One control plane. ``run`` is one pass under a lease of its own."""

    root: Path
    clock: Any = field(default_factory=lambda: FakeClock(NOW))
    cancel: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)
    secrets: Mapping[ResourceKey, SecretValue] = field(default_factory=dict)
    told: list[Event] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    actions: int = 8
    router: MemoryRouter | None = None

    def __post_init__(self) -> None:
        self.path = self.root / "state.db"
        self.store = SqliteStore(self.path)
        self.providers = {
            name: Scripted(name, self.root, self.clock) for name in ("docker", "local")
        }
        self.local = self.providers["local"]

    def close(self) -> None:
        self.store.close()

    def plan(self, desired: DesiredState, policy: Policy = POLICY) -> tuple[Plan, RecordedState]:
        states = [item.memory.observe() for item in self.providers.values()]
        observed = ObservedState(
            tuple(found for state in states for found in state.replica_sets),
            tuple(gap for state in states for gap in state.gaps),
            router=None if self.router is None else self.router.observe(),
        )
        recorded = self.store.load_state()
        now = self.clock.now()
        return compute_plan(desired, observed, recorded, policy, HEADER, now), recorded

    def run(
        self,
        desired: DesiredState,
        policy: Policy = POLICY,
        *,
        within: timedelta | None = None,
        is_detached: bool = False,
        holder: str = "us",
    ) -> ApplyResult:
        plan, recorded = self.plan(desired, policy)
        assert not plan.refusals
        self.fence = self.take(holder)
        deadline = None if within is None else self.clock.now() + within
        return self.apply(plan, recorded, self.fence, deadline, is_detached=is_detached)

    def take(self, holder: str) -> Fence:
        fence = self.store.acquire("apply", holder, PATIENCE, self.clock.now())
        assert fence is not None
        return fence

    def apply(
        self,
        plan: Plan,
        recorded: RecordedState,
        fence: Fence,
        deadline: datetime | None = None,
        *,
        is_detached: bool = False,
    ) -> ApplyResult:
        journal = Journal(self.store, fence, self.clock, "user:us", Redactor(), self.told.append)
        materials = Materials({}, (), lambda blobs: {}, self.store.read_blob, self.secrets)
        pools = [Pool(size, name) for name, size in
                 (("action", self.actions), ("look", 4), ("probe", 4))]  # fmt: skip
        traffic = None
        if self.router is not None:
            traffic = Traffic(self.router, "prod", pools[1], self.clock, journal)
        try:
            return apply_plan(
                Batch(plan, recorded, materials, self.secrets),
                ApplyParts(
                    journal, self.providers, Materials.empty(), self.clock, *pools, self.cancel,
                    self.lost, deadline, is_detached, lambda key, text: self.waits.append(text),
                    traffic, self.store.read_orders,
                ),
            )  # fmt: skip
        finally:
            for pool in pools:
                pool.close()

    # What is.

    def replicas(self, provider: str = "local") -> dict[str, int]:
        """Live replicas by instance and release, ``acme/web v1``."""
        return {
            f"{item.instance.tenant}/{item.instance.name} v{item.release}": len(item.live)
            for item in self.providers[provider].memory.observe().replica_sets
        }

    def intents(self) -> list[tuple[Any, ...]]:
        """(address, action, whether it is closed, outcome) of every one, in order."""
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(
                "SELECT address, action, closed_at IS NOT NULL, outcome FROM intents "
                "ORDER BY at, action, id"
            ).fetchall()

    def dump(self) -> str:
        """All that is written down."""
        with closing(sqlite3.connect(self.path)) as connection:
            return "\n".join(connection.iterdump())

    def event_types(self, address: str) -> list[str]:
        where = EventFilter(LogFilter(address=address))
        return [row.event.type for row in reversed(self.store.read_events(where))]

    def audit(self, address: str | None = None) -> list[AuditEntry]:
        """Who did what, in its order."""
        where = AuditFilter(LogFilter(address=address))
        return [row.entry for row in reversed(self.store.read_audit(where))]


def states(result: ApplyResult) -> dict[str, str]:
    """How each work ended, by ``tenant/name``."""
    return {f"{item.instance.tenant}/{item.instance.name}": item.state for item in result.results}


def with_health(desired: DesiredState, path: str, *checks: Any) -> DesiredState:
    """The same with health checks on one instance."""
    key = parse_address(f"instance/{path}")
    instance = replace(desired.instances[key], health=checks)
    return replace(desired, instances={**desired.instances, key: instance})
