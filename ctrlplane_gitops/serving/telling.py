"""Who hears of what happens: the log and the figures of this process, and whoever the control
plane's notifications name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from ctrlplane_gitops.api.metrics import Metrics
from ctrlplane_gitops.app import App
from ctrlplane_gitops.events.bus import Bus
from ctrlplane_gitops.serving.output import Output
from ctrlplane_gitops.state.desired import ControlPlane
from ctrlplane_gitops.state.log import LoggedEvent
from ctrlplane_gitops.state.notification import Attempt, MessageState
from ctrlplane_gitops.state.recorded import Event
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.workers.listener import Listener
from ctrlplane_gitops.workers.notifier import INTERVAL, Notifier
from ctrlplane_gitops.workers.sender import Outlet, Sender
from ctrlplane_gitops.workers.worker import Worker

LOG, NOTIFIER = "log", "notifier"
# Events wake them; this is for what was written by somebody else, or by nobody.
_LOG_INTERVAL = timedelta(minutes=1)
_LIMIT = timedelta(minutes=1)


class Telling:
    """``wake`` runs a worker as soon as it can. ``bus`` has every event of this process once it is
    written."""

    def __init__(
        self,
        app: App,
        output: Output,
        metrics: Metrics,
        cancel: threading.Event,
        wake: Callable[[str], None],
    ) -> None:
        self._app, self._output, self._metrics = app, output, metrics
        self._wake = wake
        self._store: Store | None = None
        self._start = 0
        self.bus = Bus()
        self._log = Listener(
            self.bus.subscribe(LOG, size=10_000, on_event=lambda: wake(LOG)), self._take
        )
        self._sender = Sender(app.clock, cancel, lambda: wake(NOTIFIER), self._take_attempt)

    def build_workers(self, read_plane: Callable[[], ControlPlane | None]) -> list[Worker]:
        """``read_plane`` is what Git says of the control plane, None before it is known."""

        def open_outlet() -> Outlet | None:
            spec, store = read_plane(), self._store
            if spec is None or store is None:
                return None
            backends = self._app.backends
            return Outlet(spec.name, spec.notifications, store, backends, self._start)

        notifier = Notifier(open_outlet, self._sender, self._app.clock)
        return [
            Worker(LOG, _LOG_INTERVAL, self._log.run, _LIMIT),
            Worker(NOTIFIER, INTERVAL, notifier.run, _LIMIT),
        ]

    def take_store(self, store: Store) -> None:
        """The store that passes write into, before they do."""
        self._start = store.last_event()
        self._store = store
        self.watch(store)

    def watch(self, store: Store) -> None:
        """One more object that events are written through."""
        store.watch_events(self._take_events)

    def _take_events(self, events: Sequence[LoggedEvent]) -> None:
        self.bus.publish(events)
        self._wake(NOTIFIER)

    def close(self) -> None:
        """Say what was not said yet."""
        self._log.run()

    def _take(self, event: Event) -> None:
        self._metrics.count_event(event.type)
        self._output.on_event(event)

    def _take_attempt(self, subscription: str, attempt: Attempt) -> None:
        outcome = "retry" if attempt.state is MessageState.PENDING else attempt.state.value
        self._metrics.count_notification(subscription, outcome)
        if attempt.is_gone:
            self._output.log(
                f"notification {subscription}: its receiver wants no more (410); "
                "it is told nothing until it has another URL"
            )
        elif attempt.state is MessageState.FAILED:
            self._output.log(f"notification {subscription}: a message is given up: {attempt.error}")
