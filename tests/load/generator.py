"""The generator's process: ``python -m tests.load.generator PORT HOST SHAPE FILE``.

Open loop: each request has a time at which it is sent, whatever became of the ones before. It
sends from the start until its input ends, waits for what is in flight, and writes a line for each
request to FILE as it ends (``Sample``); the last line is an object with what the process used.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import select
import selectors
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from ctrlplane_gitops.clock import monotonic_s
from tests.load.connection import Connection, LostError, open_connection
from tests.load.report import KEPT, NEW, SLOW, Sample, Shape

_BEGIN_S = 0.1
_FLUSH_S = 0.05


class Generator:
    def __init__(self, port: int, host: str, shape: Shape, output: TextIO) -> None:
        self._port, self._shape, self._output = port, shape, output
        self._random = random.Random(shape.seed)
        self._idle: deque[Connection] = deque()
        more = "".join(f"{name}: {text}\r\n" for name, text in shape.headers)
        self._head = f" HTTP/1.1\r\nHost: {host}\r\n{more}"

    async def run(self, is_over: asyncio.Event) -> None:
        """Until it is over, and then until the last one has ended."""
        running: set[asyncio.Task[None]] = set()
        flushing = asyncio.create_task(self._flush())
        start, count = monotonic_s() + _BEGIN_S, 0
        while not is_over.is_set():
            due = start + count / self._shape.rate
            wait = due - monotonic_s()
            # Also when it is late: what is in flight must be read.
            await asyncio.sleep(max(0.0, wait))
            task = asyncio.create_task(self._send(due))
            running.add(task)
            task.add_done_callback(running.discard)
            count += 1
        if running:
            await asyncio.wait(running)
        flushing.cancel()
        while self._idle:
            self._idle.popleft().close()

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            self._output.flush()

    async def _send(self, due_s: float) -> None:
        shape, draw = self._shape, self._random.random
        is_new, is_slow = draw() < shape.new_share, draw() < shape.slow_share
        method = "POST" if draw() < shape.post_share else "GET"
        mode = SLOW if is_slow else NEW if is_new else KEPT
        sent_s = monotonic_s()
        status, version, replica = 0, "", ""
        try:
            async with asyncio.timeout(shape.timeout_s + shape.slow_s * is_slow):
                status, headers = await self._ask(method, is_slow, is_new)
            version, replica = headers.get("x-version", ""), headers.get("x-replica", "")
            reason = "" if 200 <= status < 300 else f"status {status}"
            expected = shape.body_bytes if method == "POST" else 0
            if not reason and headers.get("x-received", str(expected)) != str(expected):
                reason = "the request's body did not arrive whole"
        except TimeoutError:
            reason = "timeout"
        except LostError as error:
            reason = str(error)
        sample = Sample(
            due_s, sent_s, monotonic_s(), mode, method, status, version, replica, reason
        )
        self._output.write(sample.to_line() + "\n")

    async def _ask(self, method: str, is_slow: bool, is_new: bool) -> tuple[int, dict[str, str]]:
        connection = None if is_new else self._take_idle()
        if connection is None:
            connection = await open_connection(self._port)
        try:
            answer = await connection.ask(self._request(method, is_slow, is_new))
        except BaseException:
            connection.close()
            raise
        if is_new or len(self._idle) >= self._shape.kept:
            connection.close()
        elif connection.is_open:
            self._idle.append(connection)
        return answer.status, answer.headers

    def _take_idle(self) -> Connection | None:
        """In turn, so that each is idle for a while between two requests."""
        while self._idle:
            connection = self._idle.popleft()
            if connection.is_usable:
                return connection
            connection.close()
        return None

    def _request(self, method: str, is_slow: bool, is_new: bool) -> bytes:
        path = self._shape.path
        if is_slow:
            path = f"{path.rstrip('/')}/slow?s={self._shape.slow_s}"
        head = f"{method} {path}{self._head}" + ("Connection: close\r\n" if is_new else "")
        body = b""
        if method == "POST":
            body = b"x" * self._shape.body_bytes
            head += f"Content-Length: {len(body)}\r\n"
        return f"{head}\r\n".encode() + body


class _ExactSelector(selectors.EpollSelector):
    """epoll waits for whole milliseconds, which would be the noise of what is measured."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


async def _main(port: int, host: str, shape: Shape, output: TextIO) -> None:
    is_over, loop, ours = asyncio.Event(), asyncio.get_running_loop(), sys.stdin.fileno()

    def end() -> None:
        # The end of a stream stays readable, and would wake us without end.
        loop.remove_reader(ours)
        is_over.set()

    loop.add_reader(ours, end)
    await Generator(port, host, shape, output).run(is_over)


def _go_first() -> None:
    """Whoever sends requests to a real system does not share its processors. It needs a twentieth
    of one; where it may not go first, its lateness says what that did."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


if __name__ == "__main__":
    _go_first()
    # Samples hold no cycles, and a collection would be a stall of our own making.
    gc.disable()
    _port, _host, _shape, _file = sys.argv[1:]
    with Path(_file).open("w") as _output:
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_ExactSelector())) as _r:
            _r.run(_main(int(_port), _host, Shape.from_json(_shape), _output))
        _used = os.times()
        _output.write(json.dumps({"cpu_s": _used.user + _used.system}) + "\n")
