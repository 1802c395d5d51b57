"""Small specs by hand, and a model world in which a plan's effects simply happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.plan.change import Change, Plan, PlanHeader, Policy, Work
from ctrlplane_gitops.plan.compute import compute_plan
from ctrlplane_gitops.plan.order import order_layers
from ctrlplane_gitops.rollout.routing import (
    build_entries,
    follow_entry,
    places_of,
    steady_step,
)
from ctrlplane_gitops.state.desired import (
    ControlPlane,
    DesiredInstance,
    DesiredResource,
    DesiredState,
    ProviderConfig,
    PrunePolicy,
    Resources,
    RolloutParams,
    RouterConfig,
)
from ctrlplane_gitops.state.key import Kind, ResourceKey, parse_address, tenant_key
from ctrlplane_gitops.state.observed import (
    Endpoint,
    Gap,
    ObservedReplica,
    ObservedReplicaSet,
    ObservedState,
    ReplicaPhase,
)
from ctrlplane_gitops.state.recorded import (
    RecordedInstance,
    RecordedResource,
    RecordedState,
    RolloutPhase,
    RolloutStatus,
)
from ctrlplane_gitops.state.template import (
    Port,
    Release,
    ReleaseState,
    ReleaseTemplate,
    SecretMount,
    SecretType,
)
from ctrlplane_gitops.state.traffic import RouteEntry, RouterState, RouteTable
from ctrlplane_gitops.units import format_bytes
from tests.plan.way_kit import Way, digest, resource

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HEADER = PlanHeader("prod", "3f9c2ab4d5e6f708", "main", False, 42)
MIB = 2**20
PARAMS, PRUNE, POLICY, UNLIMITED = RolloutParams(), PrunePolicy(), Policy(), Resources()


@dataclass
class App:
    """One instance with its deployment (none when ``image`` is None)."""

    image: str | None = "shop:1.4.1"
    replicas: int = 3
    provider: str = "local"
    env: dict[str, str] = field(default_factory=dict)
    memory: int | None = None
    depends_on: tuple[str, ...] = ()
    secret: str | None = None
    is_protected: bool = False
    params: RolloutParams = PARAMS
    note: str = ""
    ports: tuple[str, ...] = ()
    routes: tuple[Way, ...] = ()
    is_autoscaled: bool = False


def make_desired(
    apps: Mapping[str, App],
    *,
    suspended: frozenset[str] = frozenset(),
    prune: PrunePolicy = PRUNE,
    router: str | None = "memory",
    **more: Any,
) -> DesiredState:
    """Apps by ``tenant/name``; tenants, secrets and routes follow from them."""
    resources: dict[ResourceKey, DesiredResource] = {}
    instances: dict[ResourceKey, DesiredInstance] = {}
    for path, app in apps.items():
        tenant, name = path.split("/")
        key = tenant_key(tenant)
        resources[key] = resource(key, {"suspended": tenant in suspended})
        instance = _make_instance(ResourceKey(Kind.INSTANCE, tenant, name), app, resources)
        resources[instance.key] = instance.resource
        if instance.deployment:
            resources[instance.deployment.key] = instance.deployment
        if tenant in suspended:
            instance = replace(instance, replicas=0, is_suspended=True)
        instances[instance.key] = instance
    plane = ControlPlane(
        "prod",
        {name: ProviderConfig(name, "memory") for name in ("local", "docker")},
        "local",
        prune,
        router=RouterConfig(router) if router else None,
    )
    return DesiredState(plane, resources, instances, **more)


def _make_instance(
    key: ResourceKey, app: App, resources: dict[ResourceKey, DesiredResource]
) -> DesiredInstance:
    secrets: tuple[SecretMount, ...] = ()
    if app.secret is not None:
        secret = ResourceKey(Kind.SECRET, key.tenant, "token")
        resources[secret] = resource(
            secret, {"type": "env", "key": "TOKEN", "valueDigest": digest(app.secret)}
        )
        secrets = (SecretMount(secret, SecretType.ENV, "TOKEN", digest(app.secret)),)
    declared = {"owner": "autoscaler", "initial": app.replicas}
    replicas = declared if app.is_autoscaled else app.replicas
    attributes: dict[str, Any] = {"provider": app.provider, "replicas": replicas}
    if app.memory:
        attributes["resources"] = {"memory": format_bytes(app.memory)}
    if app.env:
        attributes["env"] = app.env
    if app.depends_on:
        attributes["dependsOn"] = list(app.depends_on)
    if app.note:
        attributes["labels"] = {"note": app.note}
    row = resource(key, attributes, is_protected=app.is_protected)
    instance = DesiredInstance(
        row,
        app.provider,
        app.replicas,
        Resources(memory_bytes=app.memory),
        (),
        tuple(parse_address(item) for item in app.depends_on),
        params=app.params,
        routes=tuple(way.build(key, resources) for way in app.routes),
        is_autoscaled=app.is_autoscaled,
    )
    if app.image is None:
        return instance
    names = app.ports or tuple(sorted({way.port for way in app.routes}))
    ports = tuple(Port(name, 80 + place) for place, name in enumerate(names))
    template = ReleaseTemplate(app.provider, app.image, env=app.env, secrets=secrets, ports=ports)
    deployment = resource(
        ResourceKey(Kind.DEPLOYMENT, key.tenant, key.name),
        {"instance": key.name, "image": app.image, "strategy": {"type": str(app.params.type)}},
    )
    revision = digest(
        [app.provider, app.image, sorted(app.env.items()), [item.digest for item in secrets]]
    )
    return replace(instance, deployment=deployment, template=template, revision=revision)


@dataclass
class World:
    """What is recorded and what runs; changed only by ``apply``."""

    plane_id: str | None = None
    resources: dict[ResourceKey, RecordedResource] = field(default_factory=dict)
    instances: dict[ResourceKey, RecordedInstance] = field(default_factory=dict)
    releases: dict[ResourceKey, dict[int, Release]] = field(default_factory=dict)
    sets: dict[tuple[ResourceKey, str, int], ObservedReplicaSet] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    router: RouterState | None = None

    @property
    def observed(self) -> ObservedState:
        silent = {item.provider for item in self.gaps}
        shown = tuple(item for item in self.sets.values() if item.provider not in silent)
        return ObservedState(shown, self.gaps, router=self.router)

    @property
    def served(self) -> dict[str, list[RouteEntry]]:
        """What the router serves, by the address of the route."""
        found: dict[str, list[RouteEntry]] = {}
        for entry in self.served_entries:
            found.setdefault(entry.key.address, []).append(entry)
        return found

    @property
    def served_entries(self) -> tuple[RouteEntry, ...]:
        return self.router.table.entries if self.router else ()

    def serve(self, *entries: RouteEntry, **more: Any) -> None:
        """The router serves exactly these."""
        table = RouteTable(tuple(sorted(entries, key=lambda item: (item.key, item.variant))))
        self.router = RouterState(table, "a generation", True, **more)

    @property
    def recorded(self) -> RecordedState:
        releases = {
            key: tuple(item for _, item in sorted(found.items()))
            for key, found in self.releases.items()
        }
        return RecordedState(self.plane_id, dict(self.resources), dict(self.instances), releases)

    def plan(
        self,
        desired: DesiredState,
        policy: Policy = POLICY,
        diagnostics: tuple[Diagnostic, ...] = (),
        instances: frozenset[ResourceKey] | None = None,
        **header: Any,
    ) -> Plan:
        """With ``instances``, nothing is seen of the others."""
        seen = self.observed
        if instances is not None:
            sets = tuple(item for item in seen.replica_sets if item.instance in instances)
            seen = replace(seen, replica_sets=sets)
        return compute_plan(
            desired,
            seen,
            self.recorded,
            policy,
            replace(HEADER, **header),
            NOW,
            diagnostics,
            instances,
        )

    def apply(self, desired: DesiredState, policy: Policy = POLICY) -> Plan:
        """Plan, and let everything it says happen (unless refused)."""
        plan = self.plan(desired, policy)
        if plan.refusals:
            return plan
        self.plane_id = "pla_1"
        batch = plan.records
        self.resources.update({item.key: item for item in batch.resources})
        self.instances.update({item.key: item for item in batch.instances})
        for release in batch.releases:
            self.releases.setdefault(release.instance, {})[release.number] = release
        for key in batch.removed_resources:
            self.resources.pop(key, None)
        works = {item.instance: item for item in plan.works}
        self.resources.update({item.key: item for item in plan.certificates})
        for layer in order_layers(plan.dependencies):
            for key in layer:
                self._do(works[key])
        if desired.plane.router is not None:
            self._route(plan)
        return plan

    def _route(self, plan: Plan) -> None:
        """What the works ask of the router, as an apply does it."""
        entries = [item for item in self.served_entries if item.key not in plan.unrouted]
        for work in plan.works:
            if work.desired is None or work.release is None:
                entries = [item for item in entries if item.instance != work.instance]
                continue
            keys = {route.key for route in work.desired.routes}
            sets = tuple(item for place, item in self.sets.items() if place[0] == work.instance)
            step = steady_step(work.release.number, sets)
            left = [item for item in entries if item.key not in keys]
            entries = [
                follow_entry(item, step, places_of(sets))
                if item.instance == work.instance else item
                for item in left
            ]  # fmt: skip
            entries += build_entries(work.instance, work.desired.routes, step, places_of(sets))
        is_routed = any(work.is_routed for work in plan.works)
        if is_routed or plan.unrouted or plan.certificates or plan.starts_router:
            self.serve(*entries)
        if plan.stops_router or (plan.unrouted and not entries) or self.router is None:
            # It was never started, or is stopped with the last route.
            told = self.router.generation if self.router else ""
            gap = "it does not run"
            self.router = RouterState(generation=told, gap=gap, is_stopped=True)

    def _do(self, work: Work) -> None:
        providers = set(work.sweep)
        if work.release is not None:
            assert work.release.template.provider not in providers
            providers.add(work.release.template.provider)
        for place in [item for item in self.sets if item[0] == work.instance]:
            if place[1] in providers:
                del self.sets[place]
        for key in work.removed:
            self.resources.pop(key, None)
        if work.desired is None:
            self.instances.pop(work.instance, None)
            self.releases.pop(work.instance, None)
            return
        self.resources.update({item.key: item for item in work.records})
        number = None
        if work.release is not None:
            number = work.release.number
            self.run(work.release, work.desired.replicas, work.desired.resources)
            found = self.releases.setdefault(work.instance, {})
            found[number] = replace(work.release, state=ReleaseState.ACTIVE)
        self.instances[work.instance] = RecordedInstance(work.instance, work.provider, number)

    def run(self, release: Release, replicas: int, resources: Resources = UNLIMITED) -> None:
        """Replicas of a release, all running."""
        if not replicas:
            return
        key, provider = release.instance, release.template.provider
        name = f"prod.{key.tenant}.{key.name}.{release.label}"
        self.sets[key, provider, release.number] = ObservedReplicaSet(
            key,
            provider,
            release.number,
            release.revision,
            tuple(
                ObservedReplica(
                    f"{name}.{index}",
                    f"id-{name}.{index}",
                    index,
                    ReplicaPhase.RUNNING,
                    tuple(
                        Endpoint(port.name, f"127.0.{release.number}.{index + 1}", port.port)
                        for port in release.template.ports
                    ),
                    resources=resources,
                )
                for index in range(replicas)
            ),
        )

    def change_set(self, path: str, **more: Any) -> None:
        """Change the first (and in tests only) set of an instance."""
        place, found = self.find_set(path)
        self.sets[place] = replace(found, **more)

    def find_set(self, path: str) -> tuple[tuple[ResourceKey, str, int], ObservedReplicaSet]:
        key = parse_address(f"instance/{path}")
        return next((place, item) for place, item in self.sets.items() if place[0] == key)

    def kill(self, path: str, index: int, exit_code: int = 137) -> None:
        _, found = self.find_set(path)
        self.change_set(
            path,
            replicas=tuple(
                replace(item, phase=ReplicaPhase.STOPPED, exit_code=exit_code)
                if item.index == index
                else item
                for item in found.replicas
            ),
        )

    def fail(self, desired: DesiredState, path: str, reason: str = "exited 1") -> Release:
        """Let the rollout of an instance fail and be rolled back; the failed release."""
        key = parse_address(f"instance/{path}")
        work = next(item for item in self.plan(desired).works if item.instance == key)
        assert work.release is not None
        bad = replace(work.release, state=ReleaseState.FAILED, reason=reason)
        self.releases.setdefault(key, {})[bad.number] = bad
        status = RolloutStatus(RolloutPhase.ROLLED_BACK, bad.number, work.active)
        self.instances[key] = RecordedInstance(key, work.provider, work.active, rollout=status)
        return bad


def applied(apps: Mapping[str, App], **more: Any) -> World:
    """A world in which these apps run."""
    world = World()
    world.apply(make_desired(apps, **more))
    return world


def find(plan: Plan, address: str) -> Change:
    return next(item for item in plan.changes if item.key.address == address)


def rows(plan: Plan) -> dict[str, str]:
    """Action by address; blocked rows as ``blocked:<code>``."""
    return {
        item.key.address: f"blocked:{item.blocked.code}" if item.blocked else str(item.action)
        for item in plan.changes
    }
