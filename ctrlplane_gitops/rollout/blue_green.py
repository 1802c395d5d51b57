"""Blue-green: a whole second set beside the first, one switch of all traffic, and the old set kept
for a while so that the way back is as quick.

Names and defaults after Argo Rollouts (``autoPromotionEnabled``, ``scaleDownDelaySeconds``).
"""

from __future__ import annotations

from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.rollout.census import available_in, replicas_of
from ctrlplane_gitops.rollout.course import take_tick
from ctrlplane_gitops.rollout.step import (
    fit_both,
    is_full,
    keep_shares,
    pass_step,
    reach_step,
)
from ctrlplane_gitops.rollout.traffic import Movement, Shares, is_routed
from ctrlplane_gitops.rollout.view import RolloutView, StepDecision
from ctrlplane_gitops.state.desired import RolloutParams
from ctrlplane_gitops.state.recorded import RolloutStatus
from ctrlplane_gitops.units import format_duration

_SWITCH, _KEEP = 0, 1  # the steps: until traffic may switch, until the old set may go
_OVER = 2


class BlueGreen:
    """Every request goes to one release at a time, and each release has all of its replicas while
    it gets any."""

    name = "blueGreen"

    def check(self, params: RolloutParams) -> tuple[Diagnostic, ...]:
        return ()

    def next_step(self, view: RolloutView) -> StepDecision:
        return take_tick(view, _WAY)


class _Way:
    def advance(self, view: RolloutView, status: RolloutStatus) -> RolloutStatus:
        """Over the switch when the new set is whole and may have the traffic; over the keeping
        when it has had all of it for long enough."""
        if status.step == _SWITCH and is_full(view, view.target) and _may_switch(view):
            status = pass_step(view, status)
        if status.step == _KEEP:
            status = reach_step(view, status, is_routed(view, view.target))
            kept = max(view.params.bake_time, view.params.scale_down_delay)
            if status.step_at is not None and view.now - status.step_at >= kept:
                status = pass_step(view, status)
        return status

    def is_lasting(self, view: RolloutView, status: RolloutStatus) -> bool:
        return status.step == _KEEP and status.step_at is not None

    def find_fault(self, view: RolloutView, status: RolloutStatus) -> str:
        """A replica that stops being ready while the new release is on probation."""
        if status.step != _KEEP or status.step_at is None:
            return ""
        if view.now - status.step_at >= view.params.bake_time:
            return ""
        available = {item.name for item in available_in(view, replicas_of(view, view.target))}
        for item in replicas_of(view, view.target):
            if item.name not in available:
                cause = f": {item.reason}" if item.reason else ""
                limit = format_duration(view.params.bake_time)
                return f"v{view.target}.{item.index} did not stay healthy for {limit}{cause}"
        return ""

    def move(self, view: RolloutView, release: int, status: RolloutStatus) -> Movement:
        wanted, is_whole = view.replicas, is_full(view, release)
        if release != view.target:
            # On the way back: as soon as there is somebody to take the traffic over.
            steps = fit_both(view, release, wanted, is_over=is_whole)
            return Movement(steps, {release: 100} if is_whole else keep_shares(view))
        if status.step == _SWITCH:
            waits = is_whole and not _may_switch(view)
            steps = fit_both(view, release, wanted, is_over=False)
            return Movement(steps, keep_shares(view), "promote" if waits else "")
        is_over = status.step >= _OVER or not wanted
        # Decided is not done: who dies or is not known to be ready before the switch was seen to
        # have happened (another process decided it) is waited for like before it, and what was
        # moved by half an effect goes back to those who are whole.
        may_take = is_whole or is_over or status.step_at is not None
        shares = {release: 100} if may_take else _shares_before(view)
        return Movement(fit_both(view, release, wanted, is_over=is_over), shares)


def _shares_before(view: RolloutView) -> Shares:
    if view.active is not None and is_full(view, view.active):
        return {view.active: 100}
    return keep_shares(view)


def _may_switch(view: RolloutView) -> bool:
    wishes = view.wishes
    is_asked = wishes.is_full or wishes.promoted > _SWITCH
    return view.params.is_auto_promote or is_asked or view.active in (None, view.target)


_WAY = _Way()
