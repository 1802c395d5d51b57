"""Work that is due at a time."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

from ctrlplane_gitops.clock import monotonic_s

NEVER_S = float("inf")


class Timers:
    """Work to be done at a time, by a few threads."""

    def __init__(self, workers: int) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._changed = threading.Condition()
        self._is_over = False
        self._threads = [threading.Thread(target=self._run) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        if seconds == NEVER_S:
            return
        with self._changed:
            heapq.heappush(self._heap, (monotonic_s() + seconds, next(self._number), work))
            self._changed.notify()

    def close(self) -> None:
        """What is not due yet is not done."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._is_over:
                left = self._heap[0][0] - monotonic_s() if self._heap else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._heap)[2]
                self._changed.wait(left)
            return None
