"""Waiting for what Kubernetes does by itself, for a while."""

from __future__ import annotations

from collections.abc import Callable

from ctrlplane_gitops.clock import monotonic_s, sleep

_FIRST_S, _LONGEST_S = 0.03, 0.5


def wait_for(holds: Callable[[], bool], patience_s: float) -> bool:
    """Whether it came to hold in time; asked at once, and then ever more seldom."""
    deadline, pause_s = monotonic_s() + patience_s, _FIRST_S
    while not holds():
        left = deadline - monotonic_s()
        if left <= 0:
            return False
        sleep(min(pause_s, left))
        pause_s = min(_LONGEST_S, pause_s * 1.6)
    return True
