"""Work in a second process that begins with all that this one has loaded."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM)


class Child:
    """One call in a process of its own. Whatever keeps it from an answer, there is none: who asked
    does the work himself, and sees for himself what is wrong with it."""

    def __init__(self, process: int, pipe: int) -> None:
        self.process = process
        self._pipe = pipe
        self._is_ended = False

    def result(self) -> bytes | None:
        """Wait for it; None where it failed."""
        with os.fdopen(os.dup(self._pipe), "rb") as file:
            answer = file.read()
        return answer if self._wait() == 0 and answer else None

    def end(self) -> None:
        """Nobody waits for it any more. Twice is once."""
        if not self._is_ended:
            with suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
            self._wait()

    def _wait(self) -> int:
        self._is_ended = True
        os.close(self._pipe)
        try:
            return os.waitpid(self.process, 0)[1]
        except ChildProcessError:
            # Somebody ignores SIGCHLD, and the kernel has told nobody how it ended.
            return -1


def begin_child(call: Callable[[], bytes]) -> Child | None:
    """Begin with the call; None where it would not help, or not be safe: with one processor, or
    beside other threads, whose locks nobody would release in the child."""
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
        return None
    if threading.active_count() > 1:
        return None
    reading, writing = os.pipe()
    # An interrupt meant for both must not find the child on its way through our code.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        process = os.fork()
        if process == 0:
            _answer(call, writing)
    except OSError:
        os.close(reading)
        return None
    finally:
        os.close(writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Child(process, reading)


def _answer(call: Callable[[], bytes], pipe: int) -> NoReturn:
    """Nothing that the parent has open or has yet to print is the child's, so it ends here."""
    code = 1
    try:
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        # What goes wrong is not told from here: the parent does the work again, and reports it.
        with suppress(BaseException):
            answer = call()
            with os.fdopen(pipe, "wb") as file:
                file.write(answer)
            code = 0
    finally:
        os._exit(code)
