"""What the memory provider's replicas live in: values in memory, or in one JSON file that several
processes share."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from ctrlplane_gitops.file import lock_file, write_file
from ctrlplane_gitops.value import struct


@struct
class MemoryReplica:
    """One replica; JSON values only. ``phase`` is a ``ReplicaPhase`` value, times are RFC 3339."""

    name: str
    id: str
    plane: str
    tenant: str
    instance: str
    release: int
    revision: str
    index: int
    phase: str
    started_at: str
    ports: tuple[str, ...] = ()
    cpu_millicores: int | None = None
    memory_bytes: int | None = None
    exit_code: int | None = None
    reason: str = ""


@dataclass(slots=True)
class World:
    """Everything that exists. ``effects`` counts mutations over the world's whole life.
    ``leftovers`` are what is kept apart from replicas: plane, tenant, instance ("" for the
    tenant's own), release (0 for all)."""

    replicas: dict[str, MemoryReplica] = field(default_factory=dict)
    volumes: set[tuple[str, str, str, str]] = field(default_factory=set)
    leftovers: set[tuple[str, str, str, int]] = field(default_factory=set)
    next_id: int = 1
    effects: int = 0


class MemoryWorld:
    """Holds a ``World``; with a ``path`` each ``read`` loads it and each ``change`` is written
    atomically under a file lock, so a SIGKILL leaves the world before or after, never between."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._world = World()
        # Of which file the world is.
        self._seen: tuple[int, ...] = ()
        self._changes = 0
        self._lock = threading.RLock()

    def read(self) -> World:
        """The world as it is now; a copy as far as callers may change it."""
        with self._lock:
            if self.path is not None and (seen := _identity(self.path)) != self._seen:
                # What is loaded may be newer than what was seen: then it is loaded once more.
                self._world, self._seen = _load(self.path), seen
            world = self._world
            return replace(
                world,
                replicas=dict(world.replicas),
                volumes=set(world.volumes),
                leftovers=set(world.leftovers),
            )

    @contextmanager
    def change(self) -> Iterator[World]:
        """Change the world; nothing is kept when the block raises."""
        with self._lock, nullcontext() if self.path is None else lock_file(self.path):
            world = self.read()
            yield world
            if self.path is not None:
                _save(self.path, world)
                self._seen = _identity(self.path)
            self._world = world
            self._changes += 1

    @property
    def mark(self) -> tuple[int, ...]:
        """Another one after every change."""
        return (self._changes,) if self.path is None else _identity(self.path)


def _identity(path: Path) -> tuple[int, ...]:
    """Of the file, which is never written to but replaced; empty where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _load(path: Path) -> World:
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        return World()
    replicas = [MemoryReplica(**{**row, "ports": tuple(row["ports"])}) for row in raw["replicas"]]
    volumes = {(plane, tenant, name, volume) for plane, tenant, name, volume in raw["volumes"]}
    leftovers = {(*row[:3], row[3]) for row in raw.get("leftovers", ())}
    replicas_by_name = {row.name: row for row in replicas}
    return World(replicas_by_name, volumes, leftovers, raw["next_id"], raw["effects"])


def _save(path: Path, world: World) -> None:
    # It is done for every effect: ``asdict`` and indented JSON take ten times as long.
    names = [item.name for item in fields(MemoryReplica)]
    raw = {
        "replicas": [
            {name: getattr(row, name) for name in names} for row in world.replicas.values()
        ],
        "volumes": sorted(world.volumes),
        "leftovers": sorted(world.leftovers),
        "next_id": world.next_id,
        "effects": world.effects,
    }
    write_file(path, json.dumps(raw))
