"""Replicas as pods of a Kubernetes cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.cluster.access import find_access
from ctrlplane_gitops.errors import ProviderError, ReplicaError
from ctrlplane_gitops.providers.base import Capability, ExecResult, LogLine, ProviderSettings
from ctrlplane_gitops.providers.halt import Halt
from ctrlplane_gitops.providers.kubernetes.config import parse_config
from ctrlplane_gitops.providers.kubernetes.pace import Pace
from ctrlplane_gitops.providers.kubernetes.row import PodRow
from ctrlplane_gitops.providers.kubernetes.view import (
    build_sets,
    describe_changed,
    describe_held,
    find_pod,
    index_names,
)
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.state.observed import (
    Gap,
    Leftover,
    ObservedReplica,
    ObservedState,
    ReplicaPhase,
)
from ctrlplane_gitops.state.usage import Usage

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.adopting import Adoption, Foreign
    from ctrlplane_gitops.providers.kubernetes.acting import Site
    from ctrlplane_gitops.providers.kubernetes.inside import Metering
    from ctrlplane_gitops.state.action import Action, Material, Outcome

_LOOK_AGAIN_S = 0.1


class KubernetesProvider:
    """A replica set is a Deployment with a Service of its own, in its tenant's namespace; a replica
    is one of its pods. Health is what the kubelet's probes say: pods are not reached from
    everywhere.

    A release's ``command`` takes the place of the image's CMD; the image's entrypoint stays. A tag
    is run as it is given: no engine of ours resolves it.
    """

    pace = Pace()

    def __init__(self, settings: ProviderSettings) -> None:
        for package in ("urllib3", "websocket"):
            if find_spec(package) is None:
                raise ModuleNotFoundError(f"no module named {package!r}", name=package)
        self.name = settings.config.alias
        self.capabilities = frozenset(Capability)
        self._settings = settings
        self._config = parse_config(settings.config)
        self._lock = threading.Lock()
        self._site: Site | None = None

    def observe(self, keys: Collection[ResourceKey] | None = None) -> ObservedState:
        """Three list calls, each in as many pages as it takes, and one more each where there are
        secrets, files and autoscalers; about some instances one that tells which pods their
        Services lead to. One small call while it is watched and what that has shown is current."""
        try:
            seen = self.site.lookup.see(keys)
        except ProviderError as error:
            instances = None if keys is None else frozenset(keys)
            return ObservedState(gaps=(Gap(self.name, error.message, instances),))
        sets = build_sets(
            self.name, self._settings.plane, seen, keys, is_mirrored=self._config.is_quota_mirrored
        )
        held = describe_held(seen.deployments, seen.pods)
        notes = [*held, *describe_changed(seen.deployments), *seen.notes]
        warnings = [f"{self.name}: {it}" for it in notes]
        if seen.strangers:
            warnings.append(
                f"{self.name}: {seen.strangers} Deployments carry this control plane's "
                "label but not the others, or are in another namespace; they are left alone"
            )
        return ObservedState(sets, warnings=tuple(warnings))

    def watch(
        self, on_change: Callable[[Collection[ResourceKey]], None], halt: Halt
    ) -> Sequence[Callable[[], None]]:
        """Seven of them, which between them look after everything that is listed otherwise."""
        watchers = self.site.lookup.watch(lambda key: on_change((key,)), self.pace)
        for item in watchers:
            halt.on_set(item.stop)
        return [item.run for item in watchers]

    def perform(self, action: Action, material: Material) -> Outcome:
        from ctrlplane_gitops.providers.kubernetes.acting import perform

        return perform(self.site, self._settings, action, material)

    def read_logs(
        self, replica: str, *, tail: int | None, is_follow: bool, halt: Halt | None = None
    ) -> Iterator[LogLine]:
        """What has not begun has printed nothing; who follows it waits for its begin."""
        from ctrlplane_gitops.providers.kubernetes.inside import read_log

        pod = self._find(replica)
        while pod.phase is ReplicaPhase.STARTING:
            if not is_follow or (halt is not None and halt.is_set):
                return
            sleep(_LOOK_AGAIN_S)
            pod = self._find(replica)
        yield from read_log(self.site.api, replica, pod, tail, is_follow, halt)

    def execute(
        self,
        replica: str,
        command: Sequence[str],
        timeout: timedelta,
        *,
        limit: int | None = None,
    ) -> ExecResult:
        """A replica that is just starting is waited for, as long as there is time."""
        from ctrlplane_gitops.cluster.exec import execute

        deadline = monotonic_s() + timeout.total_seconds()
        pod = self._find(replica)
        while pod.phase is ReplicaPhase.STARTING and not pod.reason:
            if monotonic_s() >= deadline:
                raise ReplicaError(f"{replica} has not started in time")
            sleep(_LOOK_AGAIN_S)
            pod = self._find(replica)
        code, output = execute(
            self.site.api.connection,
            pod.namespace,
            pod.name,
            pod.container,
            command,
            max(0.0, deadline - monotonic_s()),
            limit,
        )
        return ExecResult(code, output)

    def find_leftovers(self) -> tuple[Leftover, ...]:
        from ctrlplane_gitops.providers.kubernetes.leftover import find_leftovers

        return find_leftovers(
            self.site.api, self.name, self._settings.plane, self.site.lookup.namespace_of
        )

    def read_usage(self, replicas: Collection[ObservedReplica]) -> Mapping[str, Usage]:
        if not replicas:
            return {}
        names = index_names(self._settings.plane, self.site.lookup.pods_of())
        return self._metering.read(names, {item.name for item in replicas})

    def find_foreign(self, name: str, instance: ResourceKey) -> Foreign:
        """``<namespace>/<Deployment>``."""
        from ctrlplane_gitops.providers.kubernetes.adoption import find_foreign

        return find_foreign(self.site, name, instance)

    def adopt(self, adoption: Adoption) -> None:
        from ctrlplane_gitops.providers.kubernetes.adoption import adopt

        adopt(self.site, self._settings, adoption)

    def close(self) -> None:
        with self._lock:
            if self._site is not None:
                self._site.api.connection.close()

    @property
    def site(self) -> Site:
        """Made when it is first needed: a plan of one tenant may not need it at all."""
        with self._lock:
            if self._site is None:
                from ctrlplane_gitops.cluster.api import Api
                from ctrlplane_gitops.cluster.connection import Connection
                from ctrlplane_gitops.providers.kubernetes.acting import Site
                from ctrlplane_gitops.providers.kubernetes.lookup import Lookup

                settings, config = self._settings, self._config
                access = find_access(self.name, settings.environ)
                api = Api(
                    Connection(access, config.timeout_s), lambda write: lookup.take_write(write)
                )
                lookup = Lookup(api, settings.plane, config)
                self._site = Site(self.name, settings.plane, config, api, lookup)
            return self._site

    @cached_property
    def _metering(self) -> Metering:
        from ctrlplane_gitops.providers.kubernetes.inside import Metering

        return Metering(self.site.api, self._settings.plane)

    def _find(self, replica: str) -> PodRow:
        # <plane>.<tenant>.<instance>.v<release>.<index>, none of which has a dot.
        parts = replica.split(".")
        instance = instance_key(parts[1], parts[2]) if len(parts) == 5 else None
        number = parts[3][1:] if len(parts) == 5 else ""
        release = int(number) if number.isdigit() else None
        pods = self.site.lookup.pods_of(instance, release)
        found = find_pod(self._settings.plane, replica, pods)
        if found is None:
            raise ReplicaError(f"there is no replica {replica!r} here")
        return found
