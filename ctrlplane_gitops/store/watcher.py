"""Who is told of events once they are written, in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from ctrlplane_gitops.state.log import LoggedEvent

Watch = Callable[[Sequence[LoggedEvent]], None]


class Watchers:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: tuple[Watch, ...] = ()

    def add(self, watch: Watch) -> Callable[[], None]:
        """Call it from now on, until what is returned is called."""
        with self._lock:
            self._watches += (watch,)

        def remove() -> None:
            with self._lock:
                self._watches = tuple(item for item in self._watches if item is not watch)

        return remove

    def tell(self, events: Sequence[LoggedEvent]) -> None:
        """What one of them raises reaches neither the others nor the writer: it is written."""
        if events:
            for watch in self._watches:
                with suppress(Exception):
                    watch(events)
