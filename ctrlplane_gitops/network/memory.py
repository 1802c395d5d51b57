"""A router that is only a value: for trying things out and for every test that needs faults on
demand. It serves nobody; ``served`` is what requests would meet."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from ctrlplane_gitops.errors import (
    CapabilityError,
    ProviderError,
    UnreachableError,
    UsageError,
)
from ctrlplane_gitops.file import lock_file, write_file
from ctrlplane_gitops.network.certificate import complete_certificates
from ctrlplane_gitops.network.codec import decode_table, encode_table
from ctrlplane_gitops.network.options import EntryPoint, check_options, parse_entry_points
from ctrlplane_gitops.network.router import NOT_RUNNING, LiveReport, RouterSettings
from ctrlplane_gitops.network.table import fingerprint, require_sound
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import (
    Member,
    RouterCapability,
    RouterState,
    RouteTable,
    TrafficCount,
)
from ctrlplane_gitops.value import struct

_OPTIONS = (
    "capabilities",
    "entryPoints",
    "failApplies",
    "gap",
    "inFlight",
    "liveAfter",
    "loseReplies",
    "neverLive",
    "path",
)


@dataclass(slots=True)
class RouterFaults:
    """What shall go wrong. ``fail_applies`` and ``lose_replies`` are numbers of writing applies of
    this object, from 1: a failed one does not happen, one whose reply is lost does.

    ``live_after`` is how many looks (``observe`` or ``wait_live``) a new table takes to be served.
    ``in_flight`` are requests by replica. ``counts`` are by route and release. ``refused`` are
    routes that it does not serve as it is told, and why.
    """

    gap: str | None = None
    fail_applies: set[int] = field(default_factory=set)
    lose_replies: set[int] = field(default_factory=set)
    is_never_live: bool = False
    live_after: int = 0
    in_flight: dict[str, int] = field(default_factory=dict)
    counts: dict[tuple[ResourceKey, int], TrafficCount] = field(default_factory=dict)
    refused: dict[ResourceKey, str] = field(default_factory=dict)


@struct
class RouterWorld:
    """The router itself. ``looks_left`` is how often one must look before ``written`` is served.
    ``applies`` counts the writing ones over its whole life."""

    written: RouteTable = RouteTable()
    generation: str = ""
    served: RouteTable = RouteTable()
    looks_left: int = 0
    is_running: bool = False
    applies: int = 0


class MemoryRouter:
    """Its world is a value, or with the option ``path`` one JSON file that processes share.

    ``faults`` may be changed at any time. ``tables`` are what this object was told, in order.
    """

    def __init__(self, settings: RouterSettings) -> None:
        options = settings.options
        check_options("memory", options, _OPTIONS)
        self.name = "memory"
        self.capabilities = _parse_capabilities(options)
        self.faults = _parse_faults(options)
        self.tables: list[RouteTable] = []
        self._entry_points = _parse_points(options)
        self._settings = settings
        self._path = Path(settings.state_dir, options["path"]) if "path" in options else None
        self._world = RouterWorld()
        # Of this object alone: what is written into a file must hold no key.
        self._held: dict[ResourceKey, str] = {}
        self._apply_count = 0

    @property
    def served(self) -> RouteTable:
        """What requests would meet now; nothing when it does not run."""
        world = self._read()
        return world.served if world.is_running else RouteTable()

    @property
    def applies(self) -> int:
        return self._read().applies

    def observe(self) -> RouterState:
        gap, world = self.faults.gap, self._read()
        if gap is not None:
            return RouterState(gap=gap)
        if not world.is_running:
            return RouterState(generation=world.generation, gap=NOT_RUNNING, is_stopped=True)
        world = self._look()
        return RouterState(world.served, world.generation, world.served == world.written)

    def apply(self, table: RouteTable, certificates: Mapping[ResourceKey, SecretValue]) -> str:
        certificates = complete_certificates(table, certificates, self._held.get)
        require_sound(table, self._entry_points, certificates)
        if self.faults.gap is not None:
            raise UnreachableError(self.faults.gap)
        generation = fingerprint(table, certificates)
        world = self._read()
        if (world.generation, world.written) == (generation, table):
            return generation
        self._apply_count += 1
        if self._apply_count in self.faults.fail_applies:
            raise ProviderError("apply failed as scripted", is_retryable=True)
        self.tables.append(table)
        self._held = {key: value.reveal().decode() for key, value in certificates.items()}
        with self._settings.effect(f"apply:{generation}"):
            self._change(lambda world: self._write(world, table, generation))
        if self._apply_count in self.faults.lose_replies:
            raise UnreachableError("the reply to apply was lost as scripted")
        return generation

    def wait_live(self, generation: str, timeout: timedelta) -> LiveReport:
        if self.faults.gap is not None:
            return LiveReport(False, self.faults.gap)
        world = self._look()
        if not world.is_running:
            return LiveReport(False, NOT_RUNNING)
        if world.generation != generation:
            return LiveReport(False, f"it was told {world.generation or 'nothing'} since")
        if world.served != world.written:
            return LiveReport(False, "it still serves the table before")
        told = {entry.key for entry in world.written.entries}
        refused = {key: why for key, why in self.faults.refused.items() if key in told}
        return LiveReport(True, refused=refused)

    def count_in_flight(self, members: Collection[Member]) -> int | None:
        if RouterCapability.OBSERVABLE_DRAIN not in self.capabilities:
            return None
        return sum(self.faults.in_flight.get(member.replica, 0) for member in members)

    def count_traffic(self) -> Mapping[tuple[ResourceKey, int], TrafficCount]:
        if RouterCapability.COUNTS not in self.capabilities:
            raise CapabilityError(
                f"the memory router has no capability {RouterCapability.COUNTS.value!r}"
            )
        return dict(self.faults.counts)

    def ensure_running(self) -> bool:
        if self.faults.gap is not None:
            raise UnreachableError(self.faults.gap)
        if self._read().is_running:
            return False
        with self._settings.effect("start:router"):
            self._change(lambda world: replace(world, is_running=True))
        return True

    def stop(self) -> None:
        if self._read().is_running:
            with self._settings.effect("stop:router"):
                self.kill()

    def close(self) -> None:
        """Nothing is held."""

    def kill(self) -> None:
        """It ends by itself: not an effect of ours. What it was told is kept."""
        self._change(lambda world: replace(world, is_running=False))

    def _write(self, world: RouterWorld, table: RouteTable, generation: str) -> RouterWorld:
        is_delayed = self.faults.is_never_live or self.faults.live_after > 0
        return RouterWorld(
            table,
            generation,
            world.served if is_delayed else table,
            self.faults.live_after,
            world.is_running,
            world.applies + 1,
        )

    def _look(self) -> RouterWorld:
        world = self._read()
        if world.served != world.written and not self.faults.is_never_live:
            self._change(_age)
        return self._read()

    def _read(self) -> RouterWorld:
        if self._path is not None:
            self._world = _load(self._path)
        return self._world

    def _change(self, mutate: Callable[[RouterWorld], RouterWorld]) -> None:
        with nullcontext() if self._path is None else lock_file(self._path):
            self._world = mutate(self._read())
            if self._path is not None:
                _save(self._path, self._world)


def _age(world: RouterWorld) -> RouterWorld:
    left = world.looks_left - 1
    return replace(world, looks_left=left, served=world.written if left <= 0 else world.served)


def _parse_capabilities(options: Mapping[str, Any]) -> frozenset[RouterCapability]:
    try:
        return frozenset(map(RouterCapability, options.get("capabilities", RouterCapability)))
    except ValueError as error:
        raise UsageError(f"router (memory): {error}") from None


def _parse_faults(options: Mapping[str, Any]) -> RouterFaults:
    return RouterFaults(
        gap=options.get("gap"),
        fail_applies=set(options.get("failApplies", ())),
        lose_replies=set(options.get("loseReplies", ())),
        is_never_live=options.get("neverLive", False),
        live_after=options.get("liveAfter", 0),
        in_flight=dict(options.get("inFlight", {})),
    )


def _parse_points(options: Mapping[str, Any]) -> dict[str, bool]:
    default = (EntryPoint("web", "", 80), EntryPoint("websecure", "", 443, is_tls=True))
    points = parse_entry_points("memory", options) if "entryPoints" in options else default
    return {point.name: point.is_tls for point in points}


def _load(path: Path) -> RouterWorld:
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        return RouterWorld()
    return RouterWorld(
        decode_table(raw["written"]),
        raw["generation"],
        decode_table(raw["served"]),
        raw["looks_left"],
        raw["is_running"],
        raw["applies"],
    )


def _save(path: Path, world: RouterWorld) -> None:
    raw = {
        "written": encode_table(world.written),
        "generation": world.generation,
        "served": encode_table(world.served),
        "looks_left": world.looks_left,
        "is_running": world.is_running,
        "applies": world.applies,
    }
    write_file(path, json.dumps(raw, indent=1, sort_keys=True))
