"""Replicas as local processes that outlive the controller."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from typing import assert_never

from ctrlplane_gitops.errors import CapabilityError, CtrlplaneError, ProviderError
from ctrlplane_gitops.process_id import is_alive, reap
from ctrlplane_gitops.providers.base import Capability, ExecResult, LogLine, ProviderSettings
from ctrlplane_gitops.providers.halt import Halt
from ctrlplane_gitops.providers.process.cgroup import find_bases, remove_groups
from ctrlplane_gitops.providers.process.config import parse_config
from ctrlplane_gitops.providers.process.fleet import Replica, group_sets, read_fleet
from ctrlplane_gitops.providers.process.launch import (
    Launch,
    lock_replica,
    prepare,
    spawn_keeper,
    wait_started,
)
from ctrlplane_gitops.providers.process.layout import (
    Layout,
    Slug,
    find_memory_dir,
    remove_tree,
    write_json,
)
from ctrlplane_gitops.providers.process.limit import (
    change_limits,
    choose_groups,
    is_cpu_free,
    list_groups,
    make_groups,
)
from ctrlplane_gitops.providers.process.output import read_lines, run_beside
from ctrlplane_gitops.providers.process.port import claim_ports
from ctrlplane_gitops.providers.process.stop import ask_to_stop, kill_leftovers, wait_stopped
from ctrlplane_gitops.providers.process.translate import (
    ReplicaSpec,
    build_environment,
    build_spec,
    build_tags,
    check_template,
    encode_spec,
    expand_command,
    secret_environment,
)
from ctrlplane_gitops.providers.process.usage import read_usage
from ctrlplane_gitops.providers.scaling import check_material, compute_scale
from ctrlplane_gitops.state.action import (
    Action,
    Material,
    Outcome,
    PrepareRelease,
    RemoveInstance,
    RemoveTenant,
    ScaleReplicaSet,
    UpdateResources,
)
from ctrlplane_gitops.state.key import ResourceKey, instance_key, tenant_key
from ctrlplane_gitops.state.observed import Gap, Leftover, ObservedReplica, ObservedState
from ctrlplane_gitops.state.template import ReleaseTemplate
from ctrlplane_gitops.state.usage import Usage

_CPU_WARNING = "cpu limit not enforced: no control group can be made here"


class Effects:
    """Counts the mutating calls of one action and tells of each, before and after."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.count = 0
        self._on_effect = settings.on_effect
        self._lock = threading.Lock()

    @contextmanager
    def made(self, name: str) -> Iterator[None]:
        self._on_effect(name)
        yield
        with self._lock:
            self.count += 1
        self._on_effect(name)


