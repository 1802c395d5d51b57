"""Counting the mutating calls of one action, and telling them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Effects:
    """``count`` is how many were begun; side by side calls are counted as well."""

    def __init__(self, on_effect: Callable[[str], None]) -> None:
        self.count = 0
        self._on_effect = on_effect
        self._lock = threading.Lock()

    @contextmanager
    def made(self, name: str) -> Iterator[None]:
        """Around one mutating call; told before it, and after it unless it failed."""
        self._on_effect(name)
        with self._lock:
            self.count += 1
        yield
        self._on_effect(name)
