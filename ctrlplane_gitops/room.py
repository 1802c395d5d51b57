"""Room for one large thing at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ctrlplane_gitops.clock import monotonic_s

_LEAST_S, _MOST_S = 5.0, 60.0
# What took so long may take a little longer the next time, and is forgotten little by little.
_MARGIN, _FADING = 1.5, 0.8


class Room:
    """Whoever is about to hold something of every instance for a moment enters it: what two hold at
    the same time is never given back to the system. It is waited for as long as such a thing takes,
    which is longer with more instances, and not for whoever is in it because a provider does not
    answer. Times are in seconds."""

    def __init__(self, least_s: float = _LEAST_S, most_s: float = _MOST_S) -> None:
        self._lock = threading.Lock()
        self._least_s, self._most_s = least_s, most_s
        self._usual_s = 0.0

    @property
    def is_free(self) -> bool:
        return not self._lock.locked()

    @property
    def patience_s(self) -> float:
        return min(self._most_s, max(self._least_s, self._usual_s * _MARGIN))

    @contextmanager
    def entered(self) -> Iterator[None]:
        is_ours = self._lock.acquire(timeout=self.patience_s)
        began = monotonic_s()
        try:
            yield
        finally:
            if is_ours:
                stay_s = monotonic_s() - began
                if stay_s < self._most_s:
                    # Who stays longer waits for something that hangs.
                    self._usual_s = max(stay_s, self._usual_s * _FADING)
                self._lock.release()
