"""Ending what somebody else waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Halt:
    """Ends the following of a log from another thread. What was to be done then is done at once
    where it is over already."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Callable[[], None]] = []
        self._is_set = False

    @property
    def is_set(self) -> bool:
        return self._is_set

    def on_set(self, call: Callable[[], None]) -> None:
        with self._lock:
            if not self._is_set:
                self._calls.append(call)
                return
        call()

    def set(self) -> None:
        with self._lock:
            self._is_set = True
            calls, self._calls = self._calls, []
        for call in calls:
            call()
