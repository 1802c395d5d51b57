"""The worker that clears away what is old and what is nobody's."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import CtrlplaneError, LockError
from ctrlplane_gitops.plan.orphan import Orphans, find_doubt, find_orphans
from ctrlplane_gitops.reconcile.collect import collect_orphans, drop_surplus, list_leftovers, see
from ctrlplane_gitops.reconcile.run import PassParts, Specs
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.observed import Leftover
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.retained import Prunable
from ctrlplane_gitops.workers.worker import Ran

NAME = "garbage-collector"
ACTOR = f"system:{NAME}"
# What nobody knows may be known in a moment: an apply is under way, a commit about to come.
GRACE = timedelta(minutes=15)
# Whoever waits for the store gets it between two transactions.
_REST = timedelta(milliseconds=10)
_MAX_BATCHES = 400
# The lease is not to be held for long: the next run takes the others.
_MAX_ORPHANS = 20
_SOON = timedelta(seconds=30)

_Nobodys = Leftover | ResourceKey
Aged = Mapping[str, tuple[Prunable, timedelta]]


class GarbageCollector:
    """``read_desired`` is what the last pass went by (None before the first). ``open_parts`` gives
    what to work with, ``read`` everything Git says at this moment. ``areas`` are what has an age,
    by name, with how long it is kept. ``run`` is for one thread."""

    def __init__(
        self,
        read_desired: Callable[[], DesiredState | None],
        open_parts: Callable[[DesiredState], PassParts],
        read: Callable[[], Specs],
        areas: Callable[[Store, DesiredState], Aged],
        clock: Clock,
        cancel: threading.Event,
    ) -> None:
        self._read_desired = read_desired
        self._open_parts = open_parts
        self._read = read
        self._areas = areas
        self._clock = clock
        self._cancel = cancel
        self._seen: dict[_Nobodys, datetime] = {}

    def run(self) -> Ran:
        """Clear away once. What is locked or in doubt is left for the next run."""
        desired = self._read_desired()
        if desired is None:
            return Ran(after=_SOON)
        parts = self._open_parts(desired)
        counts: Counter[str] = Counter()
        errors: list[str] = []
        for step in (self._prune, self._drop, self._collect):
            try:
                step(desired, parts, counts)
            except LockError:
                continue
            except CtrlplaneError as error:
                self._seen = {}
                errors.append(error.message)
            if self._cancel.is_set():
                break
        return Ran(error="; ".join(errors), counts=dict(counts))

    def _prune(self, desired: DesiredState, parts: PassParts, counts: Counter[str]) -> None:
        now = self._clock.now()
        for name, (part, age) in self._areas(parts.store, desired).items():
            for _ in range(_MAX_BATCHES):
                count = part.prune(now - age)
                counts[name] += count
                if not count or self._rest():
                    break

    def _drop(self, desired: DesiredState, parts: PassParts, counts: Counter[str]) -> None:
        releases, contents = drop_surplus(desired.instances, parts, self._rest)
        counts.update(releases=releases, contents=contents)

    def _collect(self, desired: DesiredState, parts: PassParts, counts: Counter[str]) -> None:
        counts.update(orphans=0, orphans_seen=0)
        leftovers, silent = list_leftovers(parts.providers, parts.looks)
        unlisted = parts.store.retained.tally.find_unlisted()
        # Who does not answer leaves everything in doubt: there is no need to read all of Git.
        if silent or not _may_be_nobodys(leftovers, unlisted, desired):
            self._seen = {}
            return
        seen = see(self._read(), parts)
        found = Orphans() if find_doubt(seen) else find_orphans(seen)
        now = self._clock.now()
        # What is not seen in one look, or a look in doubt, begins anew.
        nobodys: list[_Nobodys] = [*found.leftovers, *found.forgotten]
        self._seen = {item: self._seen.get(item, now) for item in nobodys}
        counts["orphans_seen"] += len(self._seen)
        old = [item for item, since in self._seen.items() if now - since >= GRACE]
        due = old[:_MAX_ORPHANS]
        if not due:
            return
        gone = collect_orphans(
            self._read,
            parts,
            [item for item in due if isinstance(item, Leftover)],
            [item for item in due if isinstance(item, ResourceKey)],
        )
        counts["orphans"] += gone.leftovers + gone.forgotten
        for item in due:
            # What could not be removed is tried again, but not at once.
            self._seen.pop(item, None)
        if gone.errors:
            raise gone.errors[0]

    def _rest(self) -> bool:
        return self._clock.wait(self._cancel, _REST)


def _may_be_nobodys(
    leftovers: Iterable[Leftover], unlisted: Iterable[ResourceKey], desired: DesiredState
) -> bool:
    """The cheap question, without reading Git: mostly there is nothing."""
    instances = desired.instances
    if any(key not in instances for key in unlisted):
        return True
    tenants = {key.tenant for key in instances}
    for item in leftovers:
        wanted = instances.get(item.owner)
        is_tenant = item.owner.kind is Kind.TENANT and item.owner.tenant in tenants
        is_kept = wanted is not None and wanted.provider == item.provider
        if item.release is not None or not (is_tenant or is_kept):
            return True
    return False
