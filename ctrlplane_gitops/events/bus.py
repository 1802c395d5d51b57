"""Events for who listens in this process. There is no thread here: each subscription has a queue
of its own that its owner empties, so nobody waits for anybody."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from ctrlplane_gitops.state.log import EventFilter, LoggedEvent, is_event_asked


class Subscription:
    """The events of one listener that it has not taken yet, the newest ``size`` of them. ``wake``
    is set while there are any. ``dropped`` is how many were given up for newer ones: they are in
    the log, after the number of the last one that was taken."""

    def __init__(self, name: str, where: EventFilter, size: int, on_event: Callable[[], None]):
        self.name = name
        self.wake = threading.Event()
        self.dropped = 0
        self._where = where
        self._on_event = on_event
        self._lock = threading.Lock()
        self._queue: deque[LoggedEvent] = deque(maxlen=size)

    def put(self, events: Sequence[LoggedEvent]) -> bool:
        """Queue those that are asked for; whether there were any."""
        asked = [item for item in events if is_event_asked(self._where, item.event)]
        if not asked:
            return False
        with self._lock:
            room = (self._queue.maxlen or 0) - len(self._queue)
            self.dropped += max(0, len(asked) - room)
            self._queue.extend(asked)
            self.wake.set()
        return True

    def tell(self) -> None:
        """Let its owner know that there is something."""
        self._on_event()

    def take(self) -> list[LoggedEvent]:
        """All that is queued, oldest first."""
        with self._lock:
            found = list(self._queue)
            self._queue.clear()
            self.wake.clear()
        return found


class Bus:
    """``publish`` is what a store's ``watch_events`` is given. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: tuple[Subscription, ...] = ()

    def subscribe(
        self,
        name: str,
        where: EventFilter | None = None,
        size: int = 1000,
        on_event: Callable[[], None] = lambda: None,
    ) -> Subscription:
        """A queue of the events from now on. ``on_event`` is called in the thread that has written
        them: it must return at once, and what it raises is no matter to anybody."""
        made = Subscription(name, where or EventFilter(), size, on_event)
        with self._lock:
            self._subscriptions += (made,)
        return made

    def unsubscribe(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions = tuple(
                item for item in self._subscriptions if item is not subscription
            )

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        return self._subscriptions

    def publish(self, events: Sequence[LoggedEvent]) -> None:
        """To every queue, before anybody is called."""
        for subscription in [item for item in self._subscriptions if item.put(events)]:
            try:
                subscription.tell()
            except Exception:
                # It will find them when it looks; the others are told, and the writer goes on.
                continue
