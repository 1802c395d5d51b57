"""Who holds a lease, as text that tells on the same machine whether the holder still lives."""

from __future__ import annotations

import os
import socket
from itertools import count
from pathlib import Path

_NUMBERS = count(1)


def describe_holder() -> str:
    """``host/boot id/pid/start ticks+n``, another text each time: two passes of this process are
    two holders."""
    pid = os.getpid()
    start = f"{_read_start(pid) or '0'}+{next(_NUMBERS)}"
    return f"{socket.gethostname()}/{_read_boot_id()}/{pid}/{start}"


def name_holder(holder: str) -> str:
    """In words.

    >>> name_holder("box/boot/42/1+1")
    'process 42 on box'
    """
    parts = holder.rsplit("/", 3)
    return f"process {parts[2]} on {parts[0]}" if len(parts) == 4 else holder


def is_dead(holder: str) -> bool:
    """True only when it is certain: the holder ran on this machine and its process is gone, or
    the machine has been restarted since. Anybody else is left to the lease's time to live."""
    parts = holder.rsplit("/", 3)
    if len(parts) != 4:
        return False
    host, boot, pid, start = *parts[:3], parts[3].partition("+")[0]
    if host != socket.gethostname() or not boot or not pid.isdigit():
        return False
    here = _read_boot_id()
    if not here or start == "0":
        return False
    if boot != here:
        # Two machines, or containers of them, may share a name: only the same boot is certain.
        return False
    return _read_start(int(pid)) != start


def _read_boot_id() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Pids are only comparable within one pid namespace.
        return f"{boot}@{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _read_start(pid: int) -> str | None:
    """The start time in clock ticks (field 22 of ``/proc/PID/stat``); None when it is gone or a
    zombie."""
    try:
        # The name in parentheses may hold anything, spaces and parentheses included.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()
