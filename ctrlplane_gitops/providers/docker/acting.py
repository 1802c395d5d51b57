"""Changing what runs on one Docker engine, and what needs the SDK besides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, assert_never

from ctrlplane_gitops.clock import sleep
from ctrlplane_gitops.errors import CtrlplaneError, ProviderError
from ctrlplane_gitops.providers.adopting import Adoption, Foreign
from ctrlplane_gitops.providers.base import (
    LABEL_PLANE,
    LABEL_REPLICA,
    ExecResult,
    LogLine,
    ProviderSettings,
)
from ctrlplane_gitops.providers.container import owner_labels
from ctrlplane_gitops.providers.docker.attach import run_in, shut
from ctrlplane_gitops.providers.docker.config import DockerConfig
from ctrlplane_gitops.providers.docker.engine import Engine
from ctrlplane_gitops.providers.docker.failure import translated
from ctrlplane_gitops.providers.docker.image import Images
from ctrlplane_gitops.providers.docker.launch import Launcher
from ctrlplane_gitops.providers.docker.limits import inspected_limits, update_limits
from ctrlplane_gitops.providers.docker.marker import (
    find_foreign,
    mark,
    marker_labels,
    restore_markers,
)
from ctrlplane_gitops.providers.docker.network import remove_network
from ctrlplane_gitops.providers.docker.secret_file import SecretFiles
from ctrlplane_gitops.providers.docker.translate import (
    Container,
    check_template,
    network_name,
)
from ctrlplane_gitops.providers.docker.volume import remove_volumes
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.halt import Halt
from ctrlplane_gitops.providers.log import split_lines
from ctrlplane_gitops.providers.scaling import ScaleSteps, compute_scale
from ctrlplane_gitops.redact import Redactor, SecretValue
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
from ctrlplane_gitops.state.key import ResourceKey

# About as long as an engine works on one container that ends; and what many may take together to be
# begun, for each holds a thread meanwhile.
_PACE_S, _SPREAD_S = 0.3, 5.0


def pace_of(count: int) -> float:
    """How many seconds after one another so many stops are begun.

    >>> pace_of(3), pace_of(100)
    (0.3, 0.05)
    """
    return min(_PACE_S, _SPREAD_S / max(1, count))


class Acting:
    """The acting half of a ``DockerProvider``; ``engine`` holds the SDK's client."""

    def __init__(self, settings: ProviderSettings, config: DockerConfig) -> None:
        self.name = settings.config.alias
        self.engine = Engine(self.name, config)
        self._settings = settings
        self._config = config
        self._secret_files = SecretFiles(settings.plane, config.host, settings.environ)
        self._launcher = Launcher(settings.plane, config, self.engine, self._secret_files)

    def perform(self, action: Action, material: Material) -> Outcome:
        effects = Effects(self._settings.on_effect)
        warnings: list[str] = []
        resolved: dict[str, str] = {}
        error: CtrlplaneError | None = None
        try:
            match action:
                case PrepareRelease():
                    resolved = self._prepare(action, material, effects, warnings)
                case ScaleReplicaSet():
                    self._scale(action, material, effects, warnings)
                case UpdateResources():
                    self._update(action, effects)
                case RemoveInstance():
                    self._remove_instance(action, effects)
                case RemoveTenant():
                    self._remove_tenant(action, effects)
                case _:
                    assert_never(action)
        except CtrlplaneError as caught:
            error = _scrub(caught, material)
        return Outcome(action, error, effects.count, resolved, tuple(dict.fromkeys(warnings)))

    def read_logs(
        self, replica: str, *, tail: int | None, is_follow: bool, halt: Halt | None = None
    ) -> Iterator[LogLine]:
        container = self._find(replica)
        with translated(self.name, f"read the log of {replica}"):
            chunks: Any = self.engine.client.logs(
                container.id,
                stream=True,
                follow=is_follow,
                timestamps=True,
                tail="all" if tail is None else tail,
            )
            if halt is not None:
                halt.on_set(lambda: shut(chunks._response))
            try:
                yield from split_lines(replica, chunks)
            except Exception:
                # Cut off in the middle, as was asked.
                if halt is None or not halt.is_set:
                    raise
            finally:
                # Whoever stops reading early must not keep a connection.
                chunks._response.close()

    def execute(
        self,
        replica: str,
        command: Sequence[str],
        timeout: timedelta,
        *,
        limit: int | None = None,
    ) -> ExecResult:
        container = self._find(replica)
        with translated(self.name, f"run {command[0]!r} in {replica}"):
            return run_in(self.engine.client, container.id, command, timeout, limit)

    def find_foreign(self, name: str) -> Foreign:
        with translated(self.name, f"look at {name}"):
            return find_foreign(self.engine.client, name)

    def adopt(self, adoption: Adoption) -> None:
        plane, effects = self._settings.plane, Effects(self._settings.on_effect)
        with translated(self.name, f"adopt {adoption.foreign.name}"):
            network = self._launcher.ensure_network(adoption.instance.tenant, effects)
            mark(self.engine.client, network, marker_labels(plane, adoption), effects)

    def close(self) -> None:
        self.engine.close()

    def _find(self, replica: str) -> Container:
        found, _ = self.engine.list({LABEL_PLANE: self._settings.plane, LABEL_REPLICA: replica})
        if not found:
            raise ProviderError(f"there is no replica {replica!r} here")
        return max(found, key=_preference)

    def _of_instance(self, instance: ResourceKey) -> list[Container]:
        labels = owner_labels(self._settings.plane, instance.tenant, instance.name)
        return self.engine.list(labels)[0]

    def _prepare(
        self, action: PrepareRelease, material: Material, effects: Effects, warnings: list[str]
    ) -> dict[str, str]:
        template = action.release.template
        check_template(template, action.instance, is_local=self._config.is_local)
        images = Images(self.engine.client, effects, template, material)
        with translated(self.name, f"resolve image {template.image}"):
            image = images.resolve(template.image or "")
        warnings.extend(images.warnings)
        return {"image": image}

    def _scale(
        self, action: ScaleReplicaSet, material: Material, effects: Effects, warnings: list[str]
    ) -> None:
        rows = self._of_instance(action.instance)
        found, surplus, steps = _find_steps(action, rows)
        if (steps.start or steps.replace) and self._restore(action.instance.tenant, effects):
            rows = self._of_instance(action.instance)
            found, surplus, steps = _find_steps(action, rows)
        surplus += [found[index] for index in steps.remove]
        number, starts = action.release.number, sorted(steps.start + steps.replace)
        # Others of it answer meanwhile: an engine that does all at once leaves them no processor.
        is_paced = any(item.is_live and item.release != number for item in rows)
        self._remove(surplus, action.stop_timeout, effects, is_paced=is_paced)
        if starts:
            launch = self._launcher.prepare(action, material, effects)
            self._remove([found[index] for index in steps.replace], timedelta(0), effects)
            calls = [
                partial(self._launcher.start, action, launch, index, effects) for index in starts
            ]
            try:
                for group in [[call] for call in calls] if is_paced else [calls]:
                    self._settings.start_all(group)
            finally:
                warnings.extend(launch.warnings)
        elif action.replicas == 0:
            self._secret_files.remove_release(action.instance, number, effects)

    def _restore(self, tenant: str, effects: Effects) -> bool:
        """What was adopted and has lost its marker runs on, and is not to be started again."""
        plane = self._settings.plane
        with translated(self.name, "look for adopted containers"):
            network = network_name(plane, tenant)
            return restore_markers(self.engine.client, plane, network, effects)

    def _remove(
        self,
        containers: Sequence[Container],
        grace: timedelta,
        effects: Effects,
        *,
        is_paced: bool = False,
    ) -> None:
        """Side by side: each may take its whole grace. ``is_paced``: begun one after the other."""
        pace_s = pace_of(len(containers)) if is_paced else 0.0

        def remove(place: int, item: Container) -> None:
            sleep(place * pace_s)
            self.engine.remove(item, grace, effects)

        if containers:
            self._settings.stop_all(
                [partial(remove, place, item) for place, item in enumerate(containers)]
            )

    def _update(self, action: UpdateResources, effects: Effects) -> None:
        client = self.engine.client
        for item in self._of_instance(action.instance):
            if not item.is_live:
                continue
            with translated(self.name, f"change the limits of {item.name}"):
                held = inspected_limits(client.inspect_container(item.id)["HostConfig"])
                if held != action.resources:
                    with effects.made(f"update:{item.name}"):
                        client.update_container(item.id, **update_limits(action.resources))

    def _remove_instance(self, action: RemoveInstance, effects: Effects) -> None:
        self._remove(self._of_instance(action.instance), action.stop_timeout, effects)
        self._secret_files.remove_instance(action.instance, effects)
        if action.is_volumes:
            with translated(self.name, f"remove the volumes of {action.instance}"):
                remove_volumes(self.engine.client, effects, self._settings.plane, action.instance)

    def _remove_tenant(self, action: RemoveTenant, effects: Effects) -> None:
        tenant = action.tenant.name
        found, _ = self.engine.list(owner_labels(self._settings.plane, tenant))
        left = sorted({item.instance.address for item in found})
        if left:
            raise ProviderError(f"{action.tenant} still has instances here: {', '.join(left)}")
        with translated(self.name, f"remove the network of {action.tenant}"):
            remove_network(self.engine.client, effects, self._settings.plane, tenant)
        self._secret_files.remove_tenant(tenant)


