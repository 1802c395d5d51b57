"""The lease an apply works under: taken, kept alive, given back, and taken over from the dead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import field
from datetime import timedelta

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import CancelledError, LockError, StoreError
from ctrlplane_gitops.execute.holder import describe_holder, is_dead, name_holder
from ctrlplane_gitops.execute.pool import beating
from ctrlplane_gitops.store.base import Fence, Store
from ctrlplane_gitops.value import struct

LEASE = "apply"
TTL = timedelta(seconds=15)
_REFRESH = timedelta(seconds=4)
_POLL = timedelta(milliseconds=250)


@struct
class HeldLease:
    """``lost`` is set when somebody else took the lease over; nothing may be done after that.
    ``has_waited``: it was not free at first, so somebody else has acted meanwhile."""

    fence: Fence
    has_waited: bool = False
    lost: threading.Event = field(default_factory=threading.Event)


@contextmanager
def hold_lease(
    store: Store, clock: Clock, timeout: timedelta, cancel: threading.Event
) -> Iterator[HeldLease]:
    """Hold the control plane's lease for the block; LockError when it is not free in time,
    CancelledError when ``cancel`` is set meanwhile.

    A holder of this machine that is dead is not waited for: a killed apply delays nobody."""
    held = HeldLease(*_acquire(store, clock, timeout, cancel))
    missed = 0

    def beat() -> bool:
        nonlocal missed
        try:
            is_ours = store.refresh(held.fence, TTL, clock.now())
            missed = 0
        except StoreError:
            # The fence guards every write, so one missed beat hurts nobody; three are the end.
            missed += 1
            is_ours = missed < 3
        if not is_ours:
            held.lost.set()
        return is_ours

    try:
        with beating(clock, _REFRESH, beat):
            yield held
    finally:
        with suppress(StoreError):
            store.release(held.fence)


def _acquire(
    store: Store, clock: Clock, timeout: timedelta, cancel: threading.Event
) -> tuple[Fence, bool]:
    """The lease, and whether it had to be waited for."""
    holder = describe_holder()
    give_up = clock.now() + timeout
    has_waited = False
    while True:
        fence = store.acquire(LEASE, holder, TTL, clock.now())
        if fence is not None:
            return fence, has_waited
        has_waited = True
        known = store.read_lease(LEASE)
        if known is not None and is_dead(known.holder):
            store.break_lease(LEASE, known.number)
            continue
        who = f"another apply is at work here: {name_holder(known.holder) if known else 'unknown'}"
        now = clock.now()
        if now >= give_up:
            raise LockError(
                who,
                hint="wait for it, or give a longer --lock-timeout; a lease that is no longer "
                f"refreshed frees itself within {TTL.seconds}s",
            )
        if clock.wait(cancel, min(_POLL, give_up - now)):
            raise CancelledError(f"interrupted, nothing was changed; {who}")
