"""A control plane with two tenants as a board sees it: real specs, a real store, a look by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.catalog.build import build_catalog
from ctrlplane_gitops.events.event import EventType, make_event
from ctrlplane_gitops.plan.change import Change, ChangeAction, Plan, PlanHeader
from ctrlplane_gitops.specs.validate import parse
from ctrlplane_gitops.state.desired import DesiredInstance, DesiredState
from ctrlplane_gitops.state.health import WHOLE, Health, HealthSpan
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.state.observed import (
    Endpoint,
    ObservedReplica,
    ObservedReplicaSet,
    ObservedState,
    ReplicaPhase,
    Verdict,
)
from ctrlplane_gitops.state.recorded import (
    AuditEntry,
    RecordBatch,
    RecordedInstance,
    RecordedResource,
    RolloutStatus,
)
from ctrlplane_gitops.state.template import Release, ReleaseState
from ctrlplane_gitops.state.traffic import Backend, Member, RouteEntry, RouterState, RouteTable
from ctrlplane_gitops.status.board import Board, Sources
from ctrlplane_gitops.status.live import Live
from ctrlplane_gitops.status.passing import Plans
from ctrlplane_gitops.status.row import WorkerRow
from ctrlplane_gitops.status.view import build_status
from ctrlplane_gitops.store.base import Fence, Store
from ctrlplane_gitops.store.health import HealthBatch
from ctrlplane_gitops.store.memory import MemoryStore
from ctrlplane_gitops.telemetry.series import Series
from ctrlplane_gitops.value import replace

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEB, DB, OTHER = (
    instance_key("acme", "web"),
    instance_key("acme", "db"),
    instance_key("beta", "web"),
)
_HOUR = timedelta(hours=1)
_SPANS = (
    HealthSpan(WEB, WHOLE, Health.UNHEALTHY, NOW - 4 * _HOUR, None, 0, 2, "refused"),
    HealthSpan(WEB, WHOLE, Health.HEALTHY, NOW - 3 * _HOUR, None, 2, 2),
    HealthSpan(OTHER, WHOLE, Health.DEGRADED, NOW - _HOUR, None, 1, 2, "one is slow"),
)
PLANE = """
apiVersion: ctrlplane.dev/v1
kind: ControlPlane
metadata: {name: prod}
spec: {providers: {local: {type: memory}}, router: {type: memory}}
"""
TENANT = """---
apiVersion: ctrlplane.dev/v1
kind: Tenant
metadata: {name: NAME, labels: {ring: RING}}
spec: {displayName: The NAME, quota: {instances: 5, cpu: "4", memory: 1Gi}}
---
apiVersion: ctrlplane.dev/v1
kind: Secret
metadata: {tenant: NAME, name: url}
spec: {type: env, key: DATABASE_URL, from: {env: NAME_URL}}
"""
INSTANCE = """---
apiVersion: ctrlplane.dev/v1
kind: Instance
metadata: {tenant: NAME, name: APP, labels: {tier: APP}}
spec: {replicas: 2, secrets: [url], ports: [{name: http, port: 80}],
       resources: {cpu: 500m, memory: 128Mi}, volumes: [{name: data, path: /data, size: 1Gi}]}
---
apiVersion: ctrlplane.dev/v1
kind: Deployment
metadata: {tenant: NAME, name: APP}
spec: {instance: APP, image: "shop:2", env: {A: "1"},
       strategy: {type: canary, canary: {steps: [{weight: 10, pause: 2m},
                                                 {weight: 50, pause: manual}]}}}
