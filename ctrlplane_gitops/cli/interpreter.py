"""How Python itself runs in a process that stays for months, and answers while it works."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from ctrlplane_gitops.clock import monotonic_s

# How long a thread that calculates keeps the interpreter while others want it. An answer takes it
# about ten times; Python's own is 5 ms, and with 0.2 ms the slowest of a hundred answers took half
# as long again beside passes over ten thousand instances.
_TURN_S = 0.00005
# How many new objects there are before the collector looks at them; after so many looks at the
# newest it looks at those that have survived one; and at all there are only when it is told to,
# which takes half a second with 10,000 instances.
_NEW, _LOOKS, _NEVER = 5_000, 5, 1_000_000_000
_FULL_INTERVAL = timedelta(minutes=10)
# Of malloc.h. A block of this size is given back when it is freed, wherever it is: glibc would
# raise the size with the first large one, and keep the rest in a heap that is full of holes.
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3
_LARGE_BYTES = 64 * 1024


@contextmanager
def serving_interpreter(interval: timedelta = _FULL_INTERVAL) -> Iterator[Callable[[], None]]:
    """What is given is to be called again and again, once what is loaded to begin with is there,
    which leaves the most garbage: at the first call, and after each ``interval``, it looks for
    garbage among everything. The process is as it was after the block, but for its heap."""
    turn, thresholds = sys.getswitchinterval(), gc.get_threshold()
    _tune_heap()
    sys.setswitchinterval(_TURN_S)
    gc.set_threshold(_NEW, _LOOKS, _NEVER)
    due = monotonic_s()

    def tend() -> None:
        nonlocal due
        if monotonic_s() >= due:
            gc.collect()
            due = monotonic_s() + interval.total_seconds()

    try:
        yield tend
    finally:
        sys.setswitchinterval(turn)
        gc.set_threshold(*thresholds)


def _tune_heap() -> None:
    """glibc gives threads heaps of their own, each of which keeps the most it ever held (measured:
    a fifth of all memory at 10,000 instances). Python lets one thread run at a time anyway."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
