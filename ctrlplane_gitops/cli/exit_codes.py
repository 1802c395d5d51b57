"""Exit codes: the table of the README, and how an apply's results become one of them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

from ctrlplane_gitops.plan.change import Plan
from ctrlplane_gitops.reconcile.held import has_bad_release, is_guarded, is_kept

if TYPE_CHECKING:
    from ctrlplane_gitops.execute.part import ApplyResult


class ExitCode(IntEnum):
    """What every verb exits with. 64 to 70 follow BSD's sysexits.h."""

    OK = 0
    ERROR = 1
    CHANGES = 2
    PARTIAL = 3
    ROLLED_BACK = 4
    REFUSED = 5
    STALE = 6
    LOCKED = 7
    CANCELLED = 8
    TIMED_OUT = 9
    WAITING = 10
    USAGE = 64
    INVALID = 65
    UNREACHABLE = 69
    BUG = 70
    KILLED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "success, or nothing to do",
    ExitCode.ERROR: "error",
    ExitCode.CHANGES: "changes or drift are present (only with --detailed-exitcode)",
    ExitCode.PARTIAL: "applied in part",
    ExitCode.ROLLED_BACK: "rolled back: service healthy, the wanted version is not live",
    ExitCode.REFUSED: "refused by a guard",
    ExitCode.STALE: "the saved plan is stale",
    ExitCode.LOCKED: "lock not obtained",
    ExitCode.CANCELLED: "cancelled",
    ExitCode.TIMED_OUT: "timed out waiting",
    ExitCode.WAITING: "waiting for promote or resume",
    ExitCode.USAGE: "wrong usage",
    ExitCode.INVALID: "invalid specs",
    ExitCode.UNREACHABLE: "a provider is unreachable",
    ExitCode.BUG: "a bug in ctrlplane-gitops",
    ExitCode.KILLED: "second interrupt",
}


def exit_of_plan(plan: Plan, is_blind: bool, *, is_valid: bool, is_detailed: bool) -> ExitCode:
    """First match wins: what is wrong comes before what would change. ``is_blind``: a provider
    that matters did not answer."""
    rules: tuple[tuple[bool, ExitCode], ...] = (
        (not is_valid, ExitCode.INVALID),
        (bool(plan.refusals) or is_guarded(plan), ExitCode.REFUSED),
        (is_blind, ExitCode.UNREACHABLE),
        (is_detailed and _is_different(plan), ExitCode.CHANGES),
    )
    return next((code for is_met, code in rules if is_met), ExitCode.OK)


def exit_of_apply(plan: Plan, result: ApplyResult, is_blind: bool, *, is_valid: bool) -> ExitCode:
    """First match wins. Something failed is 3 when something else was done, else the error's own
    code; a release that is known to be bad is 4 every time, done or not."""
    # A plan needs nothing of what applies one.
    from ctrlplane_gitops.execute.part import Ending
    from ctrlplane_gitops.execute.step import WorkState

    states = [item.state for item in result.results]
    failed = [item for item in result.results if item.state is WorkState.FAILED]
    good = {WorkState.DONE, WorkState.STARTED, WorkState.WAITING}
    is_some_done = not good.isdisjoint(states)
    has_failed = bool(failed or result.errors or WorkState.SKIPPED in states)
    is_bad = has_bad_release(plan)
    rules: tuple[tuple[bool, ExitCode], ...] = (
        (result.ending is Ending.LOST, ExitCode.LOCKED),
        (result.ending is Ending.CANCELLED, ExitCode.CANCELLED),
        (result.ending is Ending.TIMED_OUT, ExitCode.TIMED_OUT),
        (WorkState.ROLLED_BACK in states, ExitCode.ROLLED_BACK),
        (has_failed and is_some_done, ExitCode.PARTIAL),
        (has_failed, _worst([*(item.error for item in failed), *result.errors])),
        (is_bad, ExitCode.ROLLED_BACK),
        (WorkState.WAITING in states, ExitCode.WAITING),
        (not is_valid, ExitCode.PARTIAL),
        (is_guarded(plan), ExitCode.REFUSED),
        (is_blind, ExitCode.PARTIAL if is_some_done else ExitCode.UNREACHABLE),
        (is_kept(plan), ExitCode.PARTIAL),
    )
    return next((code for is_met, code in rules if is_met), ExitCode.OK)


def _is_different(plan: Plan) -> bool:
    """Whether what runs is not what Git says, even where nothing would be done about it."""
    return not plan.is_empty or bool(plan.drift) or has_bad_release(plan)


def _worst(errors: Iterable[BaseException | None]) -> ExitCode:
    codes = {getattr(item, "exit_code", ExitCode.ERROR) for item in errors if item is not None}
    return ExitCode(codes.pop()) if len(codes) == 1 else ExitCode.ERROR
