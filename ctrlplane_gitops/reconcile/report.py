"""What a pass came to, in one word and one line. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from ctrlplane_gitops.diagnostics import has_errors
from ctrlplane_gitops.errors import (
    CancelledError,
    CtrlplaneError,
    GuardError,
    LockError,
    SpecError,
)
from ctrlplane_gitops.execute.part import ApplyResult, Ending
from ctrlplane_gitops.execute.step import WorkState
from ctrlplane_gitops.reconcile.held import has_bad_release, is_backing_off, is_guarded, is_kept
from ctrlplane_gitops.reconcile.look import Look
from ctrlplane_gitops.value import struct


class PassOutcome(StrEnum):
    """How a pass ended. ``waiting``: a rollout waits for promote or resume; ``partial``: some of
    it could not be done; ``refused``: by a guard, all or a part; ``invalid``: the control plane's
    own specs cannot be used; ``locked``: somebody else is at work;
    ``superseded``: a later one made something else of an instance before this one was done."""

    UNCHANGED = "unchanged"
    APPLIED = "applied"
    WAITING = "waiting"
    ROLLED_BACK = "rolledBack"
    PARTIAL = "partial"
    FAILED = "failed"
    REFUSED = "refused"
    INVALID = "invalid"
    LOCKED = "locked"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


# What a later pass may do better although nobody changes anything.
_RETRIED = frozenset({PassOutcome.FAILED, PassOutcome.LOCKED})


@struct
class PassReport:
    """``is_whole``: it was about everything. ``is_complete``: it did all it could, so what is left
    is for somebody to mend. ``must_retry``: the next one may do better, besides what failed of
    single instances. ``is_overtaken``: something moved meanwhile and has to be looked at again.
    ``parsed`` counts files, ``effects`` mutating calls, ``corrected`` instances that had drifted.
    ``notes`` say what was not done and why, a line each."""

    at: datetime
    duration: timedelta
    outcome: PassOutcome
    commit: str
    ref: str
    is_whole: bool
    is_complete: bool
    must_retry: bool
    parsed: int = 0
    effects: int = 0
    notes: tuple[str, ...] = ()
    is_overtaken: bool = False
    corrected: int = 0


def report_pass(seen: Look, result: ApplyResult, at: datetime, now: datetime) -> PassReport:
    """The report of a pass that has run to some end."""
    states = {item.state for item in result.results}
    has_failed = bool({WorkState.FAILED, WorkState.SKIPPED} & states or result.errors)
    drifted = {item.key for item in seen.plan.drift if item.is_corrected}
    snapshot = seen.wanted.snapshot
    return PassReport(
        at=at,
        duration=now - at,
        outcome=_classify(seen, result, states, has_failed),
        commit=snapshot.commit,
        ref=snapshot.ref,
        is_whole=seen.wanted.part is None,
        is_complete=result.ending is Ending.COMPLETE and not seen.is_blind,
        must_retry=(
            bool(result.errors)
            or seen.must_retry
            or result.ending in (Ending.LOST, Ending.TIMED_OUT)
        ),
        parsed=seen.wanted.parsed,
        effects=result.effects,
        notes=_notes_of(seen, result),
        is_overtaken=WorkState.OVERTAKEN in states,
        corrected=sum(
            1
            for item in result.results
            if item.state is WorkState.DONE and item.instance in drifted
        ),
    )


def report_error(
    error: CtrlplaneError, at: datetime, now: datetime, commit: str, ref: str, *, is_whole: bool
) -> PassReport:
    """The report of a pass that an error has ended."""
    outcome = next(
        (word for kind, word in _OUTCOMES if isinstance(error, kind)), PassOutcome.FAILED
    )
    return PassReport(
        at=at,
        duration=now - at,
        outcome=outcome,
        commit=commit,
        ref=ref,
        is_whole=is_whole,
        is_complete=False,
        must_retry=outcome in _RETRIED,
        notes=(error.explained,),
    )


_OUTCOMES: tuple[tuple[type[CtrlplaneError], PassOutcome], ...] = (
    (GuardError, PassOutcome.REFUSED),
    (SpecError, PassOutcome.INVALID),
    (LockError, PassOutcome.LOCKED),
    (CancelledError, PassOutcome.CANCELLED),
)


def _classify(
    seen: Look, result: ApplyResult, states: set[WorkState], has_failed: bool
) -> PassOutcome:
    """First match wins, in the order of what ``apply`` exits with."""
    plan = seen.plan
    is_some_done = not states.isdisjoint({WorkState.DONE, WorkState.STARTED, WorkState.WAITING})
    rules: tuple[tuple[bool, PassOutcome], ...] = (
        (result.ending is Ending.LOST, PassOutcome.LOCKED),
        (result.ending is Ending.CANCELLED, PassOutcome.CANCELLED),
        (WorkState.ROLLED_BACK in states, PassOutcome.ROLLED_BACK),
        (has_failed and is_some_done, PassOutcome.PARTIAL),
        (has_failed or result.ending is Ending.TIMED_OUT, PassOutcome.FAILED),
        (WorkState.SUPERSEDED in states, PassOutcome.SUPERSEDED),
        (has_bad_release(plan), PassOutcome.ROLLED_BACK),
        (WorkState.WAITING in states, PassOutcome.WAITING),
        (has_errors(seen.wanted.diagnostics), PassOutcome.PARTIAL),
        (is_backing_off(plan), PassOutcome.PARTIAL),
        (is_guarded(plan), PassOutcome.REFUSED),
        (seen.is_blind, PassOutcome.PARTIAL if is_some_done else PassOutcome.FAILED),
        (is_kept(plan), PassOutcome.PARTIAL),
        (plan.is_empty and not plan.adopted, PassOutcome.UNCHANGED),
        (states == {WorkState.UNDER_WAY}, PassOutcome.UNCHANGED),
    )
    return next((word for is_met, word in rules if is_met), PassOutcome.APPLIED)


def _notes_of(seen: Look, result: ApplyResult) -> tuple[str, ...]:
    """Each thing once: what is wrong in the specs, what did not answer, what was held back, and
    what did not succeed."""
    wrong = (item.render() for item in seen.wanted.diagnostics if item.is_error)
    silent = (f"provider {gap.provider} did not answer: {gap.reason}" for gap in seen.plan.gaps)
    held = (
        f"{item.key.address}: {item.blocked.reason}"
        for item in seen.plan.blocked
        if item.blocked is not None and item.blocked.code != "frozen"
    )
    undone = (
        f"{item.instance.address}: {item.state}: {item.message}"
        for item in result.results
        if item.state not in (WorkState.DONE, WorkState.UNDER_WAY)
    )
    errors = (error.message for error in result.errors)
    return tuple(dict.fromkeys([*wrong, *silent, *held, *undone, *errors, *result.warnings]))
