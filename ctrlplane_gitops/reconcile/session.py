"""Passes of one process side by side: one lease and one loop for everything that is under way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta

from ctrlplane_gitops.errors import CtrlplaneError, LockError
from ctrlplane_gitops.execute.batch import Alert, Batch
from ctrlplane_gitops.execute.lease import HeldLease, hold_lease
from ctrlplane_gitops.execute.loop import Loop
from ctrlplane_gitops.execute.part import ApplyResult
from ctrlplane_gitops.execute.pool import Begun
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.reconcile.gather import Wanted
from ctrlplane_gitops.reconcile.look import Look, as_recorded, look
from ctrlplane_gitops.reconcile.run import (
    Amendment,
    PassParts,
    Specs,
    build_batch,
    build_parts,
    read_again,
)
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.value import replace, struct

# A turn of the loop is short, but for one that writes down what thousands of files have changed.
_TURN, _CLOSING = timedelta(seconds=10), timedelta(seconds=1)


@struct
class Ask:
    """A pass that is wanted. ``specs`` are what ``read`` gave last; ``approve`` sees what would be
    done, raises to stop it, and says what is to be told with it. ``on_end`` and ``on_error`` are
    told, in another thread, what came of it."""

    specs: Specs
    read: Callable[[], Specs]
    policy: Policy
    approve: Callable[[Look], tuple[Alert, ...]]
    on_end: Callable[[Look, ApplyResult], None]
    on_error: Callable[[Look, CtrlplaneError], None]
    widen: Callable[[], Wanted] | None = None
    amendment: Amendment | None = None


@struct
class _Open:
    """A lease, given back by ``stack``, and the loop that works under it once there is one."""

    stack: ExitStack
    held: HeldLease
    parts: PassParts
    loop: Loop
    is_running: threading.Event


class Session:
    """``make_pass`` is for one thread, the rest for any.

    What a later pass says of an instance takes the place of what an earlier one said; others go on.
    The lease is held for as long as anything is under way."""

    def __init__(self) -> None:
        self._open: _Open | None = None
        self._idle = threading.Event()
        self._idle.set()

    @property
    def is_active(self) -> bool:
        """Whether anything is under way."""
        return self._open is not None

    def is_at(self, key: ResourceKey) -> bool:
        """Whether something is under way of this instance at this moment; for any thread."""
        open_ = self._open
        return open_ is not None and open_.loop.is_at(key)

    def make_pass(self, ask: Ask, open_parts: Callable[[], PassParts]) -> Look:
        """Look and compare; what follows from it is done side by side with what is under way.
        ``open_parts`` is asked when nothing is. Raises what ``run_pass`` raises before it acts."""
        while True:
            open_ = self._open or self._begin(ask, open_parts())
            open_.loop.wait_written(_TURN)
            if open_.loop.is_closed:
                self.wait(_CLOSING)
                continue
            found = self._look(ask, open_)
            if isinstance(found, Look):
                return found
            # It ended while we looked: somebody else may have acted since.
            ask = found
            self.wait(_CLOSING)

    def wait(self, within: timedelta) -> bool:
        """True once nothing is under way any more."""
        return self._idle.wait(within.total_seconds())

    def _begin(self, ask: Ask, parts: PassParts) -> _Open:
        stack = ExitStack()
        held = stack.enter_context(
            hold_lease(parts.store, parts.clock, parts.lock_timeout, parts.cancel)
        )
        plane = ask.specs[1].plane.name
        loop = Loop(build_parts(plane, parts, held))
        self._idle.clear()
        self._open = _Open(stack, held, parts, loop, threading.Event())
        return self._open

    def _look(self, ask: Ask, open_: _Open) -> Look | Ask:
        """What is still to be asked where it turns out to be too late to join."""
        is_first = not open_.is_running.is_set()
        try:
            seen, batch = self._prepare(ask, open_)
        except LockError:
            if not is_first:
                # What we would have joined has given the lease back, so nothing was written.
                return ask
            self._end(open_)
            raise
        except BaseException:
            if is_first:
                self._end(open_)
            raise
        if not open_.loop.admit(batch):
            # The record has been changed already.
            return replace(ask, amendment=None)
        if is_first:
            open_.is_running.set()
            Begun(lambda: self._run(open_))
        return seen

    def _prepare(self, ask: Ask, open_: _Open) -> tuple[Look, Batch]:
        parts, specs, mark = open_.parts, ask.specs, open_.loop.mark
        if open_.held.has_waited and not open_.is_running.is_set():
            specs = read_again(specs, ask.read)
        wanted, desired = specs
        seen = look(
            wanted,
            desired,
            parts.providers,
            parts.store,
            parts.looks,
            ask.policy,
            parts.clock.now(),
            as_recorded if ask.amendment is None else ask.amendment.change,
            ask.widen,
            router=parts.router,
        )
        alerts = ask.approve(seen)
        batch = build_batch(seen, parts, mark)
        batch.alerts += alerts
        batch.on_end = lambda result: ask.on_end(seen, result)
        batch.on_error = lambda error: ask.on_error(seen, error)
        batch.load()
        if ask.amendment is not None:
            ask.amendment.write(parts.store, open_.held, wanted.snapshot.commit)
        return seen, batch

    def _run(self, open_: _Open) -> None:
        try:
            open_.loop.run()
        except CtrlplaneError as error:
            open_.loop.fail(error)
        except Exception as bug:
            open_.loop.fail(CtrlplaneError(f"a bug: unexpected {type(bug).__name__}"))
        finally:
            self._end(open_)

    def _end(self, open_: _Open) -> None:
        try:
            open_.stack.close()
        finally:
            self._open = None
            self._idle.set()
