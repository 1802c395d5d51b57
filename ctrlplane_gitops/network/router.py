"""The router's protocol. An adapter translates; it decides nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from datetime import timedelta
from typing import Protocol

from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.desired import Json
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import (
    Member,
    RouterCapability,
    RouterState,
    RouteTable,
    TrafficCount,
)
from ctrlplane_gitops.value import struct


@struct
class RouterSettings:
    """What every router is built from. ``options`` is ``spec.router`` without ``type``.
    ``state_dir`` is the control plane's own directory. ``on_effect`` is told before and after
    every mutating call: the seam crash tests use. ``environ`` is the controller's environment
    (``PATH``)."""

    plane: str
    type: str
    state_dir: str
    options: Json = field(default_factory=dict)
    on_effect: Callable[[str], None] = lambda effect: None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @contextmanager
    def effect(self, name: str) -> Iterator[None]:
        """A mutating call: told of before it and, where it did not raise, after it."""
        self.on_effect(name)
        yield
        self.on_effect(name)


NOT_RUNNING = "the router does not run"


@struct
class LiveReport:
    """Whether a generation is what requests meet; ``message`` says what is missing if not.
    ``refused`` are routes that are not served as they were told while all others are, and why."""

    is_live: bool
    message: str = ""
    refused: Mapping[ResourceKey, str] = field(default_factory=dict)


class Router(Protocol):
    """What stands before the replicas of one control plane. ``name`` is its type."""

    name: str
    capabilities: frozenset[RouterCapability]

    def observe(self) -> RouterState:
        """What it serves now, read back from it. Never raises for a router that does not answer:
        that is the state's ``gap``."""
        ...

    def apply(self, table: RouteTable, certificates: Mapping[ResourceKey, SecretValue]) -> str:
        """Tell it the whole table at once; returns the generation. The same table and
        certificates again is no effect and the same generation. A certificate without a value is
        shown as the router has it. ProviderError, with nothing written, for a table that is not
        sound or a certificate that is broken or was never there."""
        ...

    def wait_live(self, generation: str, timeout: timedelta) -> LiveReport:
        """Until requests meet that generation: the router says so itself, and so does a probe
        through each entry point where one can be reached."""
        ...

    def count_in_flight(self, members: Collection[Member]) -> int | None:
        """Requests these members have not yet answered, in the table or taken out of it; None
        where that cannot be observed."""
        ...

    def count_traffic(self) -> Mapping[tuple[ResourceKey, int], TrafficCount]:
        """By route and release; CapabilityError where the router does not offer it."""
        ...

    def ensure_running(self) -> bool:
        """Start the router we supervise, or adopt it; True when it had to be started. One the
        user runs is only asked whether it answers (UnreachableError)."""
        ...

    def stop(self) -> None:
        """End the router we supervise; one the user runs is left alone."""
        ...

    def close(self) -> None: ...
