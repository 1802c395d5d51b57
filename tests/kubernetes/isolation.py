"""What Linux gives to containers: namespaces and bind mounts. Standard library only: it is read by
programs that are started bare."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

NEW_MOUNTS, NEW_USER, NEW_NETWORK = 0x00020000, 0x10000000, 0x40000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
# The same number on every machine, and no function of libc before 2.36.
_MOUNT_SETATTR, _HERE, _ALL_BELOW = 442, -100, 0x8000
_DIE_WITH_PARENT = 1
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def die_with_parent() -> None:
    """SIGKILL when the thread that started this process is gone."""
    _checked(_libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0), "prctl")


def leave(flags: int) -> None:
    """New namespaces. Who is not root is root of a user namespace of its own."""
    user, group = os.geteuid(), os.getegid()
    if user != 0:
        flags |= NEW_USER
    _checked(_libc.unshare(flags), "unshare")
    if flags & NEW_USER:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def join(process: int, name: str) -> None:
    """A namespace of another process; ``name`` is "net" or "user"."""
    with Path(f"/proc/{process}/ns/{name}").open("rb") as namespace:
        _checked(_libc.setns(namespace.fileno(), 0), f"setns {name}")


def is_own_user(process: int) -> bool:
    """Whether a process lives in another user namespace than this one."""
    mine, its = (Path(f"/proc/{who}/ns/user").readlink() for who in ("self", process))
    return mine != its


def raise_loopback() -> None:
    """A new network has a loopback that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        answer = fcntl.ioctl(any_socket, _GET_FLAGS, request)
        flags = struct.unpack("16sH14s", answer)[1] | _UP
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14s", b"lo", flags, b""))


def make_private() -> None:
    """Nothing mounted from now on is seen outside."""
    _mount("none", "/", _RECURSIVE | _PRIVATE)


def bind(source: str, target: str, *, is_read_only: bool = False) -> None:
    _mount(source, target, _BIND | _RECURSIVE)
    if is_read_only:
        _mount("none", target, _BIND | _REMOUNT | _READ_ONLY)


def make_read_only(place: str) -> None:
    """What is mounted there, and all that is mounted below; what comes later is not."""
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    path, flags = place.encode(), ctypes.c_uint(_ALL_BELOW)
    result = _libc.syscall(_MOUNT_SETATTR, _HERE, path, flags, attributes, size)
    _checked(result, f"mount_setattr {place}")


def _mount(source: str, target: str, flags: int) -> None:
    result = _libc.mount(source.encode(), target.encode(), b"none", ctypes.c_ulong(flags), None)
    _checked(result, f"mount {source} on {target}")


def trouble() -> str:
    """Why this machine does not let this user make a container; "" where it does."""
    done = subprocess.run([sys.executable, "-I", "-S", __file__], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


if __name__ == "__main__":
    leave(NEW_MOUNTS | NEW_NETWORK)
    make_private()
    raise_loopback()
