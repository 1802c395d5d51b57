"""Recreate: everything old stops before anything new starts. It has downtime; what must not run
twice (a database, a single writer) needs it."""

from __future__ import annotations

from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.rollout.census import other_sets
from ctrlplane_gitops.rollout.course import SimpleWay, take_tick
from ctrlplane_gitops.rollout.scale import fit_release
from ctrlplane_gitops.rollout.traffic import Movement
from ctrlplane_gitops.rollout.view import RolloutView, ScaleStep, StepDecision
from ctrlplane_gitops.state.desired import RolloutParams
from ctrlplane_gitops.state.recorded import RolloutStatus


class Recreate:
    """Replicas of two releases never serve at the same time because of a step of ours."""

    name = "recreate"

    def check(self, params: RolloutParams) -> tuple[Diagnostic, ...]:
        return ()

    def next_step(self, view: RolloutView) -> StepDecision:
        return take_tick(view, _WAY)


class _Way(SimpleWay):
    def move(self, view: RolloutView, release: int, status: RolloutStatus) -> Movement:
        return Movement(move_after_stop(view, release))


def move_after_stop(view: RolloutView, release: int) -> tuple[ScaleStep, ...]:
    """Stop the others; only when they are seen to be gone, start ``release``."""
    others = other_sets(view, release)
    if others:
        return tuple(ScaleStep(item.release, 0) for item in others)
    return fit_release(view, release, view.replicas)


_WAY = _Way()
