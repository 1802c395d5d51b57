"""Loopback ports of replicas: claimed for a replica's whole life, by whatever control plane.

A claim is a lock on one byte (the port's number) of a file all control planes of this user share.
The keeper inherits it, so it ends with the keeper however that ends; what other programs listen on
is found by binding.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from ctrlplane_gitops.errors import ProviderError

LOOPBACK = "127.0.0.1"
# Below the ports Linux gives to outgoing connections (from 32768) and those of Kubernetes (30000).
DEFAULT_PORTS = range(20000, 30000)
_LOW_FDS = 10


@contextmanager
def claim_ports(
    path: Path, span: range, seed: str, names: Sequence[str], wanted: Mapping[str, int]
) -> Iterator[tuple[dict[str, int], int]]:
    """A free port per name and the handle that holds them: the wanted one where it is free, else
    the first free one after a place the seed decides. ProviderError (retryable) when none is."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    handle = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _LOW_FDS)
    os.close(opened)
    try:
        ports: dict[str, int] = {}
        for name in names:
            candidates = _candidates(span, f"{seed}/{name}", wanted.get(name))
            taken = set(ports.values())
            free = (port for port in candidates if port not in taken and _claim(handle, port))
            ports[name] = next(free, 0)
            if not ports[name]:
                raise ProviderError(
                    f"no port from {span.start} to {span.stop - 1} is free", is_retryable=True
                )
        yield ports, handle
    finally:
        os.close(handle)


def _candidates(span: range, seed: str, wanted: int | None) -> Iterator[int]:
    if wanted is not None and wanted in span:
        yield wanted
    start = int.from_bytes(blake2b(seed.encode(), digest_size=8).digest())
    for offset in range(len(span)):
        yield span[(start + offset) % len(span)]


def _claim(handle: int, port: int) -> bool:
    if not _lock(handle, fcntl.F_WRLCK, port):
        return False
    if _is_free(port):
        return True
    _lock(handle, fcntl.F_UNLCK, port)
    return False


def _lock(handle: int, kind: int, port: int) -> bool:
    # struct flock: type, whence, start, length, pid; the lock belongs to the open file, not to us.
    request = struct.pack("hhqqi0q", kind, os.SEEK_SET, port, 1, 0)
    try:
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, request)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Without this a port whose last connections linger would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
