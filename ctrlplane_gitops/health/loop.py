"""HTTP and TCP probes side by side in one thread, which is the caller's.

With threads it would take as many as there are targets that hang; here one that hangs costs a
socket. A target sees what it sees of ``probes``: one request, no redirect, bytes and time capped.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
from collections import deque
from heapq import heappop, heappush
from typing import Generic, TypeVar

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.exchange import (
    CHUNK_BYTES,
    DRAIN_PAUSE_S,
    MAX_BODY_BYTES,
    build_request,
    judge_status,
    read_status,
)
from ctrlplane_gitops.health.target import ProbeFailed
from ctrlplane_gitops.http.address import AddressError, check_address, explain, is_address
from ctrlplane_gitops.state.desired import HealthCheck, ProbeType

T = TypeVar("T")
_UNDER_WAY = (errno.EINPROGRESS, errno.EAGAIN)


def can_loop(check: HealthCheck, endpoint: tuple[str, int] | None) -> bool:
    """Whether a probe can be made here: not where something has to be looked up or run."""
    is_network = check.type in (ProbeType.HTTP, ProbeType.TCP)
    return is_network and endpoint is not None and is_address(endpoint[0])


class _Probe(Generic[T]):
    """``left`` are the bytes of a body that may still be taken, None before the head is whole."""

    __slots__ = ("check", "connection", "deadline", "endpoint", "head", "is_sent", "left", "token")

    def __init__(self, token: T, check: HealthCheck, endpoint: tuple[str, int]) -> None:
        self.token = token
        self.check = check
        self.endpoint = endpoint
        self.deadline = monotonic_s() + check.timeout.total_seconds()
        self.connection: socket.socket | None = None
        self.head = b""
        self.is_sent = False
        self.left: int | None = None


class ProbeLoop(Generic[T]):
    """``start`` begins a probe, ``poll`` gives those that have ended, by the token they were begun
    with. For one thread; ``wake`` is for any."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = os.pipe()
        for descriptor in (self._woken, self._waker):
            os.set_blocking(descriptor, False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._deadlines: list[tuple[float, int, _Probe[T]]] = []
        self._done: deque[tuple[T, ProbeResult]] = deque()
        self._number = 0

    def start(self, token: T, check: HealthCheck, endpoint: tuple[str, int]) -> None:
        """Of what ``can_loop``. Never raises for a target that fails."""
        item = _Probe(token, check, endpoint)
        try:
            self._begin(item)
        except AddressError as failure:
            self._end(item, ProbeResult(False, str(failure)))
        except OSError as failure:
            self._end(item, ProbeResult(False, explain(failure)))

    def poll(self, timeout_s: float) -> list[tuple[T, ProbeResult]]:
        """What has ended; waits up to ``timeout_s`` where nothing has yet."""
        now = monotonic_s()
        if self._done:
            timeout_s = 0.0
        elif self._deadlines:
            timeout_s = max(0.0, min(timeout_s, self._deadlines[0][0] - now))
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                os.read(self._woken, 4096)
            else:
                self._go_on(key.data)
        now = monotonic_s()
        while self._deadlines and self._deadlines[0][0] <= now:
            item = heappop(self._deadlines)[2]
            if item.connection is not None and item.deadline <= now:
                self._expire(item)
        done, self._done = self._done, deque()
        return list(done)

    @property
    def connections(self) -> int:
        """How many are open: probes under way, and some that have ended and take a body."""
        return len(self._selector.get_map()) - 1

    def wake(self) -> None:
        """Let a ``poll`` that waits return."""
        try:
            os.write(self._waker, b"x")
        except BlockingIOError:
            return

    def close(self) -> None:
        """What is under way is given up."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        os.close(self._woken)
        os.close(self._waker)

    def _begin(self, item: _Probe[T]) -> None:
        host, port = item.endpoint
        check_address(host)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        connection = item.connection = socket.socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        code = connection.connect_ex((host, port))
        if code not in (0, *_UNDER_WAY):
            raise OSError(code, os.strerror(code))
        # On this machine it has usually been taken by now, which saves a turn.
        if item.check.type is ProbeType.HTTP and self._send(item):
            self._selector.register(connection, selectors.EVENT_READ, item)
        else:
            self._selector.register(connection, selectors.EVENT_WRITE, item)
        self._set_deadline(item, item.deadline)

    def _set_deadline(self, item: _Probe[T], at: float) -> None:
        item.deadline = at
        self._number += 1
        heappush(self._deadlines, (at, self._number, item))

    def _send(self, item: _Probe[T]) -> bool:
        """False while the connection is not there yet."""
        assert item.connection is not None
        try:
            # A request is far smaller than what an empty connection takes at once.
            item.connection.send(build_request(item.check.path, *item.endpoint))
        except OSError as failure:
            if failure.errno in (errno.EAGAIN, errno.ENOTCONN):
                return False
            raise
        item.is_sent = True
        return True

    def _go_on(self, item: _Probe[T]) -> None:
        if item.connection is None:
            return
        try:
            if item.is_sent:
                self._receive(item)
            else:
                self._take_connection(item)
        except ProbeFailed as failure:
            self._end(item, ProbeResult(False, str(failure)))
        except BlockingIOError:
            return
        except OSError as failure:
            self._end(item, ProbeResult(False, explain(failure)))

    def _take_connection(self, item: _Probe[T]) -> None:
        assert item.connection is not None
        code = item.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        if item.check.type is ProbeType.TCP:
            self._end(item, ProbeResult(True, "connected"))
        elif self._send(item):
            self._selector.modify(item.connection, selectors.EVENT_READ, item)

    def _receive(self, item: _Probe[T]) -> None:
        """The status as soon as the head is whole; then a small body is taken, so that a server
        does not log a reset on every probe."""
        assert item.connection is not None
        while True:
            received = item.connection.recv(CHUNK_BYTES)
            if item.left is None:
                item.head += received
                status = read_status(item.head, is_closed=not received)
                if status is not None:
                    item.left, item.head = MAX_BODY_BYTES, b""
                    self._done.append((item.token, judge_status(item.check, status)))
                    self._set_deadline(item, min(item.deadline, monotonic_s() + DRAIN_PAUSE_S))
            else:
                item.left -= len(received)
            if not received or (item.left is not None and item.left <= 0):
                self._drop(item)
                return

    def _expire(self, item: _Probe[T]) -> None:
        if item.left is None:
            text = f"no answer within {item.check.timeout.total_seconds():g}s"
            self._done.append((item.token, ProbeResult(False, text)))
        self._drop(item)

    def _end(self, item: _Probe[T], result: ProbeResult) -> None:
        if item.left is None:
            self._done.append((item.token, result))
        self._drop(item)

    def _drop(self, item: _Probe[T]) -> None:
        connection, item.connection = item.connection, None
        if connection is not None:
            if connection in self._selector.get_map():
                self._selector.unregister(connection)
            connection.close()