---
apiVersion: ctrlplane.dev/v1
kind: Route
metadata: {tenant: NAME, name: APP}
spec: {instance: APP, hosts: [APP.NAME.example]}
"""


def _write(name: str, ring: str, *apps: str) -> bytes:
    text = TENANT + "".join(INSTANCE.replace("APP", app) for app in apps)
    return text.replace("NAME", name).replace("RING", ring).encode()


def _files() -> dict[str, bytes]:
    return {
        "ctrlplane.yaml": PLANE.encode(),
        "acme.yaml": _write("acme", "early", "web", "db"),
        "beta.yaml": _write("beta", "late", "web"),
    }


def make_desired(files: dict[str, bytes] | None = None) -> DesiredState:
    documents, diagnostics = parse(_files() if files is None else files)
    assert not diagnostics, [item.render() for item in diagnostics]
    digests = {item.key: "d" for item in documents if item.kind == "secret"}
    desired, found = build_catalog(documents, (), {}, digests)
    assert desired is not None and not found, [item.render() for item in found]
    return desired


def record(store: Store, desired: DesiredState) -> Fence:
    """Everything applied; each instance has run two releases."""
    fence = store.acquire("apply", "test", timedelta(hours=1), NOW)
    assert fence is not None
    at = NOW - timedelta(hours=1)
    releases = tuple(
        Release(item.key, number, f"rev{number}", _template(item, number), "c0ffee", at, state)
        for item in desired.instances.values()
        for number, state in ((1, ReleaseState.SUPERSEDED), (2, ReleaseState.ACTIVE))
    )
    store.record(
        RecordBatch(
            plane_id="pla_1",
            resources=tuple(
                RecordedResource(
                    key, item.fingerprint, json.dumps(item.attributes), False, item.origin.path,
                    "c0ffee",
                )
                for key, item in desired.resources.items()
            ),
            instances=tuple(
                RecordedInstance(key, "local", 2, rollout=RolloutStatus(target=2, previous=1))
                for key in desired.instances
            ),
            releases=releases,
            events=(
                *(
                    make_event(EventType.ROLLOUT_COMPLETED, NOW, key.address, "v2 is live")
                    for key in sorted(desired.instances)
                ),
                make_event(EventType.APPLY_ENDED, NOW, "", "done"),
            ),
            audit=tuple(
                AuditEntry(f"aud_{key.tenant}{key.name}", NOW, "user:me", "apply", key.address,
                           "c0ffee", "done")
                for key in sorted(desired.instances)
            ),
        ),
        fence,
    )  # fmt: skip
    return fence


def _template(item: DesiredInstance, number: int):
    assert item.template is not None
    return replace(item.template, image=f"shop:{number}")


def _replica_set(key: ResourceKey, ready: int) -> ObservedReplicaSet:
    return ObservedReplicaSet(
        key, "local", 2, "rev2",
        tuple(
            ObservedReplica(
                f"prod.{key.tenant}.{key.name}.v2.{index}", f"{key}{index}", index,
                ReplicaPhase.RUNNING if index < ready else ReplicaPhase.STOPPED,
                (Endpoint("http", "127.0.0.1", 20000 + index),), NOW,
                exit_code=None if index < ready else 1,
            )
            for index in range(2)
        ),
    )  # fmt: skip


def _backend(release: int, weight: int) -> Backend:
    return Backend(release, weight, (Member(f"v{release}", "127.0.0.1", 20000 + release),))


class Seen:
    """``board`` shows it all; what a test changes, the next answer shows."""

    def __init__(self) -> None:
        self.desired: DesiredState | None = make_desired()
        self.store = MemoryStore()
        self.fence = record(self.store, self.desired)
        self.plans = Plans()
        self.store.health.record(HealthBatch(NOW, _SPANS[:1]))
        self.store.health.record(HealthBatch(NOW, _SPANS[1:]))
        used = Series(NOW - _HOUR, timedelta(seconds=10), ((12.4, 1024.0, None, None),))
        self.series: tuple[Series, dict[str, Series]] | None = (used, {"web.v2.0": used})
        self.live: Live | None = self.look()
        self.workers = [
            WorkerRow("reconciler", 60.0, 900.0, False, False, None, NOW, 3, 1, NOW, 0.5, None)
        ]
        self.board = Board(
            Sources(
                read_desired=lambda: self.desired,
                read_live=lambda: self.live,
                read_store=lambda: self.store,
                now=lambda: NOW,
                read_series=lambda key, window: self.series,
                read_plan=self.plans.read,
                read_workers=lambda: self.workers,
            )
        )

    def look(self, **ready: int) -> Live:
        """``ready`` replicas of an instance by its name, two where nothing is said."""
        assert self.desired is not None
        keys = sorted(self.desired.instances)
        sets = tuple(_replica_set(key, ready.get(key.name, 2)) for key in keys)
        entries = tuple(
            RouteEntry(route.key, key, route.hosts, "/", (_backend(1, 90), _backend(2, 10)))
            for key, item in sorted(self.desired.instances.items())
            for route in item.routes
        )
        router = RouterState(RouteTable(entries), is_live=True)
        observed = ObservedState(sets, router=router)
        verdicts = {
            ("local", replica.id, replica.started_at): Verdict(True, NOW)
            for item in sets
            for replica in item.replicas
        }
        document = build_status(
            "prod", "c0ffee", self.desired, self.store.load_state(), observed, verdicts
        )
        return Live(NOW, document, observed, verdicts)

    def grow(self, count: int) -> None:
        """So many more instances, of a tenant of their own, which nobody has looked at yet."""
        assert self.desired is not None
        files = _files()
        apps = [f"i{number:02}" for number in range(count)]
        quota = b'quota: {instances: 5, cpu: "4", memory: 1Gi}'
        files["many.yaml"] = _write("many", "late", *apps).replace(quota, b"quota: {}")
        self.desired = make_desired(files)

    def instances(self) -> list[ResourceKey]:
        assert self.desired is not None
        return sorted(self.desired.instances)

    def plan_updates(self, *keys: ResourceKey, tenants: frozenset[str] | None = None) -> None:
        changes = tuple(Change(key, ChangeAction.UPDATE, "why") for key in sorted(keys))
        header = PlanHeader("prod", "c0ffee", "main", None, 9)
        self.plans.take(Plan(header, changes, unchanged=4), tenants, NOW)
