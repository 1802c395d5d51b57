"""What ``status`` shows, for whoever asks over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from ctrlplane_gitops.app import App, open_plane
from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import SourceError, UnreachableError
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.providers.counted import CountedProvider
from ctrlplane_gitops.reconcile.observe import observe_router
from ctrlplane_gitops.room import Room
from ctrlplane_gitops.state.desired import ControlPlane, DesiredResource, DesiredState
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.status.certificate import Ends
from ctrlplane_gitops.status.live import Live
from ctrlplane_gitops.status.read import probe_living
from ctrlplane_gitops.status.view import build_status, share_same
from ctrlplane_gitops.value import replace
from ctrlplane_gitops.workers.fleet import Fleet, Looks
from ctrlplane_gitops.workers.reconciler import Reconciler

_CLIENTS = 16


class StatusReader:
    """With providers of its own, so that nobody who asks holds up a pass, but for those that know
    without asking (``find_watched``); ``looks`` has what others have seen a moment ago. ``on_call``
    is told of calls to providers."""

    def __init__(
        self,
        app: App,
        reconciler: Reconciler,
        clock: Clock,
        looks: Looks,
        read_ends: Callable[[], Ends],
        on_call: Callable[[str, str], None],
        room: Room,
        find_watched: Callable[[ControlPlane], Mapping[str, Provider]],
    ) -> None:
        self._read_ends, self._looks, self._on_call = read_ends, looks, on_call
        self._room, self._find_watched = room, find_watched
        self._app, self._reconciler, self._clock = app, reconciler, clock
        self._probes = Pool(16, "status-probe")
        self._lock, self._asking = threading.Lock(), threading.Semaphore(_CLIENTS)
        self._last: Live | None = None

    @property
    def live(self) -> Live | None:
        """What was seen last, however long ago; None before the first look."""
        return self._last

    def read(self, age: timedelta, look_age: timedelta = timedelta()) -> Live:
        """Probed now, or at most ``age`` ago, of what was looked at ``look_age`` before at most.
        CtrlplaneError when it cannot be told, or too many ask already: a provider that hangs must
        not use up the threads that answer."""
        if not self._asking.acquire(blocking=False):
            raise UnreachableError("many are waiting for the status already; ask again later")
        try:
            return self._read_once(age, look_age)
        finally:
            self._asking.release()

    def _read_once(self, age: timedelta, look_age: timedelta) -> Live:
        with self._lock:
            now = self._clock.now()
            if self._last is None or now - self._last.at >= age:
                self._last = self._read(now, look_age)
            return self._last

    def close(self) -> None:
        self._probes.close()

    def _read(self, now: datetime, look_age: timedelta) -> Live:
        desired, commit = self._reconciler.desired, self._reconciler.commit
        if desired is None:
            raise SourceError("the specs have not been read yet", is_retryable=True)
        with open_plane(self._app, desired.plane, is_read_only=True) as plane:
            providers = {**plane.providers, **self._find_watched(desired.plane)}
            counted = {
                name: CountedProvider(item, self._on_call) for name, item in providers.items()
            }
            fleet = Fleet(desired, counted, plane.store)
            observed = self._looks.read_soon(fleet, look_age).observed
            served = None if plane.router is None else observe_router(plane.router)
            observed = replace(observed, router=served)
            verdicts = probe_living(desired, observed, plane.providers, self._probes, now)
            ends = self._read_ends()
            with self._room.entered():
                recorded = plane.store.load_state(known=_resources_of(desired))
                document = build_status(
                    plane.spec.name, commit, desired, recorded, observed, verdicts, ends
                )
                if self._last is not None:
                    document = share_same(self._last.document, document)
            return Live(now, document, observed, verdicts)


def _resources_of(desired: DesiredState) -> dict[ResourceKey, DesiredResource]:
    """Those of its instances, which is what is kept of it."""
    found = {key: item.resource for key, item in desired.instances.items()}
    deployments = (item.deployment for item in desired.instances.values())
    return found | {item.key: item for item in deployments if item is not None}
