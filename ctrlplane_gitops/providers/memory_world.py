"""What the memory provider's replicas live in: values in memory, or in one JSON file that several
processes share."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, MutableMapping
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


class Replicas(MutableMapping[str, MemoryReplica]):
    """By name, and by whose they are. What a change does to them can be undone, so that no copy is
    made of what may be a great many."""

    def __init__(self, rows: Iterable[MemoryReplica] = ()) -> None:
        self._rows: dict[str, MemoryReplica] = {}
        self._owned: dict[tuple[str, str, str], dict[str, MemoryReplica]] = {}
        self._before: list[tuple[str, MemoryReplica | None]] = []
        for row in rows:
            self[row.name] = row
        self.keep()

    def __setitem__(self, name: str, row: MemoryReplica) -> None:
        self._before.append((name, self._drop(name)))
        self._rows[name] = row
        self._owned.setdefault((row.plane, row.tenant, row.instance), {})[name] = row

    def __delitem__(self, name: str) -> None:
        if (row := self._drop(name)) is None:
            raise KeyError(name)
        self._before.append((name, row))

    def __getitem__(self, name: str) -> MemoryReplica:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def of_instance(self, plane: str, tenant: str, instance: str) -> list[MemoryReplica]:
        return list(self._owned.get((plane, tenant, instance), {}).values())

    def keep(self) -> None:
        """What was done until now stays done."""
        self._before.clear()

    def undo(self) -> None:
        for name, row in reversed(self._before.copy()):
            self._drop(name)
            if row is not None:
                self[name] = row
        self.keep()

    def _drop(self, name: str) -> MemoryReplica | None:
        row = self._rows.pop(name, None)
        if row is not None:
            owner = (row.plane, row.tenant, row.instance)
            del self._owned[owner][name]
            if not self._owned[owner]:
                del self._owned[owner]
        return row


@dataclass(slots=True)
class World:
    """Everything that exists. ``effects`` counts mutations over the world's whole life.
    ``leftovers`` are what is kept apart from replicas: plane, tenant, instance ("" for the
    tenant's own), release (0 for all)."""

    replicas: Replicas = field(default_factory=Replicas)
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
            world = self._refresh()
            return _copy(world, Replicas(world.replicas.values()))

    def read_replicas(self) -> list[MemoryReplica]:
        """All of them, in no order; ``read`` would make a copy of everything for it."""
        with self._lock:
            return list(self._refresh().replicas.values())

    def read_instance(self, plane: str, tenant: str, instance: str) -> list[MemoryReplica]:
        """The replicas of one, in no order."""
        with self._lock:
            return self._refresh().replicas.of_instance(plane, tenant, instance)

    @contextmanager
    def change(self) -> Iterator[World]:
        """Change the world; nothing is kept when the block raises."""
        with self._lock, nullcontext() if self.path is None else lock_file(self.path):
            before = self._refresh()
            world = _copy(before, before.replicas)
            try:
                yield world
                if self.path is not None:
                    _save(self.path, world)
                    self._seen = _identity(self.path)
            except BaseException:
                before.replicas.undo()
                raise
            world.replicas.keep()
            self._world = world
            self._changes += 1

    def _refresh(self) -> World:
        """The world itself, as it is now."""
        if self.path is not None and (seen := _identity(self.path)) != self._seen:
            # What is loaded may be newer than what was seen: then it is loaded once more.
            self._world, self._seen = _load(self.path), seen
        return self._world

    @property
    def mark(self) -> tuple[int, ...]:
        """Another one after every change."""
        return (self._changes,) if self.path is None else _identity(self.path)


def _copy(world: World, replicas: Replicas) -> World:
    return replace(
        world, replicas=replicas, volumes=set(world.volumes), leftovers=set(world.leftovers)
    )


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
    replicas = Replicas(
        MemoryReplica(**{**row, "ports": tuple(row["ports"])}) for row in raw["replicas"]
    )
    volumes = {(plane, tenant, name, volume) for plane, tenant, name, volume in raw["volumes"]}
    leftovers = {(*row[:3], row[3]) for row in raw.get("leftovers", ())}
    return World(replicas, volumes, leftovers, raw["next_id"], raw["effects"])


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
