"""A worker that hands what one subscription of the bus has queued to whoever listens."""

from __future__ import annotations

from collections.abc import Callable

from ctrlplane_gitops.events.bus import Subscription
from ctrlplane_gitops.state.recorded import Event
from ctrlplane_gitops.workers.worker import Ran


class Listener:
    """``handle`` takes one event. What it raises is told as the run's error, and the next event is
    handed to it none the less."""

    def __init__(self, subscription: Subscription, handle: Callable[[Event], None]) -> None:
        self._subscription = subscription
        self._handle = handle
        self._dropped = 0

    def run(self) -> Ran:
        """All that is queued."""
        errors: list[str] = []
        for row in self._subscription.take():
            try:
                self._handle(row.event)
            except Exception as bug:
                errors.append(f"unexpected {type(bug).__name__}")
        before, self._dropped = self._dropped, self._subscription.dropped
        if self._dropped > before:
            errors.append(f"{self._dropped - before} events came too quickly and were left out")
        return Ran(error="; ".join(dict.fromkeys(errors)))