class ProcessProvider:
    """One keeper process per replica; see ``keeper.py`` for what it does.

    Needs Linux (pidfd, ``/proc``). Limits are put in force by control groups; where none can be
    made the keeper watches memory, and a cpu limit is recorded and reported as not enforced.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        if sys.platform != "linux":
            raise CapabilityError("the process provider needs Linux")
        self.name = settings.config.alias
        self._settings = settings
        self._config = parse_config(settings.config)
        self._layout = Layout(
            settings.state_dir, find_memory_dir(settings.environ.get("XDG_RUNTIME_DIR"))
        )
        self._bases = find_bases() if self._config.is_grouped else {}
        self.capabilities = frozenset(Capability) - {Capability.IMAGES, Capability.AUTOSCALING}
        if "cpu" not in self._bases:
            self.capabilities -= {Capability.CPU_LIMIT}
        self._keepers: set[int] = set()
        self._keepers_lock = threading.Lock()

    def observe(self, keys: Collection[ResourceKey] | None = None) -> ObservedState:
        self._reap()
        try:
            replicas = self._read(keys)
        except OSError as error:
            instances = None if keys is None else frozenset(keys)
            return ObservedState(gaps=(Gap(self.name, str(error), instances),))
        free = {
            item.slug.instance
            for item in replicas
            if item.is_live and not item.is_foreign and item.spec and is_cpu_free(item.spec)
        }
        warnings = tuple(f"{instance}: {_CPU_WARNING}" for instance in sorted(free))
        return ObservedState(group_sets(replicas, self.name), warnings=warnings)

    def perform(self, action: Action, material: Material) -> Outcome:
        effects = Effects(self._settings)
        error: CtrlplaneError | None = None
        try:
            self._act(action, material, effects)
        except CtrlplaneError as caught:
            error = caught
        except OSError as caught:
            # A full disk, a directory without rights: of this machine, and it may pass.
            error = ProviderError(f"{self.name}: {caught}", is_retryable=True)
        finally:
            self._reap()
        return Outcome(action, error, effects.count, warnings=self._warnings(action))

    def read_logs(
        self, replica: str, *, tail: int | None, is_follow: bool, halt: Halt | None = None
    ) -> Iterator[LogLine]:
        found = self._find(replica)
        keeper = found.keeper

        def is_running() -> bool:
            is_halted = halt is not None and halt.is_set
            return not is_halted and keeper is not None and is_alive(keeper)

        directory = self._layout.replica_dir(found.slug)
        return read_lines(replica, directory, tail, is_running if is_follow else None)

    def execute(
        self,
        replica: str,
        command: Sequence[str],
        timeout: timedelta,
        *,
        limit: int | None = None,
    ) -> ExecResult:
        found = self._find(replica)
        if found.app is None:
            raise ProviderError(f"{replica} is not running, so nothing can be run in it")
        work = self._layout.replica_dir(found.slug) / "work"
        return run_beside(replica, found.app, work, command, timeout, limit)

    def find_leftovers(self) -> tuple[Leftover, ...]:
        """Directories in which no replica is: who stopped the last one did not live to remove
        them. Those of volumes are none."""
        try:
            found = list(self._layout.scan_empty())
        except OSError as error:
            raise ProviderError(f"{self.name}: {error}", is_retryable=True) from None
        return tuple(
            Leftover(
                self.name,
                instance_key(tenant, name) if name else tenant_key(tenant),
                "an empty directory",
            )
            for tenant, name in found
        )

    def read_usage(self, replicas: Collection[ObservedReplica]) -> Mapping[str, Usage]:
        if not self._layout.root.is_dir():
            raise ProviderError(f"{self.name}: {self._layout.root} is gone", is_retryable=True)
        return read_usage(self._layout, replicas)

    def close(self) -> None:
        self._reap()

    def _act(self, action: Action, material: Material, effects: Effects) -> None:
        match action:
            case PrepareRelease():
                self._check(action.instance, action.release.template)
            case ScaleReplicaSet():
                self._scale(action, material, effects)
            case UpdateResources():
                self._update(action, effects)
            case RemoveInstance():
                self._remove_instance(action, effects)
            case RemoveTenant():
                self._remove_tenant(action, effects)
            case _:
                assert_never(action)

    def _warnings(self, action: Action) -> tuple[str, ...]:
        match action:
            case ScaleReplicaSet(resources=limits) | UpdateResources(resources=limits):
                has_cpu = limits.cpu_millicores is not None and "cpu" not in self._bases
                return (f"{action.instance}: {_CPU_WARNING}",) if has_cpu else ()
        return ()

    def _read(self, keys: Collection[ResourceKey] | None) -> list[Replica]:
        return read_fleet(self._layout, self._settings.plane, keys)

    def _find(self, name: str) -> Replica:
        try:
            replicas = self._read(None)
        except OSError as error:
            raise ProviderError(f"{self.name}: {error}", is_retryable=True) from None
        for replica in replicas:
            if replica.name == name and not replica.is_foreign:
                return replica
        raise ProviderError(f"there is no replica {name!r} here")

    def _check(self, instance: ResourceKey, template: ReleaseTemplate) -> None:
        check_template(template, instance)
        program = template.command[0]
        search = template.env.get("PATH", self._settings.environ.get("PATH"))
        is_ours = program in {file.path for file in template.files} or "$(" in program
        if not is_ours and "/" not in program and shutil.which(program, path=search) is None:
            raise ProviderError(f"{instance}: the program {program!r} is not on this machine")

    def _scale(self, action: ScaleReplicaSet, material: Material, effects: Effects) -> None:
        number = action.release.number
        replicas = [it for it in self._read([action.instance]) if it.slug.release == number]
        for replica in replicas:
            if replica.is_foreign:
                raise ProviderError(f"{replica.name} exists and is not ours")
        found = {replica.slug.index: replica for replica in replicas}
        steps = compute_scale([item.slot for item in replicas], action.replicas, action.retire)
        self._remove([found[index] for index in steps.remove], action.stop_timeout, effects)
        indices = sorted(steps.start + steps.replace)
        if not indices:
            return
        self._check(action.instance, action.release.template)
        check_material(action.release.template, material)
        self._clear([found[index] for index in steps.replace])
        before = {index: item.spec.ports for index, item in found.items() if item.spec is not None}
        self._settings.start_all(
            [
                partial(self._start, action, material, index, before.get(index, {}), effects)
                for index in indices
            ]
        )

    def _start(
        self,
        action: ScaleReplicaSet,
        material: Material,
        index: int,
        wanted_ports: Mapping[str, int],
        effects: Effects,
    ) -> None:
        template = action.release.template
        slug = Slug(action.instance, action.release.number, index)
        names = [port.name for port in template.ports]
        seed, path = self._layout.token(slug), self._layout.ports_file()
        with ExitStack() as held:
            lock = held.enter_context(lock_replica(self._layout.replica_dir(slug)))
            ports, claim = held.enter_context(
                claim_ports(path, self._config.ports, seed, names, wanted_ports)
            )
            groups = choose_groups(self._bases, seed, action.resources)
            start_id = os.urandom(6).hex()
            spec = build_spec(self._settings.plane, action, index, start_id, ports, groups)
            with effects.made(f"prepare:{spec.name}"):
                prepare(self._layout, slug, spec, template, material)
            with effects.made(f"start:{spec.name}"):
                launch = self._build_launch(slug, self._make_groups(slug, spec), template, material)
                pid = spawn_keeper(self._layout, launch, lock, claim)
                with self._keepers_lock:
                    self._keepers.add(pid)
        wait_started(self._layout, launch, pid)

    def _make_groups(self, slug: Slug, spec: ReplicaSpec) -> ReplicaSpec:
        """They are recorded before they are made, so that none is ever forgotten."""
        made = make_groups(spec)
        if made != spec:
            write_json(self._layout.replica_dir(slug) / "replica.json", encode_spec(made))
        return made

    def _build_launch(
        self, slug: Slug, spec: ReplicaSpec, template: ReleaseTemplate, material: Material
    ) -> Launch:
        tags = build_tags(str(self._layout.root), spec.labels)
        environment = build_environment(template, spec.ports, self._settings.environ, tags)
        return Launch(
            slug,
            spec,
            expand_command(spec.command, environment),
            environment | secret_environment(template, material),
            tags,
            self._config.log_bytes,
        )

    def _clear(self, replicas: Sequence[Replica]) -> None:
        """Nothing runs of these any more, and nothing limits them."""
        kill_leftovers(self._layout, self._settings.plane, replicas)
        for replica in replicas:
            token = self._layout.token(replica.slug)
            remove_groups({*replica.groups, *list_groups(self._bases, token)})

    def _remove(self, replicas: Sequence[Replica], grace: timedelta, effects: Effects) -> None:
        for replica in replicas:
            if replica.keeper is not None:
                with effects.made(f"stop:{replica.name}"):
                    ask_to_stop(self._layout, replica, grace)
        wait_stopped(replicas, grace)
        self._clear(replicas)
        for replica in replicas:
            with effects.made(f"remove:{replica.name}"):
                self._layout.remove_replica(replica.slug)

    def _update(self, action: UpdateResources, effects: Effects) -> None:
        for replica in self._read([action.instance]):
            spec, app = replica.spec, replica.app
            if spec is None or not replica.is_live or replica.is_foreign:
                continue
            if action.resources == spec.resources == replica.observed.resources:
                continue
            path = self._layout.replica_dir(replica.slug) / "replica.json"
            token = self._layout.token(replica.slug)
            with effects.made(f"update:{replica.name}"):
                changed = change_limits(spec, action.resources, self._bases, token, app)
                write_json(path, encode_spec(changed))

    def _remove_instance(self, action: RemoveInstance, effects: Effects) -> None:
        replicas = self._read([action.instance])
        ours = [replica for replica in replicas if not replica.is_foreign]
        self._remove(ours, action.stop_timeout, effects)
        leftovers = {}
        if len(ours) == len(replicas):
            leftovers["remove"] = self._layout.instance_dir(action.instance)
        if action.is_volumes:
            leftovers["remove-volumes"] = self._layout.volumes_dir(action.instance)
        for what, directory in leftovers.items():
            if directory.exists():
                with effects.made(f"{what}:{action.instance}"):
                    remove_tree(directory)

    def _remove_tenant(self, action: RemoveTenant, effects: Effects) -> None:
        tenant = action.tenant.name
        left = {it.slug.instance for it in self._read(None) if it.slug.instance.tenant == tenant}
        if left:
            names = ", ".join(sorted(key.address for key in left))
            raise ProviderError(f"{action.tenant} still has instances here: {names}")
        if self._layout.tenant_dir(tenant).exists():
            with effects.made(f"remove:{action.tenant}"):
                self._layout.remove_tenant(tenant)

    def _reap(self) -> None:
        """Keepers are our children as long as we live: leave no zombies of them."""
        with self._keepers_lock:
            self._keepers = {pid for pid in self._keepers if not reap(pid)}
