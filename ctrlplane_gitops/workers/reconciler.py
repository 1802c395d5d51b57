"""The worker that keeps what runs equal to what the source says."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

from ctrlplane_gitops.clock import Clock
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
from ctrlplane_gitops.workers.agenda import Agenda, after_look, after_pass
from ctrlplane_gitops.workers.worker import Ran

# Broken tenants stay as they are, the others converge.
_POLICY = Policy(is_keep_going=True)


class Reconciler:
    """Looks at the source, and makes a pass where something is new, has failed or may have
    drifted. For one thread; ``desired`` and ``wake`` are for any.

    ``follower`` reads from ``source``. ``open_parts`` gives what passes about a control plane work
    with; it is asked again only when the control plane itself has changed. ``on_pass`` is told of
    every pass, ``on_look`` of every look at the source with why it failed ("" where not)."""

    def __init__(
        self,
        source: LatestSource,
        follower: Follower,
        open_parts: Callable[[ControlPlane], PassParts],
        clock: Clock,
        poll: timedelta,
        interval: timedelta,
        on_pass: Callable[[PassReport], None],
        on_look: Callable[[str], None] = lambda error: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._follower = follower
        self._open_parts = open_parts
        self._clock = clock
        self._on_pass = on_pass
        self._on_look = on_look
        self._chance = chance
        self._is_woken = False
        now = clock.now()
        self._agenda = Agenda(poll, interval, poll_at=now, whole_at=now)
        self._tried: Snapshot | None = None
        self._desired: DesiredState | None = None

    @property
    def desired(self) -> DesiredState | None:
        """What the last pass that got as far went by: of ``instances`` all there are, of the rest
        what that pass was about. None before the first."""
        return self._desired

    @property
    def commit(self) -> str:
        """The commit that was tried last, "" where there is none."""
        return self._tried.commit if self._tried else ""

    def wake(self) -> None:
        """The source may say something new: look at it in the next run, due or not."""
        self._is_woken = True

    def run(self) -> Ran:
        """Whatever is due by now."""
        error = ""
        now = self._clock.now()
        if self._is_woken or now >= min(self._agenda.poll_at, self._agenda.whole_at):
            self._is_woken = False
            error = self._look()
        report = self._pass_if_due()
        if report is not None and not report.is_complete:
            error = "; ".join(report.notes[:1])
        return Ran(max(timedelta(), self._agenda.next_at() - self._clock.now()), error)

    def _look(self) -> str:
        """Have the newest snapshot; why it cannot be had. The last one stays in force then, so a
        remote that is down keeps nobody from repairing what has drifted."""
        error = ""
        try:
            self._source.refresh()
        except SourceError as failed:
            error = failed.message
        now = self._clock.now()
        self._agenda = after_look(self._agenda, not error, now, self._chance())
        self._on_look(error)
        return error

    def _pass_if_due(self) -> PassReport | None:
        snapshot, agenda, now = self._source.snapshot, self._agenda, self._clock.now()
        is_whole = now >= agenda.whole_at
        is_retried = agenda.retry_at is not None and now >= agenda.retry_at
        if snapshot is None:
            # Nothing can be held against anything; the source is what is waited for.
            self._agenda = replace(agenda, whole_at=max(agenda.whole_at, agenda.poll_at))
            return None
        if not (is_whole or is_retried) and is_same(snapshot, self._tried):
            self._tried = snapshot
            return None
        report = self._make_pass(is_whole)
        if report is None:
            return None
        self._agenda = after_pass(self._agenda, report, self._clock.now(), self._chance())
        self._on_pass(report)
        return report

    def _make_pass(self, is_whole: bool) -> PassReport | None:
        """None when what has changed concerns nobody."""
        at = self._clock.now()
        self._tried = self._source.snapshot
        try:
            wanted = self._follower.gather() if is_whole else self._follower.follow()
            specs = self._require(wanted)
            if wanted.part is not None and not wanted.part.tenants:
                self._follower.settle(wanted)
                return None
            seen, result = run_pass(
                specs,
                lambda: self._read_again(is_whole),
                self._open_parts(specs[1].plane),
                _POLICY,
                _refuse,
                widen=self._follower.widen,
            )
        except CtrlplaneError as error:
            commit, ref = (self._tried.commit, self._tried.ref) if self._tried else ("", "")
            return report_error(error, at, self._clock.now(), commit, ref, is_whole=is_whole)
        report = report_pass(seen, result, at, self._clock.now())
        if not report.must_retry and report.outcome is not PassOutcome.CANCELLED:
            self._follower.settle(seen.wanted)
        self._remember(seen)
        return report

    def _read_again(self, is_whole: bool) -> Specs:
        """After a wait for the lease."""
        self._tried = self._source.refresh()
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
        if part is not None and before is not None:
            kept = {
                key: item
                for key, item in before.instances.items()
                if key.tenant not in part.tenants
            }
            desired = replace(desired, instances={**kept, **desired.instances})
        self._desired = desired


def _refuse(seen: Look) -> None:
    """Approval by policy: everything but what a guard refuses as a whole."""
    refusals = seen.plan.refusals
    if refusals:
        raise GuardError("; ".join(item.reason for item in refusals), hint=refusals[0].hint)
