"""The course of a rollout, the same for every strategy: begin, move, turn back, end.

::

    idle | failed | rolledBack --work--> progressing --complete--> idle
                                             | failure
                                             +--> rollingBack --complete--> rolledBack
                                             |         +------- failure --> failed
                                             +--no release to return to---> failed

A strategy only says how to move: which scale steps bring the view nearer to one release.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias

from ctrlplane_gitops.rollout.census import is_complete, replicas_of
from ctrlplane_gitops.rollout.gate import POLL, find_failure, mark_progress, next_look
from ctrlplane_gitops.rollout.rollback import (
    fail,
    fail_back,
    finish_back,
    give_up,
    return_release,
)
from ctrlplane_gitops.rollout.view import RolloutView, ScaleStep, StepDecision
from ctrlplane_gitops.state.recorded import RolloutPhase, RolloutStatus

Move: TypeAlias = Callable[[RolloutView, int], tuple[ScaleStep, ...]]
_UNDER_WAY = (RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK)


def take_tick(view: RolloutView, move: Move) -> StepDecision:
    """The decision for one tick. ``move(view, release)`` gives the steps towards ``release``."""
    status, is_same = view.status, view.status.target == view.target
    if is_same and status.phase is RolloutPhase.ROLLING_BACK:
        return _take_tick_back(view, move)
    is_steady = is_same and status.phase is RolloutPhase.IDLE
    if not is_same or status.phase not in _UNDER_WAY:
        status = _begin(view)
    if is_complete(view, view.target, is_steady=is_steady):
        kept = view.status if is_steady else mark_progress(view, view.target, status)
        idle = replace(kept, phase=RolloutPhase.IDLE, message="")
        return StepDecision((), idle, is_done=True)
    status = mark_progress(view, view.target, status)
    cause = view.scale_error or find_failure(view, view.target, status)
    if cause:
        return fail(view, status, cause)
    return _decide(view, view.target, status, move)


def _take_tick_back(view: RolloutView, move: Move) -> StepDecision:
    """``scale_error`` is the target's and not looked at: the way back has deadlines of its own."""
    back = return_release(view)
    if back is None:
        return give_up(view.status, f"v{view.target} failed and there is no release to return to")
    status = mark_progress(view, back, view.status)
    if is_complete(view, back):
        return finish_back(view, status)
    cause = find_failure(view, back, status)
    if cause:
        return fail_back(view, status, cause)
    return _decide(view, back, status, move)


def _begin(view: RolloutView) -> RolloutStatus:
    return RolloutStatus(
        phase=RolloutPhase.PROGRESSING,
        target=view.target,
        previous=view.active,
        started_at=view.now,
        progress_at=view.now,
    )


def _decide(view: RolloutView, release: int, status: RolloutStatus, move: Move) -> StepDecision:
    """After a step there is something new to see at once, but what dies as soon as it is started
    is not started again without a pause."""
    steps = move(view, release)
    is_dying = any(not item.is_alive for item in replicas_of(view, release))
    if steps:
        return StepDecision(steps, status, POLL if is_dying else timedelta())
    return StepDecision((), status, next_look(view, release, status))
