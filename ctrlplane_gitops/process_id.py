"""Which process is which: pid + start time + boot, and signals that cannot hit a stranger."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from ctrlplane_gitops.value import struct

_PROC = Path("/proc")
_ZOMBIE_OR_DEAD = (b"Z", b"X", b"x")


@struct
class ProcessId:
    """``ticks`` is when it started, in clock ticks since this boot."""

    pid: int
    ticks: int


def read_boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def find_process(pid: int) -> ProcessId | None:
    """The live process with that pid; None when there is none or it is a zombie."""
    try:
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    if len(fields) < 20 or fields[0] in _ZOMBIE_OR_DEAD:
        return None
    return ProcessId(pid, int(fields[19]))


def is_alive(process: ProcessId) -> bool:
    return find_process(process.pid) == process


def leads_session(process: ProcessId) -> bool:
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(process.pid) == process.pid
    return False


def send_signal(process: ProcessId, number: signal.Signals) -> bool:
    """Signal exactly that process; False when it is gone. The pidfd is opened before the check,
    so a pid that is reused in between gets nothing."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(process):
            return False
        signal.pidfd_send_signal(handle, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def reap(pid: int) -> bool:
    """Take the exit of a child of ours, if it ended; True when it is no child (any more)."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return True


def find_tagged(tag: str, value: str) -> Iterator[tuple[ProcessId, dict[str, str]]]:
    """Every live process of this user whose environment carries the tag, with its environment."""
    wanted = os.fsencode(f"{tag}={value}")
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        environ = read_environ(int(entry.name), wanted)
        process = find_process(int(entry.name)) if environ else None
        if process is not None:
            yield process, environ


def read_environ(pid: int, wanted: bytes | None = None) -> dict[str, str]:
    """A process's environment; empty when it cannot be read or ``wanted`` is not in it."""
    try:
        variables = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    if wanted is not None and wanted not in variables:
        return {}
    pairs = (os.fsdecode(variable).partition("=") for variable in variables if variable)
    return {name: text for name, _, text in pairs}
