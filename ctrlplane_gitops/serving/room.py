"""Room for one large thing at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE_S = 5.0


class Room:
    """Whoever is about to hold something of every instance for a moment enters it: what two hold at
    the same time is never given back to the system. Whoever is in it for long, because a provider
    does not answer, is not waited for."""

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self._lock = threading.Lock()
        self._patience_s = patience_s

    @property
    def is_free(self) -> bool:
        return not self._lock.locked()

    @contextmanager
    def entered(self) -> Iterator[None]:
        is_ours = self._lock.acquire(timeout=self._patience_s)
        try:
            yield
        finally:
            if is_ours:
                self._lock.release()
