"""A provider whose replicas exist only as values: for trying things out and for every test that
needs faults on demand. It runs nothing and says so: no logs, no exec."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import assert_never

from ctrlplane_gitops.clock import Clock, SystemClock, parse_rfc3339, rfc3339
from ctrlplane_gitops.errors import (
    CapabilityError,
    CtrlplaneError,
    ImageError,
    ProviderError,
    UnreachableError,
    UsageError,
)
from ctrlplane_gitops.providers.base import Capability, ExecResult, LogLine, ProviderSettings
from ctrlplane_gitops.providers.halt import Halt
from ctrlplane_gitops.providers.memory_watch import watch_world
from ctrlplane_gitops.providers.memory_world import MemoryReplica, MemoryWorld, World
from ctrlplane_gitops.providers.scaling import Slot, check_material, compute_scale, replica_name
from ctrlplane_gitops.state.action import (
    Action,
    Material,
    Outcome,
    PrepareRelease,
    RemoveInstance,
    RemoveTenant,
    ScaleOwner,
    ScaleReplicaSet,
    UpdateResources,
)
from ctrlplane_gitops.state.desired import Json, Resources
from ctrlplane_gitops.state.key import ResourceKey, instance_key, tenant_key
from ctrlplane_gitops.state.observed import (
    Alteration,
    Endpoint,
    Gap,
    Leftover,
    ObservedReplica,
    ObservedReplicaSet,
    ObservedState,
    ReplicaPhase,
    Verdict,
)
from ctrlplane_gitops.state.usage import Usage

_OPTIONS = {"path", "watch", "gap", "failEffects", "loseReplies", "neverReady", "missingImages"}


@dataclass(slots=True)
class Faults:
    """What shall go wrong. ``fail_effects`` and ``lose_replies`` are numbers of effects of this
    provider object, from 1: a failed one does not happen, one whose reply is lost does.
    ``never_ready`` are revisions (or instance addresses) whose replicas stay ``starting``."""

    gap: str | None = None
    fail_effects: set[int] = field(default_factory=set)
    lose_replies: set[int] = field(default_factory=set)
    never_ready: set[str] = field(default_factory=set)
    missing_images: set[str] = field(default_factory=set)


def parse_faults(options: Json) -> Faults:
    """The faults a provider's options ask for; UsageError names an unknown option."""
    for option in options:
        if option not in _OPTIONS:
            known = ", ".join(sorted(_OPTIONS))
            raise UsageError(
                f"the memory provider has no option {option!r}", hint=f"it has {known}"
            )
    return Faults(
        gap=options.get("gap"),
        fail_effects=set(options.get("failEffects", ())),
        lose_replies=set(options.get("loseReplies", ())),
        never_ready=set(options.get("neverReady", ())),
        missing_images=set(options.get("missingImages", ())),
    )


