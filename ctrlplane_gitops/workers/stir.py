"""Instances whose replicas have changed by themselves, and when they are looked at for that."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ctrlplane_gitops.state.key import ResourceKey

# One change is told of in several parts, and who has died may be started again by its own engine.
_SOON = timedelta(seconds=2)
# What changes all the time is looked at no more often than this, each instance for itself.
_SPACING = timedelta(seconds=10)
# Whose time comes so soon after somebody else's is looked at with them.
_TOGETHER = timedelta(milliseconds=500)


@dataclass(slots=True)
class Stir:
    """Not safe to use from several threads. ``due`` is who waits, until when; ``looked`` when who
    does not was taken last."""

    due: dict[ResourceKey, datetime] = field(default_factory=dict)
    looked: dict[ResourceKey, datetime] = field(default_factory=dict)

    def add(self, keys: Collection[ResourceKey], now: datetime) -> bool:
        """Whether any of them did not wait already."""
        new = [key for key in keys if key not in self.due]
        for key in new:
            last = self.looked.get(key)
            self.due[key] = now + _SOON if last is None else max(now + _SOON, last + _SPACING)
        return bool(new)

    def take(self, now: datetime) -> frozenset[ResourceKey]:
        """Whose time has come."""
        if self.next_at is None or now < self.next_at:
            return frozenset()
        taken = frozenset(key for key, at in self.due.items() if now >= at - _TOGETHER)
        for key in taken:
            del self.due[key]
        kept = {key: at for key, at in self.looked.items() if now < at + _SPACING}
        self.looked = kept | dict.fromkeys(taken, now)
        return taken

    @property
    def next_at(self) -> datetime | None:
        return min(self.due.values(), default=None)
