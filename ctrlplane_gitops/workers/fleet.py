"""What is served at this moment, and the last look at it: shared by those who watch it."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.reconcile.observe import observe_all
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedState, share_equal
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
    """``at`` is when the look began."""

    at: datetime
    observed: ObservedState


class Looks:
    """The last look at all providers, for several who may be content with the same: whoever looks
    at everything leaves it here, and what is equal in the next look is not kept twice. Safe to use
    from several threads."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._looking, self._lock = threading.Lock(), threading.Lock()
        self._last: Seen | None = None
        self._changed_at = datetime.min.replace(tzinfo=UTC)
        self._rest = timedelta()

    def take(self, seen: Seen) -> Seen:
        """A look at everything that somebody has made; the one that is kept."""
        with self._lock:
            last = self._last
            if last is not None and last.at > seen.at:
                return last
            if last is not None:
                seen = Seen(seen.at, share_equal(last.observed, seen.observed))
            self._last = seen
            return seen

    def forget(self) -> None:
        """What was seen until now may not be so any more."""
        self._changed_at = self._clock.now()

    def read(self, fleet: Fleet, age: timedelta) -> Seen:
        """A look that is at most so old, or as old as it has to be where looks take long."""
        return self._read(fleet, age, is_patient=True)

    def read_soon(self, fleet: Fleet, age: timedelta) -> Seen:
        """A look that is at most so old, however long it takes."""
        return self._read(fleet, age, is_patient=False)

    def look_again(self, fleet: Fleet, keys: Collection[ResourceKey]) -> Seen:
        """At some instances, now."""
        now = self._clock.now()
        return Seen(now, observe_all(fleet.providers, self._pool, keys))

    def _read(self, fleet: Fleet, age: timedelta, *, is_patient: bool) -> Seen:
        with self._looking:
            now, last = self._clock.now(), self._last
            enough = max(age, self._rest) if is_patient else age
            if last is not None and now - last.at < enough and last.at >= self._changed_at:
                return last
            observed = observe_all(fleet.providers, self._pool)
            self._rest = (self._clock.now() - now) * _REST
            return self.take(Seen(now, observed))