class MemoryProvider:
    """Replicas as values in a ``MemoryWorld`` (option ``path``: in that JSON file; ``watch``: what
    changes there is told).

    ``faults`` may be changed at any time. ``observe_calls`` and ``effect_count`` count what this
    object was asked and did; ``world.read().effects`` counts over all objects. ``usages`` are what
    replicas use, by name; who is not in it uses nothing. ``verdicts`` are what it says of
    replicas by name, ``altered`` and ``scalers`` what somebody else did to or decides of a set,
    ``left`` whether it is down as an autoscaler's; of who is not in it nothing is kept.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        world: MemoryWorld | None = None,
        clock: Clock | None = None,
    ) -> None:
        options = settings.config.options
        self.name = settings.config.alias
        self.capabilities = frozenset(Capability) - {Capability.LOGS, Capability.EXEC}
        self.faults = parse_faults(options)
        path = Path(settings.state_dir, options["path"]) if "path" in options else None
        self.world = world or MemoryWorld(path)
        self.usages: dict[str, Usage] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.altered: dict[tuple[ResourceKey, int], tuple[Alteration, ...]] = {}
        self.scalers: dict[tuple[ResourceKey, int], str] = {}
        self.left: dict[tuple[ResourceKey, int], bool] = {}
        self.observe_calls = 0
        self.effect_count = 0
        self._settings = settings
        self._clock = clock or SystemClock()

    def observe(self, keys: Collection[ResourceKey] | None = None) -> ObservedState:
        self.observe_calls += 1
        if self.faults.gap is not None:
            instances = None if keys is None else frozenset(keys)
            return ObservedState(gaps=(Gap(self.name, self.faults.gap, instances),))
        sets: dict[tuple[ResourceKey, int], list[MemoryReplica]] = {}
        for row in self._ours() if keys is None else self._of_instances(keys):
            key = instance_key(row.tenant, row.instance)
            sets.setdefault((key, row.release), []).append(row)
        return ObservedState(
            tuple(
                ObservedReplicaSet(
                    key,
                    self.name,
                    release,
                    rows[-1].revision,
                    tuple(_observed(row, self.verdicts.get(row.name)) for row in rows),
                    altered=self.altered.get((key, release), ()),
                    scaled_by=self.scalers.get((key, release), ""),
                    scale=len(rows),
                    is_autoscaled=self.left.get((key, release)),
                )
                for (key, release), rows in sorted(sets.items())
            )
        )

    def perform(self, action: Action, material: Material) -> Outcome:
        before = self.effect_count
        resolved: dict[str, str] = {}
        error: CtrlplaneError | None = None
        try:
            if self.faults.gap is not None:
                raise UnreachableError(self.faults.gap)
            match action:
                case PrepareRelease():
                    resolved = self._prepare(action, material)
                case ScaleReplicaSet():
                    self._scale(action, material)
                case UpdateResources():
                    self._update(action)
                case RemoveInstance():
                    self._remove_instance(action)
                case RemoveTenant():
                    self._remove_tenant(action)
                case _:
                    assert_never(action)
        except CtrlplaneError as caught:
            error = caught
        return Outcome(action, error, self.effect_count - before, resolved)

    def read_logs(
        self, replica: str, *, tail: int | None, is_follow: bool, halt: Halt | None = None
    ) -> Iterator[LogLine]:
        raise CapabilityError(f"the memory provider has no capability {Capability.LOGS.value!r}")

    def execute(
        self,
        replica: str,
        command: Sequence[str],
        timeout: timedelta,
        *,
        limit: int | None = None,
    ) -> ExecResult:
        raise CapabilityError(f"the memory provider has no capability {Capability.EXEC.value!r}")

    def find_leftovers(self) -> tuple[Leftover, ...]:
        if self.faults.gap is not None:
            raise UnreachableError(self.faults.gap)
        found = []
        for plane, tenant, name, release in sorted(self.world.read().leftovers):
            if plane == self._settings.plane:
                owner = instance_key(tenant, name) if name else tenant_key(tenant)
                found.append(Leftover(self.name, owner, "something kept", release or None))
        return tuple(found)

    def read_usage(self, replicas: Collection[ObservedReplica]) -> Mapping[str, Usage]:
        if Capability.USAGE not in self.capabilities:
            raise CapabilityError(
                f"the memory provider has no capability {Capability.USAGE.value!r}"
            )
        if self.faults.gap is not None:
            raise UnreachableError(self.faults.gap)
        stopped = ReplicaPhase.STOPPED.value
        live = {row.id for row in self._ours() if row.phase != stopped}
        asked = [item.name for item in replicas if item.id in live]
        return {name: self.usages.get(name, Usage(0.0, 0, 0, 0)) for name in asked}

    def watch(
        self, on_change: Callable[[Collection[ResourceKey]], None], halt: Halt
    ) -> Sequence[Callable[[], None]]:
        """With the option ``watch``."""
        if not self._settings.config.options.get("watch"):
            return ()
        return (watch_world(self.world, self._settings.plane, on_change, halt),)

    def close(self) -> None:
        """Nothing is held."""

    def kill(self, replica: str, exit_code: int = 137, reason: str = "killed") -> None:
        """The replica dies by itself: not an effect of ours."""
        with self.world.change() as world:
            row = world.replicas[replica]
            stopped = ReplicaPhase.STOPPED.value
            world.replicas[replica] = replace(
                row, phase=stopped, exit_code=exit_code, reason=reason
            )

    def _ours(self) -> list[MemoryReplica]:
        rows = [row for row in self.world.read_replicas() if row.plane == self._settings.plane]
        return sorted(rows, key=lambda row: (row.tenant, row.instance, row.release, row.index))

    def _of_instances(self, keys: Collection[ResourceKey]) -> Iterator[MemoryReplica]:
        """Those of some, without going through what may be a great many others."""
        for key in keys:
            yield from self._of_instance(key)

    def _of_instance(self, key: ResourceKey) -> list[MemoryReplica]:
        rows = self.world.read_instance(self._settings.plane, key.tenant, key.name)
        return sorted(rows, key=lambda row: (row.release, row.index))

    def _effect(self, name: str, mutate: Callable[[World], None]) -> None:
        self._settings.on_effect(name)
        self.effect_count += 1
        if self.effect_count in self.faults.fail_effects:
            raise ProviderError(f"{name} failed as scripted", is_retryable=True)
        with self.world.change() as world:
            mutate(world)
            world.effects += 1
        self._settings.on_effect(name)
        if self.effect_count in self.faults.lose_replies:
            raise UnreachableError(f"the reply to {name} was lost as scripted")

    def _prepare(self, action: PrepareRelease, material: Material) -> dict[str, str]:
        image = action.release.template.image
        if image in self.faults.missing_images:
            raise ImageError(f"image {image!r} does not exist")
        return {} if image is None else {"image": image}

    def _scale(self, action: ScaleReplicaSet, material: Material) -> None:
        rows = [
            row
            for row in self._of_instance(action.instance)
            if row.release == action.release.number
        ]
        stopped = ReplicaPhase.STOPPED.value
        slots = [Slot(row.index, row.name, row.phase != stopped) for row in rows]
        is_left = action.owner is ScaleOwner.AUTOSCALER and rows and action.replicas
        steps = compute_scale(slots, len(rows) if is_left else action.replicas, action.retire)
        if steps.start or steps.replace:
            check_material(action.release.template, material)
        for index in steps.remove:
            self._remove(self._name(action, index))
        for index in sorted(steps.replace + steps.start):
            self._start(action, index)
        own = action.instance, action.release.number
        if self.left.get(own, action.is_autoscaled) is not action.is_autoscaled:
            self.left[own] = action.is_autoscaled
            self._effect(f"own:{action.instance.address}", lambda world: None)
        if self.altered.pop(own, ()):
            self._effect(f"mend:{action.instance.address}", lambda world: None)
        if action.replicas == 0:
            self._clear(action.instance.tenant, action.instance.name, action.release.number)

    def _name(self, action: ScaleReplicaSet, index: int) -> str:
        return replica_name(self._settings.plane, action.instance, action.release.number, index)

    def _start(self, action: ScaleReplicaSet, index: int) -> None:
        name, release = self._name(action, index), action.release
        bad = {release.revision, action.instance.address} & self.faults.never_ready
        phase = ReplicaPhase.STARTING if bad else ReplicaPhase.RUNNING
        owner = (self._settings.plane, action.instance.tenant, action.instance.name)

        def mutate(world: World) -> None:
            held = world.replicas.get(name)
            if held is not None and held.plane != self._settings.plane:
                raise ProviderError(f"replica {name!r} exists and is not ours")
            world.replicas[name] = MemoryReplica(
                name,
                f"mem-{world.next_id}",
                *owner,
                release.number,
                release.revision,
                index,
                phase.value,
                rfc3339(self._clock.now()),
                tuple(port.name for port in release.template.ports),
                action.resources.cpu_millicores,
                action.resources.memory_bytes,
            )
            world.next_id += 1
            world.volumes |= {(*owner, volume.name) for volume in release.template.volumes}

        self._effect(f"start:{name}", mutate)

    def _remove(self, name: str) -> None:
        def mutate(world: World) -> None:
            world.replicas.pop(name, None)

        self._effect(f"remove:{name}", mutate)

    def _update(self, action: UpdateResources) -> None:
        wanted = action.resources
        for row in self._of_instance(action.instance):
            changed = replace(
                row, cpu_millicores=wanted.cpu_millicores, memory_bytes=wanted.memory_bytes
            )
            if changed != row and row.phase != ReplicaPhase.STOPPED:

                def mutate(world: World, changed: MemoryReplica = changed) -> None:
                    world.replicas[changed.name] = changed

                self._effect(f"update:{row.name}", mutate)

    def _remove_instance(self, action: RemoveInstance) -> None:
        for row in self._of_instance(action.instance):
            self._remove(row.name)
        self._clear(action.instance.tenant, action.instance.name)
        owner = (self._settings.plane, action.instance.tenant, action.instance.name)
        held = {volume for volume in self.world.read().volumes if volume[:3] == owner}
        if action.is_volumes and held:

            def mutate(world: World) -> None:
                world.volumes -= held

            self._effect(f"remove-volumes:{action.instance.address}", mutate)

    def _remove_tenant(self, action: RemoveTenant) -> None:
        rows = self._ours()
        left = sorted({row.instance for row in rows if row.tenant == action.tenant.name})
        if left:
            raise ProviderError(f"{action.tenant} still has instances here: {', '.join(left)}")
        self._clear(action.tenant.name)

    def _clear(self, *owner: str | int) -> None:
        """What is kept for a tenant, an instance or a release, and for all below it."""
        whole = (self._settings.plane, *owner)
        held = {item for item in self.world.read().leftovers if item[: len(whole)] == whole}
        if held:

            def mutate(world: World) -> None:
                world.leftovers -= held

            self._effect(f"clear:{'/'.join(map(str, owner))}", mutate)


def _observed(row: MemoryReplica, verdict: Verdict | None) -> ObservedReplica:
    return ObservedReplica(
        name=row.name,
        id=row.id,
        index=row.index,
        phase=ReplicaPhase(row.phase),
        endpoints=tuple(Endpoint(port, _address(row), 1) for port in row.ports),
        started_at=parse_rfc3339(row.started_at),
        resources=Resources(row.cpu_millicores, row.memory_bytes),
        exit_code=row.exit_code,
        reason=row.reason,
        verdict=verdict,
    )


def _address(row: MemoryReplica) -> str:
    """Its own within an instance. On port 1 nothing listens: whoever probes it finds out at once
    that nothing runs."""
    return f"127.{1 + row.release % 254}.{row.index // 254 % 256}.{1 + row.index % 254}"
