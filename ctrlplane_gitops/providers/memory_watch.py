"""Seeing what changes in a memory world, whoever changes it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from ctrlplane_gitops.providers.halt import Halt
from ctrlplane_gitops.providers.memory_world import MemoryReplica, MemoryWorld
from ctrlplane_gitops.state.key import ResourceKey, instance_key

# A file that others write can only be looked at again and again.
_LOOK_S = 0.02


def watch_world(
    world: MemoryWorld,
    plane: str,
    on_change: Callable[[Collection[ResourceKey]], None],
    halt: Halt,
) -> Callable[[], None]:
    """The call that tells of this plane's instances whose replicas have changed, until ``halt``."""
    is_over = threading.Event()
    halt.on_set(is_over.set)

    def read() -> dict[str, MemoryReplica]:
        found = world.read().replicas.values()
        return {row.name: row for row in found if row.plane == plane}

    # From now on, not from when the thread has begun.
    known = world.mark, read()

    def run() -> None:
        mark, before = known
        while not is_over.wait(_LOOK_S):
            if (now := world.mark) == mark:
                continue
            mark, after = now, read()
            changed = [
                row
                for name in before.keys() | after.keys()
                if before.get(name) != after.get(name)
                for row in (before.get(name), after.get(name))
                if row is not None
            ]
            before = after
            if changed:
                on_change({instance_key(row.tenant, row.instance) for row in changed})

    return run
