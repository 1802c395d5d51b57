"""A provider whose calls are counted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta

from ctrlplane_gitops.providers.base import Capability, ExecResult, Keeping, LogLine, Provider
from ctrlplane_gitops.providers.halt import Halt
from ctrlplane_gitops.state.action import Action, Material, Outcome
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import Leftover, ObservedReplica, ObservedState
from ctrlplane_gitops.state.usage import Usage


class CountedProvider:
    """Another provider; ``on_call`` is told of its alias and ``observe``, ``perform`` or ``usage``
    before each call, from whichever thread makes it."""

    def __init__(self, provider: Provider, on_call: Callable[[str, str], None]) -> None:
        self.name = provider.name
        self.capabilities: frozenset[Capability] = provider.capabilities
        self._provider = provider
        self._on_call = on_call

    def observe(self, keys: Collection[ResourceKey] | None = None) -> ObservedState:
        self._on_call(self.name, "observe")
        return self._provider.observe(keys)

    def perform(self, action: Action, material: Material) -> Outcome:
        self._on_call(self.name, "perform")
        return self._provider.perform(action, material)

    def read_logs(
        self, replica: str, *, tail: int | None, is_follow: bool, halt: Halt | None = None
    ) -> Iterator[LogLine]:
        return self._provider.read_logs(replica, tail=tail, is_follow=is_follow, halt=halt)

    def execute(
        self,
        replica: str,
        command: Sequence[str],
        timeout: timedelta,
        *,
        limit: int | None = None,
    ) -> ExecResult:
        return self._provider.execute(replica, command, timeout, limit=limit)

    def find_leftovers(self) -> tuple[Leftover, ...]:
        self._on_call(self.name, "observe")
        return self._provider.find_leftovers() if isinstance(self._provider, Keeping) else ()

    def read_usage(self, replicas: Collection[ObservedReplica]) -> Mapping[str, Usage]:
        self._on_call(self.name, "usage")
        return self._provider.read_usage(replicas)

    def close(self) -> None:
        self._provider.close()
