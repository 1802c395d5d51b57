"""The provider's protocol. An adapter translates; it decides nothing."""

from __future__ import annotations

import os
from collections.abc import (
    Callable,
    Collection,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedReplica, ObservedState
from ctrlplane_gitops.state.usage import Usage
from ctrlplane_gitops.value import field, struct

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.halt import Halt

    # Looking needs no actions.
    from ctrlplane_gitops.state.action import Action, Material, Outcome
    from ctrlplane_gitops.state.observed import Leftover

LABEL_PLANE = "ctrlplane.dev/plane"
LABEL_TENANT = "ctrlplane.dev/tenant"
LABEL_INSTANCE = "ctrlplane.dev/instance"
LABEL_RELEASE = "ctrlplane.dev/release"
LABEL_REVISION = "ctrlplane.dev/revision"
LABEL_REPLICA = "ctrlplane.dev/replica"


class Capability(StrEnum):
    """What a provider can really do; anything else is a ``CapabilityError`` naming it."""

    IMAGES = "images"
    COMMANDS = "commands"
    CPU_LIMIT = "cpu-limit"
    MEMORY_LIMIT = "memory-limit"
    VOLUMES = "volumes"
    FILES = "files"
    LOGS = "logs"
    EXEC = "exec"
    USAGE = "usage"
    AUTOSCALING = "autoscaling"


@struct
class LogLine:
    """One line a replica printed. ``stream``: ``stdout``, ``stderr`` or ``log`` (unknown)."""

    replica: str
    stream: str
    at: datetime | None
    text: str


@struct
class ExecResult:
    exit_code: int
    output: bytes


def run_serially(tasks: Sequence[Callable[[], None]]) -> None:
    """The default for adapters that may start or stop several replicas at once."""
    for task in tasks:
        task()


@struct
class ProviderSettings:
    """What every provider is built from. ``state_dir`` is the control plane's own directory (not
    the store's file). ``start_all`` and ``stop_all`` run calls side by side where the caller has
    threads: few that work (starting), many that mostly wait (a graceful stop).
    ``on_effect`` is told before and after every mutating call: the seam crash tests use.
    ``environ`` is the controller's environment (``DOCKER_HOST``, ``PATH``).
    ``read_all`` is for as many calls as there are replicas, each of which waits for an answer.
    ``kept`` is what this provider keeps from one of its objects to the next, in this process."""

    plane: str
    config: ProviderConfig
    state_dir: str
    start_all: Callable[[Sequence[Callable[[], None]]], None] = run_serially
    stop_all: Callable[[Sequence[Callable[[], None]]], None] = run_serially
    on_effect: Callable[[str], None] = lambda effect: None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    read_all: Callable[[Sequence[Callable[[], None]]], None] = run_serially
    kept: MutableMapping[str, Any] = field(default_factory=dict)


class Provider(Protocol):
    """One place where replicas run. ``name`` is the alias in ``spec.providers``."""

    name: str
    capabilities: frozenset[Capability]

    def observe(self, keys: Collection[ResourceKey] | None = None) -> ObservedState:
        """Everything of this control plane here (or of these instances) in one list call.
        Never raises for a target that does not answer: that is a ``Gap``."""
        ...

    def perform(self, action: Action, material: Material) -> Outcome:
        """Do it; twice is once. A failure is the outcome's ``error``, not an exception."""
        ...

    def read_logs(
        self, replica: str, *, tail: int | None, is_follow: bool, halt: Halt | None = None
    ) -> Iterator[LogLine]:
        """Lines of one replica by name; ProviderError when there is no such replica. ``halt`` ends
        following it, soon and without an error."""
        ...

    def execute(
        self,
        replica: str,
        command: Sequence[str],
        timeout: timedelta,
        *,
        limit: int | None = None,
    ) -> ExecResult:
        """Run a command inside the replica; its real exit code. ProviderError when it cannot be
        started or does not end in time. ``limit`` is how many bytes of the output are kept, from
        its beginning; None: all of it."""
        ...

    def read_usage(self, replicas: Collection[ObservedReplica]) -> Mapping[str, Usage]:
        """What each of these uses, by its name, all of them at once; who cannot be measured now is
        left out. ProviderError when nothing can be told."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Watching(Protocol):
    """A provider that is told by its engine what changes there, and may know by that what it shows
    without asking for it each time."""

    def watch(
        self, on_change: Callable[[Collection[ResourceKey]], None], halt: Halt
    ) -> Sequence[Callable[[], None]]:
        """What sees changes: calls for a thread each, which end soon once ``halt`` is set and go on
        until then, whatever fails. ``on_change`` is told, from these threads, whose replicas may
        not be any more what ``observe`` has shown last; soon, and perhaps for nothing. What it
        misses, the next look finds. At most once for each provider object. ProviderError where it
        cannot be begun yet."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """A provider that keeps something for instances and tenants which has no replica of its own:
    networks, directories. What it keeps of who is gone is nobody's any more."""

    def find_leftovers(self) -> tuple[Leftover, ...]:
        """All of this control plane here, for which there is no replica; sorted. ProviderError
        when it cannot be told."""
        ...
