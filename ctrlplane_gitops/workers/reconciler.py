"""The worker that keeps what runs equal to what the source says."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from ctrlplane_gitops.clock import Clock, EitherEvent
from ctrlplane_gitops.errors import CtrlplaneError, GuardError, SourceError, SpecError
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.reconcile.follow import Follower
from ctrlplane_gitops.reconcile.gather import Wanted, is_empty
from ctrlplane_gitops.reconcile.look import Look
from ctrlplane_gitops.reconcile.report import (
    PassOutcome,
    PassReport,
    report_error,
    report_pass,
)
from ctrlplane_gitops.reconcile.run import PassParts, Specs, run_pass
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.source.latest import LatestSource, is_same
from ctrlplane_gitops.state.desired import ControlPlane, DesiredState
from ctrlplane_gitops.value import replace
from ctrlplane_gitops.workers.agenda import Agenda, after_pass
from ctrlplane_gitops.workers.worker import Ran

# Broken tenants stay as they are, the others converge.
_POLICY = Policy(is_keep_going=True)


class Reconciler:
    """Makes a pass where the source says something new, something has failed or may have drifted.
    ``run`` is for one thread, the rest for any.

    ``follower`` reads from ``source``. ``open_parts`` gives what a pass about a control plane works
    with, which the event stops. ``cancel`` stops it for good. ``on_pass`` is told of every pass,
    ``on_look`` of what it is about to do."""

    def __init__(
        self,
        source: LatestSource,
        follower: Follower,
        open_parts: Callable[[ControlPlane, threading.Event], PassParts],
        clock: Clock,
        cancel: threading.Event,
        interval: timedelta,
        on_pass: Callable[[PassReport], None],
        chance: Callable[[], float] = random.random,
        on_look: Callable[[Look], None] = lambda seen: None,
    ) -> None:
        self._source = source
        self._follower = follower
        self._open_parts = open_parts
        self._clock = clock
        self._cancel = cancel
        self._on_pass = on_pass
        self._chance = chance
        self._on_look = on_look
        self._plane: ControlPlane | None = None
        self._agenda = Agenda(interval, whole_at=clock.now())
        self._tried: Snapshot | None = None
        self._desired: DesiredState | None = None
        self._current: tuple[datetime, threading.Event] | None = None

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
        """What the pass under way, or else the last one, was made of."""
        return self._tried

    def is_behind(self) -> bool:
        """Whether the source says something that no pass has tried yet."""
        return not is_same(self._source.snapshot, self._tried)

    def yield_to_news(self) -> timedelta | None:
        """Let a pass under way be given up for something new, once it has had some time: what it
        has begun, the next one goes on with. How long it still has; None where nothing is new or
        nobody is in the way."""
        current = self._current
        if current is None or not self.is_behind():
            return None
        began, stop = current
        left = self._agenda.patience() - (self._clock.now() - began)
        if left > timedelta():
            return left
        stop.set()
        return None

    def run(self) -> Ran:
        """A pass, if there is anything to make one for."""
        agenda, now = self._agenda, self._clock.now()
        snapshot, is_whole = self._source.snapshot, now >= agenda.whole_at
        if snapshot is None:
            # Nothing can be held against anything; whoever has it wakes us.
            return Ran()
        if not (is_whole or agenda.is_retry_due(now) or self.is_behind()):
            return Ran(agenda.next_at() - now)
        report, error = self._make_pass(is_whole), ""
        if report is None:
            self._agenda = replace(agenda, retry_at=None)
        else:
            self._agenda = after_pass(agenda, report, self._clock.now(), self._chance())
            self._on_pass(report)
            error = "" if report.is_complete else "; ".join(report.notes[:1])
        return Ran(max(timedelta(), self._agenda.next_at() - self._clock.now()), error)

    def _make_pass(self, is_whole: bool) -> PassReport | None:
        """None when what has changed concerns nobody."""
        at = self._clock.now()
        # A new one each time: whoever is late in stopping the last pass does not stop this one.
        stop = EitherEvent(self._cancel)
        self._tried, self._current = self._source.snapshot, (at, stop)
        try:
            report = self._attempt(is_whole, at, stop)
        except CtrlplaneError as error:
            commit, ref = (self._tried.commit, self._tried.ref) if self._tried else ("", "")
            report = report_error(error, at, self._clock.now(), commit, ref, is_whole=is_whole)
        finally:
            self._current = None
        if report is None or report.outcome is not PassOutcome.CANCELLED or self._cancel.is_set():
            return report
        return replace(report, outcome=PassOutcome.SUPERSEDED)

    def _attempt(self, is_whole: bool, at: datetime, stop: threading.Event) -> PassReport | None:
        wanted = self._follower.gather() if is_whole else self._follower.follow()
        specs = self._require(wanted)
        self._plane = specs[1].plane
        if wanted.part is not None and not wanted.part.tenants:
            self._follower.settle(wanted)
            return None
        seen, result = run_pass(
            specs,
            lambda: self._read_again(is_whole),
            self._open_parts(specs[1].plane, stop),
            _POLICY,
            self._approve,
            widen=self._follower.widen,
        )
        report = report_pass(seen, result, at, self._clock.now())
        if not report.must_retry and report.outcome is not PassOutcome.CANCELLED:
            self._follower.settle(seen.wanted)
        return report

    def _approve(self, seen: Look) -> None:
        """Everything but what a guard refuses as a whole."""
        self._on_look(seen)
        refusals = seen.plan.refusals
        if refusals:
            raise GuardError("; ".join(item.reason for item in refusals), hint=refusals[0].hint)
        # Not only when it is done: whoever asks meanwhile is told of what is being done.
        self._remember(seen)

    def _read_again(self, is_whole: bool) -> Specs:
        """After a wait for the lease: the newest, or the last there is while none is to be had."""
        with suppress(SourceError):
            self._source.refresh()
        self._tried = self._source.snapshot
        return self._require(self._follower.gather() if is_whole else self._follower.follow())

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
