"""The course of a rollout, the same for every strategy: begin, move, turn back, end.

::

    idle | failed | rolledBack --work--> progressing --complete--> idle
                                             | failure
                                             +--> rollingBack --complete--> rolledBack
                                             |         +------- failure --> failed
                                             +--no release to return to---> failed

A strategy only says how to move: which scale steps and which shares of the traffic bring the view
nearer to one release. One that goes step by step also says when a step is over.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from ctrlplane_gitops.rollout.census import is_complete, replicas_of
from ctrlplane_gitops.rollout.gate import POLL, find_failure, mark_progress, next_look
from ctrlplane_gitops.rollout.rollback import (
    fail,
    fail_back,
    finish_back,
    give_up,
    return_release,
)
from ctrlplane_gitops.rollout.traffic import SOON, Movement, direct, is_routed
from ctrlplane_gitops.rollout.view import RolloutView, StepDecision
from ctrlplane_gitops.state.recorded import RolloutPhase, RolloutStatus
from ctrlplane_gitops.value import replace

_UNDER_WAY = (RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK)


class Way(Protocol):
    """How one strategy gets there. All of it is pure; ``status`` is up to date."""

    def advance(self, view: RolloutView, status: RolloutStatus) -> RolloutStatus:
        """The status with the steps that are over by now."""
        ...

    def is_lasting(self, view: RolloutView, status: RolloutStatus) -> bool:
        """Whether it is in a step that is meant to take its time."""
        ...

    def find_fault(self, view: RolloutView, status: RolloutStatus) -> str:
        """Why it has failed, besides what every strategy looks at; "" while it has not. It is
        about a release that serves, so it is turned back even when all of it is up."""
        ...

    def move(self, view: RolloutView, release: int, status: RolloutStatus) -> Movement:
        """What brings the view nearer to ``release``: the target, or the one to return to."""
        ...


class SimpleWay:
    """The way of a strategy that knows no steps."""

    def advance(self, view: RolloutView, status: RolloutStatus) -> RolloutStatus:
        return status

    def is_lasting(self, view: RolloutView, status: RolloutStatus) -> bool:
        return False

    def find_fault(self, view: RolloutView, status: RolloutStatus) -> str:
        return ""


def take_tick(view: RolloutView, way: Way) -> StepDecision:
    """The decision for one tick."""
    status, is_same = view.status, view.status.target == view.target
    if is_same and status.phase is RolloutPhase.ROLLING_BACK:
        return _take_tick_back(view, way)
    is_steady = is_same and status.phase is RolloutPhase.IDLE
    if not is_same or status.phase not in _UNDER_WAY:
        status = _begin(view)
    if _is_there(view, view.target, is_steady=is_steady):
        kept = view.status if is_steady else mark_progress(view, view.target, status)
        idle = replace(kept, phase=RolloutPhase.IDLE, message="", step=0, step_at=None)
        return StepDecision((), idle, is_done=True)
    status = mark_progress(view, view.target, _go_on(view, status))
    if view.wishes.is_aborted:
        return fail(view, status, "it was aborted", is_asked=True)
    if view.wishes.is_paused:
        return _wait_for("resume", status, POLL)
    is_lasting = way.is_lasting(view, status)
    cause = view.scale_error or find_failure(view, view.target, status, is_lasting=is_lasting)
    if cause:
        return fail(view, status, cause)
    status = way.advance(view, status)
    fault = way.find_fault(view, status)
    if fault:
        return fail(view, status, fault, is_judged=True)
    return _decide(view, view.target, status, way)


def _take_tick_back(view: RolloutView, way: Way) -> StepDecision:
    """``scale_error`` is the target's and not looked at: the way back has deadlines of its own."""
    back = return_release(view)
    if back is None:
        return give_up(view.status, f"v{view.target} failed and there is no release to return to")
    status = mark_progress(view, back, view.status)
    if _is_there(view, back):
        return finish_back(view, status)
    cause = find_failure(view, back, status)
    if cause:
        return fail_back(view, status, cause)
    return _decide(view, back, status, way)


def _is_there(view: RolloutView, release: int, *, is_steady: bool = False) -> bool:
    return is_complete(view, release, is_steady=is_steady) and is_routed(view, release)


def _begin(view: RolloutView) -> RolloutStatus:
    return RolloutStatus(
        phase=RolloutPhase.PROGRESSING,
        target=view.target,
        previous=view.active,
        started_at=view.now,
        progress_at=view.now,
    )


def _decide(view: RolloutView, release: int, status: RolloutStatus, way: Way) -> StepDecision:
    """After a step there is something new to see at once, but what dies as soon as it is started
    is not started again without a pause."""
    movement = way.move(view, release, status)
    directed = direct(view, movement)
    is_dying = any(not item.is_alive for item in replicas_of(view, release))
    if directed.steps or directed.route is not None:
        wait = POLL if is_dying and directed.steps else timedelta()
        return StepDecision(directed.steps, status, wait, route=directed.route)
    wait = next_look(view, release, status)
    if directed.is_waiting:
        return StepDecision((), status, min(wait, SOON))
    if movement.waits_for:
        return _wait_for(movement.waits_for, status, wait)
    return StepDecision((), status, wait)


def _wait_for(verb: str, status: RolloutStatus, wait: timedelta) -> StepDecision:
    """Nothing is done until a person says so. The status says it too, for whoever looks at it
    when nobody is at work."""
    return StepDecision((), replace(status, message=f"waits for {verb}"), wait, waits_for=verb)


def _go_on(view: RolloutView, status: RolloutStatus) -> RolloutStatus:
    """The time in which it waited for a person is none in which it should have got on."""
    if not status.message:
        return status
    return replace(status, message="", progress_at=view.now)
