"""Limits of a container: as the engine is told them, and as the kernel holds them.

The list call shows no limits and an inspect per container is what a pass cannot afford, so they
are read from the container's cgroup, which every user may read and which is what really holds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ctrlplane_gitops.state.desired import Resources

CGROUPS = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000
# The engine takes no -1 for memory, and 0 means unchanged. This is what the kernel itself writes
# for "no limit" (2^63 without the last page); anything of that size is read back as no limit.
_UNLIMITED = 0x7FFF_FFFF_FFFF_F000
_HUGE = 2**60
# By the drivers `cgroupfs` and `systemd`.
PLACES = (("docker", "{id}"), ("system.slice", "docker-{id}.scope"))


def creation_limits(resources: Resources) -> dict[str, Any]:
    """Arguments of ``create_host_config``. Never ``nano_cpus``, which cannot be changed live.

    >>> creation_limits(Resources(cpu_millicores=500))
    {'cpu_quota': 50000, 'cpu_period': 100000}
    """
    found: dict[str, Any] = {}
    if resources.cpu_millicores is not None:
        found |= {"cpu_quota": _quota(resources.cpu_millicores), "cpu_period": _PERIOD_US}
    if resources.memory_bytes is not None:
        # Swap included: otherwise the engine allows as much swap again.
        found |= {"mem_limit": resources.memory_bytes, "memswap_limit": resources.memory_bytes}
    return found


def update_limits(resources: Resources) -> dict[str, Any]:
    """Arguments of ``update_container``: no limit must be said, or the old one stays.

    >>> update_limits(Resources(memory_bytes=4096))
    {'cpu_quota': -1, 'mem_limit': 4096, 'memswap_limit': 4096}
    """
    unlimited = {"cpu_quota": -1, "mem_limit": _UNLIMITED, "memswap_limit": _UNLIMITED}
    return unlimited | creation_limits(resources)


def inspected_limits(host_config: Mapping[str, Any]) -> Resources:
    """What an inspect says was asked for.

    >>> inspected_limits({"CpuQuota": 50000, "CpuPeriod": 100000, "Memory": 0})
    Resources(cpu_millicores=500, memory_bytes=None)
    >>> inspected_limits({"NanoCpus": 1_500_000_000}).cpu_millicores
    1500
    """
    quota, period = host_config.get("CpuQuota") or 0, host_config.get("CpuPeriod") or _PERIOD_US
    if host_config.get("NanoCpus"):
        # `docker run --cpus`: somebody else made it.
        quota, period = host_config["NanoCpus"] // 1000, 1_000_000
    return _resources(quota, period, host_config.get("Memory") or 0)


def limit_reader(root: Path = CGROUPS) -> Callable[[str], Resources | None]:
    """What the kernel holds a container to, by its id; None when that cannot be read here. For one
    look: which of the places there are is asked once, not for every container."""
    readers: list[Callable[[str], Resources | None]] = []
    for folder, name in PLACES:
        if (root / "memory" / folder).is_dir():
            memory, cpu = (f"{root}/{part}/{folder}/{name}" for part in ("memory", "cpu"))
            readers.append(partial(_read_v1, memory, cpu))
        if (root / folder).is_dir():
            readers.append(partial(_read_v2, f"{root}/{folder}/{name}"))

    def read_limits(container_id: str) -> Resources | None:
        for reader in readers:
            found = reader(container_id)
            if found is not None:
                return found
        return None

    return read_limits


def _read_v1(memory_place: str, cpu_place: str, container_id: str) -> Resources | None:
    try:
        memory = int(read_file(f"{memory_place.format(id=container_id)}/memory.limit_in_bytes"))
        cpu = cpu_place.format(id=container_id)
        quota, period = read_file(f"{cpu}/cpu.cfs_quota_us"), read_file(f"{cpu}/cpu.cfs_period_us")
        return _resources(int(quota), int(period), memory)
    except (OSError, ValueError):
        return None


def _read_v2(place: str, container_id: str) -> Resources | None:
    directory = place.format(id=container_id)
    try:
        memory = read_file(f"{directory}/memory.max").strip()
        quota, period = read_file(f"{directory}/cpu.max").split()
        return _resources(
            -1 if quota == "max" else int(quota), int(period), 0 if memory == "max" else int(memory)
        )
    except (OSError, ValueError):
        return None


def read_file(path: str) -> str:
    """A small file of the kernel's. There are three per container: pathlib and buffers would take
    longer than the kernel does."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096).decode("ascii")
    finally:
        os.close(descriptor)


def _resources(quota_us: int, period_us: int, memory: int) -> Resources:
    return Resources(
        quota_us * 1000 // period_us if quota_us > 0 and period_us > 0 else None,
        memory if 0 < memory < _HUGE else None,
    )


def _quota(millicores: int) -> int:
    return millicores * _PERIOD_US // 1000
