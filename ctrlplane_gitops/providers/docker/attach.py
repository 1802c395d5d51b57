"""What comes out of a container: its log, and the output of a command run in it."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import docker
from docker.utils import socket as streams

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.base import ExecResult

_HEADER = struct.Struct(">BxxxL")
_CHUNK = 65536
_NOT_STARTED = (126, 127)


def run_in(
    client: docker.APIClient,
    container: str,
    command: Sequence[str],
    timeout: timedelta,
    limit: int | None = None,
) -> ExecResult:
    """The command's output (both streams) and exit code; ProviderError when it cannot be started,
    or has not ended in time: it is then killed where this machine can see it."""
    deadline = monotonic_s() + timeout.total_seconds()
    created = client.exec_create(container, list(command))
    connection: Any = client.exec_start(created["Id"], socket=True)
    try:
        output = _read_all(connection, deadline, limit)
    finally:
        _close(connection)
    if output is None:
        _kill(int(client.exec_inspect(created["Id"])["Pid"] or 0), container)
        raise ProviderError(f"{command[0]!r} did not end within {timeout.total_seconds():g} s")
    exit_code = client.exec_inspect(created["Id"])["ExitCode"]
    if exit_code in _NOT_STARTED and output.startswith(b"OCI runtime exec failed"):
        raise ProviderError(f"{command[0]!r} cannot be started: {output.decode().strip()}")
    return ExecResult(-1 if exit_code is None else int(exit_code), output[:limit])


def _close(connection: Any) -> None:
    """The SDK hands out a file of the socket and forgets the socket: close both."""
    held = getattr(connection, "_sock", None)
    connection._response.close()
    connection.close()
    if held is not None:
        held.close()


def _read_all(connection: Any, deadline: float, limit: int | None) -> bytes | None:
    """The payload of every frame until the end of the stream, what is over the limit dropped; None
    at the deadline."""
    poll = select.poll()
    poll.register(connection, select.POLLIN | select.POLLHUP)
    raw = b""
    while True:
        left = deadline - monotonic_s()
        if left <= 0 or not poll.poll(left * 1000):
            return None
        chunk: bytes = streams.read(connection, _CHUNK) or b""
        if not chunk:
            return _payload(raw)
        # A frame is cut off where it is; headers take of it as well, so there is some to spare.
        if limit is None or len(raw) <= 2 * limit + _CHUNK:
            raw += chunk


def _payload(raw: bytes) -> bytes:
    """Both streams in the order they came. Source: Docker Engine API, ContainerAttach.

    >>> _payload(bytes([1, 0, 0, 0, 0, 0, 0, 2]) + b"hi" + bytes([2, 0, 0, 0, 0, 0, 0, 1]) + b"!")
    b'hi!'
    """
    found, at = [], 0
    while at + _HEADER.size <= len(raw):
        _, size = _HEADER.unpack_from(raw, at)
        at += _HEADER.size
        found.append(raw[at : at + size])
        at += size
    return b"".join(found)


def _kill(pid: int, container: str) -> None:
    """The engine offers no way to end a command. Its pid is one of the engine's machine, so it is
    ours to kill only if that process here is in this very container."""
    if pid <= 0:
        return
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if container in Path(f"/proc/{pid}/cgroup").read_text():
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return
    finally:
        os.close(handle)


def shut(response: Any) -> None:
    """Let whoever reads a streamed answer come to its end, from another thread: closing it would
    wait for them. The way to the socket is the SDK's own."""
    with suppress(AttributeError, OSError):
        raw = response.raw._fp.fp.raw
        getattr(raw, "_sock", raw).shutdown(socket.SHUT_RDWR)
