"""What containers use, as the kernel counts it: a twentieth of a millisecond each.

Every user may read these files. They say the same as the engine's ``stats``, which takes a second
for each container, as it waits for a second sample nobody asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ctrlplane_gitops.providers.docker.limits import CGROUPS, PLACES, read_file
from ctrlplane_gitops.state.usage import Usage


def usage_reader(root: Path = CGROUPS, proc: Path = Path("/proc")) -> Callable[[str], Usage | None]:
    """What a container uses, by its id; None when that cannot be read here. For one round: which
    of the places there are is asked once, not for every container."""
    readers: list[Callable[[str], Usage | None]] = []
    for folder, name in PLACES:
        if (root / "memory" / folder).is_dir():
            memory, cpu = (f"{root}/{part}/{folder}/{name}" for part in ("memory", "cpuacct"))
            readers.append(partial(_read_v1, memory, cpu, proc))
        if (root / folder).is_dir():
            readers.append(partial(_read_v2, f"{root}/{folder}/{name}", proc))

    def read_usage(container_id: str) -> Usage | None:
        for reader in readers:
            found = reader(container_id)
            if found is not None:
                return found
        return None

    return read_usage


def _read_v1(memory_place: str, cpu_place: str, proc: Path, container_id: str) -> Usage | None:
    memory, cpu = (place.format(id=container_id) for place in (memory_place, cpu_place))
    try:
        cpu_ns = int(read_file(f"{cpu}/cpuacct.usage"))
        held = int(read_file(f"{memory}/memory.usage_in_bytes"))
        cached = find_number(read_file(f"{memory}/memory.stat"), "total_inactive_file")
        rx, tx = _read_network(memory, proc)
        return Usage(cpu_ns / 1e9, max(0, held - cached), rx, tx)
    except (OSError, ValueError):
        return None


def _read_v2(place: str, proc: Path, container_id: str) -> Usage | None:
    directory = place.format(id=container_id)
    try:
        cpu_us = find_number(read_file(f"{directory}/cpu.stat"), "usage_usec")
        held = int(read_file(f"{directory}/memory.current"))
        cached = find_number(read_file(f"{directory}/memory.stat"), "inactive_file")
        rx, tx = _read_network(directory, proc)
        return Usage(cpu_us / 1e6, max(0, held - cached), rx, tx)
    except (OSError, ValueError):
        return None


def find_number(text: str, name: str) -> int:
    """The number behind a name in lines of both; 0 where it is not among them.

    >>> find_number("cache 5\\ninactive_file 3\\n", "inactive_file")
    3
    """
    for line in text.splitlines():
        key, _, number = line.partition(" ")
        if key == name:
            return int(number)
    return 0


def _read_network(group: str, proc: Path) -> tuple[int | None, int | None]:
    """Of the network that the container's processes are in; (None, None) when none of them can be
    seen from here."""
    try:
        pid = read_file(f"{group}/cgroup.procs").partition("\n")[0]
        return count_network(read_file(f"{proc}/{int(pid)}/net/dev")) if int(pid) else (None, None)
    except (OSError, ValueError):
        return None, None


def count_network(text: str) -> tuple[int, int]:
    """Bytes in and out over all interfaces but the loopback, from ``/proc/PID/net/dev``.

    >>> count_network("Inter-|...\\n face |...\\n lo: 9 1 0 0 0 0 0 0 9 1 0\\n"
    ...               "eth0:1200 3 0 0 0 0 0 0 300 2 0\\n")
    (1200, 300)
    """
    rx = tx = 0
    for line in text.splitlines()[2:]:
        interface, _, numbers = line.partition(":")
        if interface.strip() != "lo":
            fields = numbers.split()
            rx, tx = rx + int(fields[0]), tx + int(fields[8])
    return rx, tx
