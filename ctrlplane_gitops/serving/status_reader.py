"""What ``status`` shows, for whoever asks over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from ctrlplane_gitops.app import App, open_plane
from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import SourceError, UnreachableError
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.reconcile.observe import observe_all
from ctrlplane_gitops.status.certificate import Ends
from ctrlplane_gitops.status.live import Live
from ctrlplane_gitops.status.read import read_live
from ctrlplane_gitops.workers.reconciler import Reconciler

_CLIENTS = 16


class StatusReader:
    """With parts of its own, so that nobody who asks holds up a pass."""

    def __init__(
        self, app: App, reconciler: Reconciler, clock: Clock, read_ends: Callable[[], Ends]
    ) -> None:
        self._read_ends = read_ends
        self._app, self._reconciler, self._clock = app, reconciler, clock
        self._looks, self._probes = Pool(4, "status-look"), Pool(16, "status-probe")
        self._lock, self._asking = threading.Lock(), threading.Semaphore(_CLIENTS)
        self._last: Live | None = None

    @property
    def live(self) -> Live | None:
        """What was seen last, however long ago; None before the first look."""
        return self._last

    def read(self, age: timedelta) -> Live:
        """Probed now, or at most ``age`` ago. CtrlplaneError when it cannot be told, or too many
        ask already: a provider that hangs must not use up the threads that answer."""
        if not self._asking.acquire(blocking=False):
            raise UnreachableError("many are waiting for the status already; ask again later")
        try:
            return self._read_once(age)
        finally:
            self._asking.release()

    def _read_once(self, age: timedelta) -> Live:
        with self._lock:
            now = self._clock.now()
            if self._last is None or now - self._last.at >= age:
                self._last = self._read(now)
            return self._last

    def close(self) -> None:
        self._looks.close()
        self._probes.close()

    def _read(self, now: datetime) -> Live:
        desired, commit = self._reconciler.desired, self._reconciler.commit
        if desired is None:
            raise SourceError("the specs have not been read yet", is_retryable=True)
        with open_plane(self._app, desired.plane, is_read_only=True) as plane:
            observed = observe_all(plane.providers, self._looks, router=plane.router)
            return read_live(
                plane.spec.name, commit, desired, plane.store.load_state(),
                observed, plane.providers, self._probes, now, self._read_ends(),
            )  # fmt: skip