def _preference(container: Container) -> tuple[bool, float]:
    return container.is_live, container.created_at.timestamp()


def _find_steps(
    action: ScaleReplicaSet, rows: Sequence[Container]
) -> tuple[dict[int, Container], list[Container], ScaleSteps]:
    """Who is there of the release by index, those there should not be, and what is to be done."""
    found, surplus = _by_index([item for item in rows if item.release == action.release.number])
    slots = [item.slot for item in found.values()]
    return found, surplus, compute_scale(slots, action.replicas, action.retire)


def _by_index(rows: Sequence[Container]) -> tuple[dict[int, Container], list[Container]]:
    """One container per index, the best one, and those there should not be: two can only carry the
    same labels when somebody renamed the first."""
    found: dict[int, Container] = {}
    surplus = []
    for item in sorted(rows, key=_preference, reverse=True):
        if item.index in found:
            surplus.append(item)
        else:
            found[item.index] = item
    return found, surplus


def _scrub(error: CtrlplaneError, material: Material) -> CtrlplaneError:
    """The engine's words may repeat what it was given."""
    values = list(material.secrets.values())
    parts = [value.reveal().partition(b":")[2] for value in values]
    redactor = Redactor([*values, *(SecretValue(part) for part in parts if part)])
    error.message = redactor.scrub(error.message)
    return error
