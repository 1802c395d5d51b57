"""The worker that keeps what runs equal to what the source says."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime, timedelta

from ctrlplane_gitops.clock import Clock, EitherEvent
from ctrlplane_gitops.errors import CtrlplaneError, GuardError, LockError, SourceError, SpecError
from ctrlplane_gitops.execute.batch import Alert
from ctrlplane_gitops.execute.part import ApplyResult
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.reconcile.follow import Follower
from ctrlplane_gitops.reconcile.gather import Wanted, is_empty
from ctrlplane_gitops.reconcile.look import Look
from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport, report_error, report_pass
from ctrlplane_gitops.reconcile.run import Amendment, PassParts, Specs
from ctrlplane_gitops.reconcile.session import Ask, Session
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.source.latest import LatestSource, is_same
from ctrlplane_gitops.state.desired import ControlPlane, DesiredState
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.value import replace, struct
from ctrlplane_gitops.workers.agenda import Agenda, after_end, after_look, after_refusal
from ctrlplane_gitops.workers.backlog import Backlog, after_results
from ctrlplane_gitops.workers.drift import DriftLog, after_corrections, after_plan
from ctrlplane_gitops.workers.stir import Stir
from ctrlplane_gitops.workers.worker import Ran

# How long those under way have to stop when the control plane itself was changed.
_HANDOVER = timedelta(seconds=30)


@struct
class Told:
    """Who is told: ``on_look`` of every plan, also one that is refused as a whole, ``on_begin`` of
    those that are carried out from now on, ``on_pass`` how each ended and what it was made of,
    ``on_end`` that it is no longer pending, ``on_due`` that ``run`` has something to do. Called
    from any thread."""

    on_look: Callable[[Look], None] = lambda seen: None
    on_begin: Callable[[Look], None] = lambda seen: None
    on_pass: Callable[[PassReport, Snapshot | None], None] = lambda report, snapshot: None
    on_due: Callable[[], None] = lambda: None
    on_end: Callable[[], None] = lambda: None


class Reconciler:
    """Makes a pass where the source says something new, something has failed or may have drifted.
    Passes join what is under way: each instance has one thing going on at a time, which is what
    the newest pass has made of it. ``run`` is for one thread, the rest for any.

    ``follower`` reads from ``source``. ``open_parts`` gives what passes over a control plane work
    with, until the event stops them. ``cancel`` stops everything for good."""

    def __init__(
        self,
        source: LatestSource,
        follower: Follower,
        open_parts: Callable[[ControlPlane, threading.Event], PassParts],
        clock: Clock,
        cancel: threading.Event,
        interval: timedelta,
        told: Told,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._follower = follower
        self._open_parts = open_parts
        self._clock = clock
        self._cancel = cancel
        self._told = told
        self._chance = chance
        self._session, self._stop = Session(), EitherEvent(cancel)
        self._lock = threading.Lock()
        self._agenda = Agenda(interval, whole_at=clock.now())
        self._backlog, self._drift, self._stir = Backlog(), DriftLog(), Stir()
        self._amendments: list[tuple[ResourceKey, Amendment]] = []
        self._tried: Snapshot | None = None
        self._desired: DesiredState | None = None
        self._plane: ControlPlane | None = None
        self._promised: datetime | None = None
        # Of passes under way, by the identity of their look.
        self._pending: dict[int, Snapshot] = {}
        self._candidate = 0

    @property
    def desired(self) -> DesiredState | None:
        """The control plane with all its instances, as the last pass that got as far went by; the
        rest is left out. None before the first."""
        return self._desired

    @property
    def plane(self) -> ControlPlane | None:
        """The control plane as Git says it now, also while the pass that found it so is under way.
        None before the first."""
        return self._plane

    @property
    def commit(self) -> str:
        """The commit that was tried last, "" where there is none."""
        return self._tried.commit if self._tried else ""

    @property
    def tried(self) -> Snapshot | None:
        """What the newest pass was made of."""
        return self._tried

    @property
    def quarantined(self) -> frozenset[ResourceKey]:
        """Whose drift is not corrected any more."""
        return frozenset(self._drift.quarantined)

    def is_pending(self, snapshot: Snapshot) -> bool:
        """Whether a pass of it has begun and not ended."""
        with self._lock:
            return any(is_same(item, snapshot) for item in self._pending.values())

    def is_behind(self) -> bool:
        """Whether the source says something that no pass has tried yet."""
        return not is_same(self._source.snapshot, self._tried)

    def ask(self, keys: Collection[ResourceKey] | None = None) -> None:
        """Have everything held against what runs as soon as ``run`` is called, whatever went
        wrong before with these instances (None: with all)."""
        with self._lock:
            found = {*self._backlog.setbacks, *self._drift.corrected, *self._drift.quarantined}
            asked = found if keys is None else found & set(keys)
            self._backlog = self._backlog.without(asked)
            self._drift = self._drift.without(asked)
            self._agenda = replace(self._agenda, whole_at=self._clock.now())

    def stir(self, keys: Collection[ResourceKey]) -> None:
        """What runs of these instances has changed: have them held against it soon. Of those that
        something is being done with it is known anyway."""
        desired = self._desired
        known = () if desired is None else desired.instances
        changed = [key for key in keys if key in known and not self._session.is_at(key)]
        with self._lock:
            is_new = self._stir.add(changed, self._clock.now())
        if is_new:
            self._told.on_due()

    def amend(self, key: ResourceKey, amendment: Amendment) -> None:
        """Have a pass about one instance that begins with a change of the record (a pin)."""
        with self._lock:
            self._amendments.append((key, amendment))
            self._backlog = self._backlog.without([key])

    def wait(self, within: timedelta) -> bool:
        """True once nothing is under way."""
        return self._session.wait(within)

    def run(self) -> Ran:
        """A pass, if there is anything to make one for. It has begun when this returns, not
        ended."""
        error = ""
        while self._amendments:
            error = self._amend(*self._amendments.pop(0)) or error
        now = self._clock.now()
        with self._lock:
            agenda, due, stirred = self._agenda, self._backlog.due(now), self._stir.take(now)
        if self._source.snapshot is None:
            # Nothing can be held against anything; whoever has it wakes us.
            return Ran(error=error)
        is_whole = now >= agenda.whole_at
        if is_whole or due or stirred or agenda.is_retry_due(now) or self.is_behind():
            error = self._make_pass(is_whole, due, stirred) or error
        with self._lock:
            self._promised = at = self._next_at()
        return Ran(max(timedelta(), at - self._clock.now()), error)

    def _next_at(self) -> datetime:
        times = (self._agenda.next_at(), self._backlog.next_at, self._stir.next_at)
        return min(at for at in times if at is not None)

    def _make_pass(
        self, is_whole: bool, due: frozenset[ResourceKey], stirred: frozenset[ResourceKey]
    ) -> str:
        """Why it could not be begun, "" where it has, or where what changed concerns nobody."""
        at, self._tried = self._clock.now(), self._source.snapshot
        self._follower.revisit(due | stirred)
        try:
            specs = self._read(is_whole)
            wanted, seen = specs[0], None
            if wanted.part is not None and not wanted.part.tenants:
                self._follower.settle(wanted)
            else:
                ask = self._ask(specs, self._read_again(is_whole), at)
                seen = self._make(ask)
        except CtrlplaneError as error:
            return self._take_error(error, at, is_whole=is_whole)
        self._take_look(seen, is_whole, due)
        return ""

    def _amend(self, key: ResourceKey, amendment: Amendment) -> str:
        at = self._clock.now()
        try:
            specs = self._require(self._follower.widen())
            policy = Policy(targets=(key.address,), is_keep_going=True, is_prune_enabled=False)
            ask = self._ask(specs, lambda: specs, at)
            self._make(replace(ask, policy=policy, amendment=amendment))
        except CtrlplaneError as error:
            return self._take_error(error, at, is_whole=False)
        return ""

    def _ask(self, specs: Specs, read: Callable[[], Specs], at: datetime) -> Ask:
        wanted = specs[1].instances
        with self._lock:
            # Broken tenants stay as they are, the others converge.
            policy = Policy(
                is_keep_going=True,
                holds=self._backlog.holds(wanted, at),
                drift_holds=self._drift.holds(wanted, at),
            )
        return Ask(
            specs,
            read,
            policy,
            self._approve,
            lambda seen, result: self._take_end(seen, result, at),
            lambda seen, error: self._take_failure(seen, error, at),
            self._follower.widen,
        )

    def _make(self, ask: Ask) -> Look:
        plane, before = ask.specs[1].plane, self._desired
        if self._session.is_active and before is not None and before.plane != plane:
            # Another store, or other providers: these cannot be changed under what is under way.
            self._stop.set()
            if not self._session.wait(_HANDOVER):
                raise LockError("what is under way has not stopped yet", is_retryable=True)

        def open_parts() -> PassParts:
            self._stop = EitherEvent(self._cancel)
            return self._open_parts(plane, self._stop)

        try:
            seen = self._session.make_pass(ask, open_parts)
        except CtrlplaneError:
            self._consider(None)
            raise
        self._candidate = 0
        return seen

    def _consider(self, seen: Look | None) -> None:
        """A pass is about to begin; what was about to begin before, did not."""
        with self._lock:
            self._pending.pop(self._candidate, None)
            self._candidate = 0 if seen is None else id(seen)
            if seen is not None:
                self._pending[self._candidate] = seen.wanted.snapshot

    def _approve(self, seen: Look) -> tuple[Alert, ...]:
        """Approval by policy: everything but what a guard refuses as a whole."""
        self._told.on_look(seen)
        refusals = seen.plan.refusals
        if refusals:
            raise GuardError("; ".join(item.reason for item in refusals), hint=refusals[0].hint)
        self._remember(seen)
        self._consider(seen)
        part = seen.wanted.part
        with self._lock:
            self._drift, alerts = after_plan(
                self._drift, seen.plan, seen.desired.instances, part.instances if part else None
            )
        return alerts

    def _take_look(self, seen: Look | None, is_whole: bool, due: Collection[ResourceKey]) -> None:
        """What was seen is being done now."""
        now = self._clock.now()
        must_retry = seen is not None and seen.must_retry
        with self._lock:
            self._agenda = after_look(self._agenda, must_retry, is_whole, now, self._chance())
            # Those that fail again are put back; of the others it is not known yet.
            self._backlog = self._backlog.put_off(due, self._agenda.whole_at)
        if seen is None:
            return
        if not must_retry:
            self._follower.settle(seen.wanted)
        self._told.on_begin(seen)

    def _take_end(self, seen: Look, result: ApplyResult, at: datetime) -> None:
        """In the thread of the loop: a pass has ended."""
        now = self._clock.now()
        report = report_pass(seen, result, at, now)
        if report.outcome is PassOutcome.CANCELLED and not self._cancel.is_set():
            report = replace(report, outcome=PassOutcome.SUPERSEDED)
        newest = self._desired.instances if self._desired is not None else {}
        if any(item.instance in seen.desired.instances.keys() - newest for item in result.results):
            # Made for the first time while a commit took it away: only now is it there to go.
            report = replace(report, is_overtaken=True)
        with self._lock:
            self._backlog = after_results(
                self._backlog, result.results, seen.desired.instances, now, self._chance
            )
            self._drift = after_corrections(self._drift, seen.plan, result.results, now)
        self._tell_end(report, seen)

    def _take_failure(self, seen: Look, error: CtrlplaneError, at: datetime) -> None:
        """In the thread of the loop: nothing could be written down any more."""
        snapshot, is_whole = seen.wanted.snapshot, seen.wanted.part is None
        now = self._clock.now()
        report = report_error(error, at, now, snapshot.commit, snapshot.ref, is_whole=is_whole)
        self._tell_end(report, seen)

    def _tell_end(self, report: PassReport, seen: Look) -> None:
        with self._lock:
            self._agenda = after_end(self._agenda, report, self._clock.now(), self._chance())
            is_sooner = self._promised is not None and self._next_at() < self._promised
        self._told.on_pass(report, seen.wanted.snapshot)
        # Only now: who finds nothing pending and no report would think that no pass was needed.
        with self._lock:
            self._pending.pop(id(seen), None)
        self._told.on_end()
        if is_sooner:
            self._told.on_due()

    def _take_error(self, error: CtrlplaneError, at: datetime, *, is_whole: bool) -> str:
        """Nothing was begun."""
        now = self._clock.now()
        commit, ref = (self._tried.commit, self._tried.ref) if self._tried else ("", "")
        report = report_error(error, at, now, commit, ref, is_whole=is_whole)
        with self._lock:
            self._agenda = after_refusal(self._agenda, report, now, self._chance())
        self._told.on_pass(report, self._tried)
        return report.notes[0]

    def _read(self, is_whole: bool) -> Specs:
        return self._require(self._follower.gather() if is_whole else self._follower.follow())

    def _read_again(self, is_whole: bool) -> Callable[[], Specs]:
        """After a wait for the lease: the newest, or the last there is while none is to be had."""

        def read() -> Specs:
            with suppress(SourceError):
                self._source.refresh()
            self._tried = self._source.snapshot
            return self._read(is_whole)

        return read

    def _require(self, wanted: Wanted) -> Specs:
        """What a pass may be made from: GuardError for an emptied source, or for another control
        plane than the one that is being served; SpecError where there is no telling."""
        desired = wanted.desired
        if is_empty(wanted):
            raise GuardError(
                "there are no specs any more, so nothing is done"
                if self._desired
                else "there are no specs, so nothing is done",
                hint="to remove everything use destroy",
            )
        if desired is None:
            first = next((item.render() for item in wanted.diagnostics if item.is_error), "")
            raise SpecError(f"the control plane's own specs have errors: {first}")
        if self._desired is not None and self._desired.plane.name != desired.plane.name:
            raise GuardError(
                f"the control plane {self._desired.plane.name} is called {desired.plane.name} "
                "now, which would make everything anew beside what runs",
                hint="change the name back, or serve the new one with another process",
            )
        self._plane = desired.plane
        return wanted, desired

    def _remember(self, seen: Look) -> None:
        desired, part, before = seen.desired, seen.wanted.part, self._desired
        instances, frozen = desired.instances, desired.frozen
        if part is not None and before is not None:
            frozen = before.frozen
            kept = {
                key: item
                for key, item in before.instances.items()
                if key.tenant not in part.tenants
            }
            instances = {**kept, **instances}
        # Whatever is kept is there twice while the next pass is made.
        self._desired = DesiredState(desired.plane, {}, instances, frozen=frozen)
