"""Whose turn it is where several processes share a store and one of them is enough."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.execute.holder import describe_holder, is_dead
from ctrlplane_gitops.store.base import Fence, Store


class Turn:
    """A lease that is taken anew each time, by whoever comes often enough: within ``ttl``. Nothing
    is fenced by it: what two do for a moment is the same twice."""

    def __init__(self, lease: str, ttl: timedelta) -> None:
        self._lease = lease
        self._ttl = ttl
        self._holder = describe_holder()
        self._fence: Fence | None = None

    @property
    def is_ours(self) -> bool:
        """As of the last time."""
        return self._fence is not None

    def take(self, store: Store, now: datetime) -> bool:
        """Whether it is ours from now on. A holder of this machine that is dead is not waited
        for."""
        if self._fence is not None and store.refresh(self._fence, self._ttl, now):
            return True
        self._fence = store.acquire(self._lease, self._holder, self._ttl, now)
        if self._fence is None:
            known = store.read_lease(self._lease)
            if known is not None and is_dead(known.holder):
                store.break_lease(self._lease, known.number)
                self._fence = store.acquire(self._lease, self._holder, self._ttl, now)
        return self._fence is not None

    def give_back(self, store: Store) -> None:
        """Somebody else may go on at once."""
        fence, self._fence = self._fence, None
        if fence is not None:
            with suppress(StoreError):
                store.release(fence)
