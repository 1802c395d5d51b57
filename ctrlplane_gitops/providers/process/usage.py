"""What the processes of a replica use, from ``/proc`` alone.

A replica is the tree below its keeper. Nothing else is asked: two small files for the replica and
three for each of its processes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from ctrlplane_gitops.process_id import read_boot_id
from ctrlplane_gitops.providers.process.layout import Layout, Slug, read_json
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.observed import ObservedReplica
from ctrlplane_gitops.state.usage import Usage

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Fields of ``/proc/PID/stat`` behind the name: see proc(5), where they are numbered from 3.
_PARENT, _OWN, _WAITED, _STARTED = 1, (11, 12), (13, 14), 19


def read_usage(layout: Layout, replicas: Collection[ObservedReplica]) -> dict[str, Usage]:
    """By name. Memory is resident and counts what processes share once for each of them, as the
    limit that the keeper watches does. Processes share the machine's network, so that is nobody's.
    """
    boot_id = read_boot_id()
    found = {}
    for replica in replicas:
        # A process that ends while it is looked at takes the replica's figures with it.
        with suppress(OSError, ValueError, IndexError, KeyError, TypeError):
            found[replica.name] = _read(layout, replica, boot_id)
    return found


def _read(layout: Layout, replica: ObservedReplica, boot_id: str) -> Usage:
    state = read_json(layout.replica_dir(_place(replica.name)) / "state.json")
    app, keeper = int(state["app_pid"]), int(state["keeper_pid"])
    fields = _stat(app)
    # Numbers are given again: they mean this replica only if all of it fits together.
    is_ours = (
        state["id"] == replica.id
        and state["boot_id"] == boot_id
        and int(fields[_STARTED]) == state["app_ticks"]
        and int(fields[_PARENT]) == keeper
    )
    if not is_ours:
        raise ProcessLookupError
    # What the keeper has waited for is what has ended; its own time is no use of the replica.
    ticks = _sum(_stat(keeper), _WAITED)
    pages = 0
    for pid in _below(keeper):
        with suppress(OSError, IndexError):
            ticks += _sum(_stat(pid), (*_OWN, *_WAITED))
            pages += int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    return Usage(ticks / _TICKS_PER_S, pages * _PAGE_BYTES)


def _place(name: str) -> Slug:
    """
    >>> _place("prod.acme.web.v3.0")
    Slug(instance=ResourceKey(kind=<Kind.INSTANCE: 'instance'>, tenant='acme', name='web'), \
release=3, index=0)
    """
    _, tenant, instance, release, index = name.rsplit(".", 4)
    return Slug(instance_key(tenant, instance), int(release[1:]), int(index))


def _stat(pid: int) -> list[bytes]:
    """The fields behind the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


def _sum(fields: list[bytes], places: tuple[int, ...]) -> int:
    return sum(int(fields[place]) for place in places)


def _below(pid: int) -> Iterator[int]:
    """Every process below this one."""
    with suppress(OSError), os.scandir(f"/proc/{pid}/task") as tasks:
        for task in tasks:
            for child in map(int, Path(task.path, "children").read_bytes().split()):
                yield child
                yield from _below(child)
