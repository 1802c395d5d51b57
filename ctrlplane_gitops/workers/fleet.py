"""What is served at this moment, and the last look at it: shared by those who watch it."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.reconcile.observe import observe_all
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedState
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import struct

# A look may cost a second at ten thousand replicas: looking takes a twentieth of the time at most.
_REST = 20


@struct
class Fleet:
    """``desired`` is what the last pass went by."""

    desired: DesiredState
    providers: Mapping[str, Provider]
    store: Store


@struct
class Seen:
    at: datetime
    observed: ObservedState


class Looks:
    """One look at all providers, for several who may be content with the same."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._lock = threading.Lock()
        self._last: Seen | None = None
        self._rest = timedelta()

    def read(self, fleet: Fleet, age: timedelta) -> Seen:
        """A look that is at most so old, or as old as it has to be where looks take long."""
        with self._lock:
            now = self._clock.now()
            last = self._last
            if last is not None and now - last.at < max(age, self._rest):
                return last
            observed = observe_all(fleet.providers, self._pool)
            self._rest = (self._clock.now() - now) * _REST
            self._last = Seen(now, observed)
            return self._last

    def look_again(self, fleet: Fleet, keys: Collection[ResourceKey]) -> Seen:
        """At some instances, now."""
        now = self._clock.now()
        return Seen(now, observe_all(fleet.providers, self._pool, keys))
