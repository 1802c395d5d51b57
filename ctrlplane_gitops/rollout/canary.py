"""Canary: a growing share of the traffic for the new release, while the old one keeps all of its
replicas until the last step is over.

Source of the rules: Argo Rollouts with traffic routing (``setWeight``, ``pause``; the canary has as
many replicas as its share asks for, the stable set is not scaled down before the end), and with
analysis in the background (a failed one aborts, an inconclusive one waits for a person). Ours
beyond that: a step is not over before everything that is measured has a value.
"""

from __future__ import annotations

import math

from ctrlplane_gitops.diagnostics import Diagnostic, error
from ctrlplane_gitops.rollout.census import available_in, replicas_of
from ctrlplane_gitops.rollout.course import take_tick
from ctrlplane_gitops.rollout.step import (
    find_needed,
    fit_both,
    is_full,
    keep_shares,
    pass_step,
    reach_step,
)
from ctrlplane_gitops.rollout.traffic import Movement, Shares
from ctrlplane_gitops.rollout.view import AnalysisView, RolloutView, StepDecision
from ctrlplane_gitops.state.desired import CanaryStep, RolloutParams
from ctrlplane_gitops.state.recorded import RolloutStatus


class Canary:
    """The new release gets exactly the share of the step it is in, never more."""

    name = "canary"

    def check(self, params: RolloutParams) -> tuple[Diagnostic, ...]:
        if params.canary_steps:
            return ()
        field = ("spec", "strategy", "canary", "steps")
        return (error("no-steps", "a canary needs at least one step", field=field),)

    def next_step(self, view: RolloutView) -> StepDecision:
        return take_tick(view, _WAY)


class _Way:
    def advance(self, view: RolloutView, status: RolloutStatus) -> RolloutStatus:
        """Through the steps that are over, and into the one that is not."""
        steps = view.params.canary_steps
        while status.step < len(steps) and not is_direct(view):
            step = steps[status.step]
            status = reach_step(view, status, _is_served(view, step))
            if _find_fault(view):
                break
            if not view.wishes.is_full and not _is_over(view, status, step):
                break
            status = pass_step(view, status)
        return status

    def is_lasting(self, view: RolloutView, status: RolloutStatus) -> bool:
        is_stepping = status.step < len(view.params.canary_steps) and not is_direct(view)
        return is_stepping and status.step_at is not None

    def find_fault(self, view: RolloutView, status: RolloutStatus) -> str:
        """What was measured of it, while it goes through its steps."""
        return _find_fault(view) if status.step < len(view.params.canary_steps) else ""

    def move(self, view: RolloutView, release: int, status: RolloutStatus) -> Movement:
        steps, wanted = view.params.canary_steps, view.replicas
        if release != view.target or is_direct(view) or status.step >= len(steps):
            return _move_all(view, release)
        step = steps[status.step]
        count = count_canary(wanted, step.weight)
        is_there = len(available_in(view, replicas_of(view, release))) >= count
        is_ready = is_there and not find_needed(view)
        shares = shares_of(view, step) if is_ready else keep_shares(view)
        waits = is_ready and _is_waiting(view, status, step)
        moved = fit_both(view, release, count, is_over=False)
        return Movement(moved, shares, "promote" if waits else "")


def _move_all(view: RolloutView, release: int) -> Movement:
    """The last stretch, and every way back: all replicas, then all traffic, then the others go.
    On the way back the canary loses its share at once, for the old release never lost a replica."""
    is_whole = is_full(view, release)
    may_take = is_whole or (release != view.target and bool(replicas_of(view, release)))
    shares = {release: 100} if may_take else keep_shares(view)
    return Movement(fit_both(view, release, view.replicas, is_over=is_whole), shares)


def is_direct(view: RolloutView) -> bool:
    """Nothing to compare with, or nothing to prove: a first release, a repair, and a release that
    was live before."""
    return view.active in (None, view.target) or view.is_restoring or not view.replicas


def count_canary(replicas: int, weight: int) -> int:
    """Replicas a share needs, rounded up.

    >>> [count_canary(3, weight) for weight in (0, 10, 34, 50, 100)]
    [0, 1, 2, 2, 3]
    """
    from fractions import Fraction

    return math.ceil(Fraction(replicas * weight, 100))


def shares_of(view: RolloutView, step: CanaryStep) -> Shares:
    assert view.active is not None, "a first release goes directly"
    return {view.active: 100 - step.weight, view.target: step.weight}


def _is_served(view: RolloutView, step: CanaryStep) -> bool:
    """The canary has its replicas, and the router what the step says."""
    available = len(available_in(view, replicas_of(view, view.target)))
    if available < count_canary(view.replicas, step.weight):
        return False
    if view.traffic is None:
        return True
    wanted = {release: share for release, share in shares_of(view, step).items() if share}
    return view.traffic.is_live and dict(view.traffic.weights) == wanted


def _is_over(view: RolloutView, status: RolloutStatus, step: CanaryStep) -> bool:
    if status.step_at is None:
        return False
    if view.wishes.promoted > status.step:
        return True
    return _is_pause_over(view, status, step) and not _is_open(view, step)


def _is_pause_over(view: RolloutView, status: RolloutStatus, step: CanaryStep) -> bool:
    if status.step_at is None or step.pause is None:
        return False
    return view.now - status.step_at >= step.pause


def _is_waiting(view: RolloutView, status: RolloutStatus, step: CanaryStep) -> bool:
    """For a person: by its own pause, or because what was measured does not say how to go on."""
    if status.step_at is None:
        return False
    is_unclear = _is_judged(view, step) and _opinion(view).is_inconclusive
    return step.pause is None or (is_unclear and _is_pause_over(view, status, step))


def _is_open(view: RolloutView, step: CanaryStep) -> bool:
    """Whether the measurements do not say yet that it may go on."""
    found = _opinion(view)
    return _is_judged(view, step) and (found.is_pending or found.is_inconclusive)


def _is_judged(view: RolloutView, step: CanaryStep) -> bool:
    """Of a canary without traffic there is nothing to measure."""
    return view.params.analysis is not None and step.weight > 0


def _opinion(view: RolloutView) -> AnalysisView:
    return view.analysis or AnalysisView(is_pending=True)


def _find_fault(view: RolloutView) -> str:
    """Why what was measured aborts it, "" where it does not. Only a canary that gets requests is
    judged, and not where a person wants all of it."""
    if view.params.analysis is None or view.wishes.is_full or is_direct(view):
        return ""
    if view.traffic is not None:
        is_serving = view.traffic.weights.get(view.target, 0) > 0
    else:
        is_serving = bool(available_in(view, replicas_of(view, view.target)))
    return _opinion(view).failure if is_serving else ""


_WAY = _Way()
