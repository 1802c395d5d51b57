"""Work in a second process that begins with all that this one has loaded."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM)
_SIZE = 8


class Child:
    """One call in a process of its own, whose answer comes in parts. Whatever keeps it from going
    on, no more of them come: who asked does the rest himself, and sees for himself what is wrong
    with it.

    The parts lie in a file that is nowhere but in memory, and only their sizes go through the
    pipe: whoever has something else to do first must not hold up the child."""

    def __init__(self, process: int, pipe: int, parts: int) -> None:
        self.process = process
        self._pipe = pipe
        self._parts = parts
        self._is_ended = False

    def parts(self) -> Iterator[bytes]:
        """Each of them as soon as it is whole; waits for the next. To be asked for once."""
        offset = 0
        with os.fdopen(os.dup(self._pipe), "rb") as sizes:
            while len(head := sizes.read(_SIZE)) == _SIZE:
                size = int.from_bytes(head, "big")
                yield os.pread(self._parts, size, offset)
                offset += size

    def end(self) -> None:
        """Nobody waits for it any more. Twice is once."""
        if not self._is_ended:
            with suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
            self._wait()

    def _wait(self) -> None:
        self._is_ended = True
        os.close(self._pipe)
        os.close(self._parts)
        # Where somebody ignores SIGCHLD, the kernel has told nobody that it ended.
        with suppress(ChildProcessError):
            os.waitpid(self.process, 0)


def begin_child(call: Callable[[], Iterable[bytes]]) -> Child | None:
    """Begin with the call; None where it would not help, or not be safe: with one processor, or
    beside other threads, whose locks nobody would release in the child."""
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
        return None
    if threading.active_count() > 1:
        return None
    opened: list[int] = []
    # An interrupt meant for both must not find the child on its way through our code.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        parts = os.memfd_create("parts")
        opened.append(parts)
        reading, writing = os.pipe()
        opened += (reading, writing)
        process = os.fork()
        if process == 0:
            _answer(call, writing, parts)
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        return None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(writing)
    return Child(process, reading, parts)


def _answer(call: Callable[[], Iterable[bytes]], pipe: int, parts: int) -> NoReturn:
    """Nothing that the parent has open or has yet to print is the child's, so it ends here."""
    code = 1
    try:
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        # What goes wrong is not told from here: the parent does the work again, and reports it.
        with suppress(BaseException):
            with os.fdopen(parts, "wb", buffering=0) as file:
                for part in call():
                    left = memoryview(part)
                    while left:
                        left = left[file.write(left) :]
                    os.write(pipe, len(part).to_bytes(_SIZE, "big"))
            code = 0
    finally:
        os._exit(code)
