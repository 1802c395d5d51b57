"""Replicas as containers of one Docker engine."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.base import (
    LABEL_INSTANCE,
    LABEL_PLANE,
    LABEL_TENANT,
    Capability,
    ExecResult,
    LogLine,
    ProviderSettings,
)
from ctrlplane_gitops.providers.docker.adopted import follow_markers
from ctrlplane_gitops.providers.docker.config import parse_config
from ctrlplane_gitops.providers.docker.limits import limit_reader
from ctrlplane_gitops.providers.docker.listing import list_containers, list_networks
from ctrlplane_gitops.providers.docker.translate import (
    Container,
    Listing,
    build_observed,
    label_filter,
    read_rows,
)
from ctrlplane_gitops.providers.docker.usage import usage_reader
from ctrlplane_gitops.providers.halt import Halt
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import (
    Gap,
    Leftover,
    ObservedReplica,
    ObservedReplicaSet,
    ObservedState,
    ReplicaPhase,
)
from ctrlplane_gitops.state.usage import Usage

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.adopting import Adoption, Foreign
    from ctrlplane_gitops.providers.docker.acting import Acting
    from ctrlplane_gitops.state.action import Action, Material, Outcome


class DockerProvider:
    """Containers named ``<plane>.<tenant>.<instance>.v<release>.<index>`` that carry owner labels;
    what does not carry them is a stranger's and never touched.

    A release's ``command`` takes the place of the image's CMD, as in ``docker run IMAGE COMMAND``;
    the image's entrypoint stays. Environment secrets can be read by whoever may ask the engine
    (``docker inspect``): that is Docker's way; file secrets cannot.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        if find_spec("docker") is None:
            raise ModuleNotFoundError("no module named 'docker'", name="docker")
        self.name = settings.config.alias
        self.capabilities = frozenset(Capability) - {Capability.AUTOSCALING}
        self._settings = settings
        self._config = parse_config(settings.config, settings.environ)
        self._lock = threading.Lock()
        self._acting: Acting | None = None
        place = f"{settings.plane} at {self._config.host}"
        self._listing: Listing = settings.kept.setdefault(place, Listing())

    def observe(self, keys: Collection[ResourceKey] | None = None) -> ObservedState:
        """One list call, limits from the kernel; no inspect."""
        try:
            found, strangers = self._list(keys)
        except ProviderError as error:
            instances = None if keys is None else frozenset(keys)
            return ObservedState(gaps=(Gap(self.name, error.message, instances),))
        blind: list[str] = []
        sets = self._build_sets(found, keys, blind)
        seen = tuple(sets) if keys is not None else self._listing.keep(sets)
        warnings = []
        if blind:
            warnings.append(
                f"{self.name}: limits of containers cannot be read here, so their drift is not seen"
            )
        if strangers:
            warnings.append(
                f"{self.name}: {strangers} containers carry this control plane's "
                "label but not the others; they are left alone"
            )
        return ObservedState(seen, warnings=tuple(warnings))

    def _build_sets(
        self,
        found: Iterable[Container],
        keys: Collection[ResourceKey] | None,
        blind: list[str],
    ) -> Iterator[ObservedReplicaSet]:
        """One after the other, in order; ``blind`` gets those whose limits cannot be read."""
        read_limits = limit_reader()
        for (key, number), group in groupby(found, lambda item: (item.instance, item.release)):
            if keys is not None and key not in keys:
                continue
            items = list(group)
            replicas = []
            for item in items:
                is_running = item.phase is ReplicaPhase.RUNNING
                is_near = is_running and self._config.is_local
                limits = read_limits(item.id) if is_near else None
                if is_running and limits is None:
                    blind.append(item.id)
                replicas.append(build_observed(item, limits))
            yield ObservedReplicaSet(
                key,
                self.name,
                number,
                items[-1].revision,
                tuple(replicas),
                any(item.marker for item in items),
            )

    def perform(self, action: Action, material: Material) -> Outcome:
        return self.acting.perform(action, material)

    def read_logs(
        self, replica: str, *, tail: int | None, is_follow: bool, halt: Halt | None = None
    ) -> Iterator[LogLine]:
        return self.acting.read_logs(replica, tail=tail, is_follow=is_follow, halt=halt)

    def execute(
        self,
        replica: str,
        command: Sequence[str],
        timeout: timedelta,
        *,
        limit: int | None = None,
    ) -> ExecResult:
        return self.acting.execute(replica, command, timeout, limit=limit)

    def find_leftovers(self) -> tuple[Leftover, ...]:
        """Without the SDK, as looking is: it is asked for again and again."""
        from ctrlplane_gitops.providers.docker.leftover import sort_out_leftovers
        from ctrlplane_gitops.providers.docker.secret_file import SecretFiles

        plane, host = self._settings.plane, self._config.host
        containers, _ = self._list(None)
        networks = self._list_networks({LABEL_PLANE: plane})
        try:
            kept = SecretFiles(plane, host, self._settings.environ).find_releases()
        except OSError as error:
            raise ProviderError(f"{self.name}: {error}", is_retryable=True) from None
        return sort_out_leftovers(self.name, plane, containers, networks, kept)

    def read_usage(self, replicas: Collection[ObservedReplica]) -> Mapping[str, Usage]:
        """From the kernel where it shows what the engine's containers use, else by asking the
        engine, which may take a second for each: all are asked at once."""
        config, left, found = self._config, [], {}
        read = usage_reader() if config.is_local else None
        for item in replicas:
            usage = None if read is None else read(item.id)
            if usage is None:
                left.append(item)
            else:
                found[item.name] = usage
        if left:
            from ctrlplane_gitops.providers.docker.stats import ask_engine, ask_socket

            if config.is_local:
                path = config.host.removeprefix("unix://")
                found |= ask_socket(self.name, path, config.timeout_s, left)
            else:
                found |= ask_engine(self.acting.engine, left, self._settings.read_all)
        return found

    def find_foreign(self, name: str, instance: ResourceKey) -> Foreign:
        return self.acting.find_foreign(name)

    def adopt(self, adoption: Adoption) -> None:
        self.acting.adopt(adoption)

    def close(self) -> None:
        with self._lock:
            if self._acting is not None:
                self._acting.close()

    @property
    def acting(self) -> Acting:
        """What needs the SDK, made when it is first needed."""
        with self._lock:
            if self._acting is None:
                from ctrlplane_gitops.providers.docker.acting import Acting

                self._acting = Acting(self._settings, self._config)
            return self._acting

    def _list_networks(self, labels: dict[str, str]) -> Sequence[dict[str, Any]]:
        config = self._config
        if not config.is_local:
            return self.acting.engine.list_networks(labels)
        path = config.host.removeprefix("unix://")
        return list_networks(self.name, path, config.timeout_s, labels)

    def _list(self, keys: Collection[ResourceKey] | None) -> tuple[list[Container], int]:
        labels, config = {LABEL_PLANE: self._settings.plane}, self._config
        if keys:
            tenants, names = {key.tenant for key in keys}, {key.name for key in keys}
            # The engine answers for one of many in a tenth of the time.
            if len(tenants) == 1:
                labels[LABEL_TENANT] = tenants.pop()
            if len(names) == 1:
                labels[LABEL_INSTANCE] = names.pop()
        if not config.is_local:
            # Certificates and proxies are the SDK's business.
            return self.acting.engine.list(labels)
        path = config.host.removeprefix("unix://")
        ask = partial(list_containers, self.name, path, config.timeout_s)
        if keys is None:
            found, strangers = self._listing.renew(lambda: ask(label_filter(labels)))
        else:
            found, strangers = read_rows(ask(label_filter(labels)))
        return follow_markers(found, ask, config.publish_address), strangers
