"""Control groups that limit a replica's memory and cpu, where this user may make some.

Version 1 has a tree per controller, version 2 one for all; both are told apart by their files.
Groups are made below the one this process is in (v2: beside it where it may not have children),
so whatever limits us limits the replicas as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ctrlplane_gitops.process_id import find_process

CONTROLLERS = ("memory", "cpu")
_PERIOD_US = 100_000
# The kernel refuses a smaller quota: 10 millicores.
_MIN_QUOTA_US = 1_000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def find_bases(proc: Path = Path("/proc/self")) -> dict[str, Path]:
    """Where groups can be made, by controller; a controller that cannot be used is left out."""
    try:
        mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
        own = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
    except OSError:
        return {}
    paths = {name: path for _, names, path in own for name in names.split(",")}
    found: dict[str, Path] = {}
    for fields in mounts:
        kind, _, options = fields[fields.index("-") + 1 :][:3]
        for controller in CONTROLLERS:
            if kind == "cgroup" and controller in options.split(",") and controller in paths:
                candidates = _own_group(fields, paths[controller])[:1]
            elif kind == "cgroup2" and "" in paths:
                candidates = [
                    group
                    for group in _own_group(fields, paths[""])
                    if controller in _read(group / "cgroup.subtree_control").split()
                ]
            else:
                continue
            usable = [group for group in candidates if _is_writable(group)]
            if usable:
                found[controller] = usable[0]
    return found


def _own_group(fields: list[str], path: str) -> list[Path]:
    """The directory of our group and those above it, as this mount shows them."""
    with suppress(ValueError):
        inside = PurePosixPath(path).relative_to(fields[3])
        mount = Path(fields[4])
        group = mount / inside
        return [it for it in (group, *group.parents) if it.is_relative_to(mount)]
    return []


def _is_writable(group: Path) -> bool:
    return os.access(group, os.W_OK | os.X_OK) and os.access(group / "cgroup.procs", os.W_OK)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def make_group(group: Path) -> bool:
    """A group without a past (its kill counter starts at zero); False when it cannot be made."""
    with suppress(OSError):
        group.rmdir()
    with suppress(OSError):
        group.mkdir(exist_ok=True)
        return True
    return False


def remove_groups(groups: Iterable[str]) -> None:
    """Remove empty groups; one that still has processes stays."""
    for group in groups:
        with suppress(OSError):
            Path(group).rmdir()


def set_memory(group: Path, limit: int | None) -> bool:
    """False when it is not in force: the kernel refuses a limit below what is in use (v1)."""
    if (group / "memory.max").exists():
        is_set = _write(group / "memory.max", "max" if limit is None else str(limit))
        _write(group / "memory.swap.max", "max" if limit is None else "0")
        return is_set
    wanted = "-1" if limit is None else str(limit)
    swap, memory = group / "memory.memsw.limit_in_bytes", group / "memory.limit_in_bytes"
    # Memory with swap may never be below memory alone, so a rising limit raises it first.
    _write(swap, wanted)
    is_set = _write(memory, wanted)
    _write(swap, wanted)
    return is_set


def read_memory(group: Path, asked: int | None) -> int | None:
    """Bytes in force. What the kernel rounds to pages is told as it was asked for."""
    text = _read(group / "memory.max") or _read(group / "memory.limit_in_bytes")
    if not text.strip().isdigit():
        return None
    limit = int(text)
    if asked is not None and limit == asked // _PAGE_BYTES * _PAGE_BYTES:
        return asked
    return None if limit >= 2**62 else limit


def set_cpu(group: Path, millicores: int | None) -> bool:
    quota = -1 if millicores is None else _quota_us(millicores)
    if (group / "cpu.max").exists():
        return _write(group / "cpu.max", f"{'max' if quota < 0 else quota} {_PERIOD_US}")
    return _write(group / "cpu.cfs_period_us", str(_PERIOD_US)) and _write(
        group / "cpu.cfs_quota_us", str(quota)
    )


def read_cpu(group: Path, asked: int | None) -> int | None:
    """Millicores in force; below the kernel's smallest quota told as asked for."""
    fields = _read(group / "cpu.max").split() or [
        _read(group / "cpu.cfs_quota_us").strip(),
        _read(group / "cpu.cfs_period_us").strip(),
    ]
    if len(fields) < 2 or not fields[0].isdigit() or not fields[1].isdigit():
        return None
    quota, period = int(fields[0]), int(fields[1])
    if asked is not None and quota * _PERIOD_US == _quota_us(asked) * period:
        return asked
    return quota * 1000 // max(1, period)


def _quota_us(millicores: int) -> int:
    return max(_MIN_QUOTA_US, millicores * _PERIOD_US // 1000)


def _write(path: Path, text: str) -> bool:
    try:
        path.write_text(text)
    except OSError:
        return False
    return True


def move_tree(group: Path, pid: int) -> bool:
    """Put a process and all below it into the group; again until none was forked in between."""
    for _ in range(20):
        outside = [child for child in _tree(pid) if not _is_inside(group, child)]
        if not outside:
            return True
        for child in outside:
            _write(group / "cgroup.procs", str(child))
    return False


def _is_inside(group: Path, pid: int) -> bool:
    """Or has ended. Asked of the process: version 1 shows a ``cgroup.procs`` up to a second old."""
    lines = _read(Path(f"/proc/{pid}/cgroup")).splitlines()
    return any(line.endswith(f"/{group.name}") for line in lines) or find_process(pid) is None


def _tree(pid: int) -> list[int]:
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _tree(int(child))
    return found
