"""Many instances side by side, each one step at a time.

One loop, no thread of its own: it takes in what has ended, lets every run that may decide, writes
down what is intended in one transaction, and only then has it performed. Plans may join while it
runs: what a later one says of an instance takes the place of what an earlier one said, as soon as
the call in flight has ended; everybody else goes on.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any

from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.advance import GAP_PATIENCE, TICK, Advance
from ctrlplane_gitops.execute.analysing import Analysing
from ctrlplane_gitops.execute.batch import Batch, says_the_same
from ctrlplane_gitops.execute.effect import Effects
from ctrlplane_gitops.execute.part import ApplyParts, ApplyResult, Ending
from ctrlplane_gitops.execute.pool import wait_any
from ctrlplane_gitops.execute.steer import Steering
from ctrlplane_gitops.execute.step import End, WorkState
from ctrlplane_gitops.plan.change import Work
from ctrlplane_gitops.plan.order import interleave
from ctrlplane_gitops.state.action import Outcome, RemoveTenant
from ctrlplane_gitops.state.key import ResourceKey

# Works of one provider that are about to act or acting. More would only wait in the pool, with
# their deadlines running, and have to be gone through at every turn.
_MAX_ACTING = 64


class Loop:
    """``admit`` and ``mark`` are for any thread, ``run`` for one, once."""

    def __init__(self, parts: ApplyParts) -> None:
        self._parts = parts
        self._clock = parts.clock
        # Guards the inbox and how far the turns are, and tells who waits for them.
        self._turned = threading.Condition(threading.Lock())
        self._inbox: list[Batch] = []
        self._is_closed = False
        self._batches: list[Batch] = []
        self._may_stop_router = False
        self._waiting: dict[ResourceKey, tuple[Work, Batch]] = {}
        self._ended: dict[ResourceKey, WorkState] = {}
        self._moved: dict[ResourceKey, int] = {}
        analysing = Analysing(parts.analyses or parts.probes, parts.clock)
        self._steering = Steering(parts.traffic, analysing, parts.providers, parts.read_orders)
        self._turn = self._written = 0
        self._has_ended = False
        self._effects = Effects(
            parts.providers,
            parts.journal,
            parts.materials,
            parts.actions,
            lambda: parts.find_stop() is not None,
        )
        self._advance = Advance(parts, self._steering, self._effects, self._end)

    @property
    def mark(self) -> int:
        """Everything that moved up to now is written down, for a plan that is about to be made."""
        return self._written

    @property
    def is_closed(self) -> bool:
        """Whether it is too late to have anything carried out."""
        return self._is_closed

    def wait_written(self, within: timedelta) -> None:
        """Until what was admitted has begun and what moved is written down, or it is too late: a
        plan that is made before would find the same to do once more."""
        with self._turned:
            self._turned.wait_for(
                lambda: self._is_closed or (not self._inbox and self._written == self._turn),
                within.total_seconds(),
            )

    def admit(self, batch: Batch) -> bool:
        """Have a plan carried out; False when it is too late for that."""
        with self._turned:
            if not self._is_closed:
                self._inbox.append(batch)
            return not self._is_closed

    def is_at(self, key: ResourceKey) -> bool:
        """Whether an instance has something going on, or waits for its turn; for any thread, and
        as of this moment only."""
        return key in self._advance or key in self._waiting

    def fail(self, error: CtrlplaneError) -> None:
        """After ``run`` has raised: tell everybody whose end nobody was told of."""
        for batch in (*self._batches, *self._inbox):
            batch.on_error(error)

    def run(self) -> None:
        """Until everything that was admitted has ended.

        Raises ``LockError`` or ``StoreError`` when nothing can be written down any more; what was
        in flight has ended by then."""
        self._parts.journal.close_left_over()
        ending = None
        try:
            ending = self._run_turns()
        finally:
            with self._turned:
                self._is_closed = True
                self._turned.notify_all()
            self._effects.stop()
            self._effects.wait()
            # Without the lease it may be somebody else whom the router serves by now.
            is_over = ending is Ending.COMPLETE and self._may_stop_router
            failed = any(batch.failed_tenants for batch in self._batches)
            unserved = self._steering.finish(may_stop=is_over and not failed)
        while self._batches:
            self._close(self._batches.pop(0), ending, unserved)
        while self._inbox:
            self._inbox.pop(0).on_end(ApplyResult(ending, (), 0))

    def _run_turns(self) -> Ending:
        while self._take_in():
            has_turned = self._collect()
            stop = self._parts.find_stop()
            if stop is not None:
                self._abandon(stop)
                return stop
            self._start_free()
            self._advance.step_all(has_turned)
            self._go_on()
            self._steering.intend(self._clock.now())
            self._parts.journal.flush()
            with self._turned:
                self._written = self._turn
                self._turned.notify_all()
            self._effects.submit()
            self._steering.submit()
            self._advance.look()
            self._advance.start_due()
            self._steering.start_due()
            self._rest()
        return Ending.COMPLETE

    def _take_in(self) -> bool:
        """Let those in who have come; False when nobody has and nothing is left to do."""
        with self._turned:
            inbox, self._inbox = self._inbox, []
            if not inbox and all(batch.is_over for batch in self._batches):
                self._is_closed = True
                self._turned.notify_all()
                return False
            self._turn += 1
        for batch in inbox:
            self._begin(batch)
        return True

    def _begin(self, batch: Batch) -> None:
        journal = self._parts.journal
        journal.learn(batch.secrets.values())
        self._parts.materials.renew(batch.materials)
        batch.leave_out(key for key, turn in self._moved.items() if turn > batch.mark)
        batch.begin(journal, self._clock)
        batch.steered = self._steering.count
        self._batches.append(batch)
        self._may_stop_router |= batch.may_stop_router
        for work in interleave(batch.plan.works):
            self._expect(work, batch)
        journal.flush()
        self._steering.begin(batch.plan, batch.secrets, batch.observed)

    def _expect(self, work: Work, batch: Batch) -> None:
        """A work to be begun when its turn comes, or in the place of the one that is under way."""
        key = work.instance
        active, waiting = self._advance.get(key), self._waiting.get(key)
        if active is not None:
            known: Work | None = active.successor or active.run.work
            owner: Batch | None = active.batch
        else:
            known, owner = waiting or (None, None)
        if known is not None and says_the_same(known, work):
            if active is not None and active.successor is None:
                active.run.take_over(work, batch.recorded.instances.get(key))
            batch.end(key, WorkState.UNDER_WAY, "an earlier pass is at it")
            return
        if owner is not None:
            owner.end(key, WorkState.SUPERSEDED, "a later pass makes something else of it")
        batch.left.add(key)
        if active is not None:
            active.successor, active.batch = work, batch
        else:
            self._waiting[key] = (work, batch)

    def _go_on(self) -> None:
        """With those batches whose works have all ended."""
        for batch in self._batches:
            if not batch.left and batch.tenants is None and self._is_served(batch):
                batch.remove_tenants(self._effects)
        over = [batch for batch in self._batches if batch.is_over]
        if len(over) < len(self._batches):
            # The last ones wait for the end of everything, which may have to be told of them.
            unserved = self._steering.find_errors()
            for batch in over:
                self._batches.remove(batch)
                self._close(batch, Ending.COMPLETE, unserved)

    def _close(self, batch: Batch, ending: Ending, unserved: tuple[CtrlplaneError, ...]) -> None:
        journal, steering = self._parts.journal, self._steering
        result = batch.close(
            ending,
            journal,
            (*sorted(self._effects.warnings), *steering.warnings),
            unserved,
            steering.count,
            is_settled=steering.is_settled,
        )
        if ending is not Ending.LOST:
            journal.flush()
        batch.on_end(result)

    def _is_served(self, batch: Batch) -> bool:
        """Whether the router serves what is wanted, or has had long enough for it."""
        if self._steering.is_settled:
            return True
        now = self._clock.now()
        batch.settles_by = batch.settles_by or now + GAP_PATIENCE
        return now >= batch.settles_by

    def _collect(self) -> bool:
        now = self._clock.now()
        has_turned = self._advance.collect(self._turn)
        for outcome in self._effects.collect():
            self._take(outcome, now)
        return self._steering.collect() or has_turned

    def _take(self, outcome: Outcome, now: datetime) -> None:
        action = outcome.action
        if not isinstance(action, RemoveTenant):
            self._advance.take(action.instance, outcome, now)
            return
        for batch in self._batches:
            if batch.tenants is not None and batch.tenants.get(action.tenant):
                batch.take(outcome)
                break

    def _abandon(self, ending: Ending) -> None:
        """Let what is in flight end, and write down what came of it."""
        self._effects.wait()
        now = self._clock.now()
        for outcome in self._effects.collect():
            self._take(outcome, now)
        for active in self._advance:
            work = active.run.work
            if work.release is not None:
                self._parts.journal.put(instances=(active.run.record(),))
            active.batch.end(work.instance, WorkState.CANCELLED, "stopped on the way")
        for key, (_, batch) in self._waiting.items():
            batch.end(key, WorkState.CANCELLED, "not begun")
        if ending is not Ending.LOST:
            self._parts.journal.flush()

    def _start_free(self) -> None:
        """Begin works whose dependencies are done, as many as may act; skip those whose have
        failed."""
        acting = self._advance.count_acting()
        names = self._parts.providers
        for key, (work, batch) in list(self._waiting.items()):
            if names and all(acting[name] >= _MAX_ACTING for name in names):
                return  # Thousands may wait, and none of them can begin.
            if acting[work.provider] >= _MAX_ACTING:
                continue
            needed = batch.plan.dependencies.get(key, ())
            awaited = (*needed, *batch.plan.turns.get(key, ()))
            if any(item in self._waiting or item in self._advance for item in awaited):
                continue
            del self._waiting[key]
            failed = [item for item in needed if self._ended.get(item) not in _GOOD]
            if failed:
                text = f"it depends on {', '.join(item.address for item in failed)}"
                self._parts.journal.tell(EventType.WORK_SKIPPED, key.address, f"skipped: {text}")
                self._end(key, batch, End(WorkState.SKIPPED, text))
                continue
            self._moved[key] = self._turn
            self._advance.begin(work, batch)
            acting[work.provider] += 1

    def _end(self, key: ResourceKey, batch: Batch, end: End) -> None:
        self._has_ended = True
        self._ended[key], self._moved[key] = end.state, self._turn
        journal = self._parts.journal
        error = None if end.error is None else journal.scrub_error(end.error)
        batch.end(key, end.state, journal.scrub(end.message), error)

    def _rest(self) -> None:
        """Sleep until something ends or is due, at most a tick; not at all when a work has just
        ended, for others may have waited for it, or when nothing is left to wait for."""
        if self._has_ended or all(batch.is_over for batch in self._batches):
            self._has_ended = False
            return
        now = self._clock.now()
        steered = self._steering.next_due()
        times = [*self._advance.times(), *([steered] if steered else [])]
        running: list[Future[Any]] = [
            *self._effects.running,
            *self._advance.running,
            *self._steering.running,
        ]
        pause = min([TICK, *(at - now for at in times)])
        if running:
            wait_any(running, max(pause, timedelta(milliseconds=1)))
        else:
            self._clock.wait(self._parts.cancel, max(pause, timedelta(milliseconds=5)))


_GOOD = frozenset({WorkState.DONE, WorkState.STARTED, WorkState.WAITING})
