"""What the strategies that go step by step have in common."""

from __future__ import annotations

from ctrlplane_gitops.rollout.census import (
    all_replicas,
    available_in,
    live_in,
    other_sets,
    replicas_of,
)
from ctrlplane_gitops.rollout.scale import fit_release
from ctrlplane_gitops.rollout.traffic import Shares
from ctrlplane_gitops.rollout.view import RolloutView, ScaleStep
from ctrlplane_gitops.state.recorded import RolloutStatus
from ctrlplane_gitops.value import replace


def reach_step(view: RolloutView, status: RolloutStatus, is_reached: bool) -> RolloutStatus:
    """The present step is what is served: its time counts from the first time that was seen."""
    if not is_reached or status.step_at is not None:
        return status
    return replace(status, step_at=view.now)


def pass_step(view: RolloutView, status: RolloutStatus) -> RolloutStatus:
    """The present step is over, which is progress."""
    return replace(status, step=status.step + 1, step_at=None, progress_at=view.now)


def is_full(view: RolloutView, release: int) -> bool:
    """As many replicas as are wanted are available."""
    return len(available_in(view, replicas_of(view, release))) >= view.replicas


def keep_shares(view: RolloutView) -> Shares:
    """Who has the traffic now keeps it; where nobody has, or only who was overtaken, the active
    release, else the target."""
    if view.traffic is not None and view.traffic.weights:
        is_ours = not view.traffic.weights.keys().isdisjoint((view.target, view.active))
        if is_ours or is_carried(view):
            return view.traffic.weights
    return {_taker(view): 100}


def is_carried(view: RolloutView) -> bool:
    """All of the traffic is with releases that were overtaken in the middle, and the one that is to
    take it over is not whole: they must not go before it is."""
    weights = view.traffic.weights if view.traffic is not None else {}
    is_strays = bool(weights) and weights.keys().isdisjoint((view.target, view.active))
    return is_strays and not is_full(view, _taker(view))


def _taker(view: RolloutView) -> int:
    return view.target if view.active is None else view.active


def fit_both(
    view: RolloutView, release: int, wanted: int, *, is_over: bool
) -> tuple[ScaleStep, ...]:
    """``wanted`` replicas of a release and, until it ``is_over``, all of the active one: what dies
    of it is started again however long the rollout takes. Strays of other releases go. Never more
    than two whole sets live. While the traffic ``is_carried`` by strays, nothing comes before the
    release that takes it over."""
    free = 2 * view.replicas - len(live_in(all_replicas(view.sets)))
    if is_carried(view):
        taker = _taker(view)
        live = _count_live(view, taker)
        count = min(view.replicas, live + max(0, free))
        return (ScaleStep(taker, count),) if count > live else ()
    steps = list(fit_release(view, release, free, wanted))
    free -= sum(step.replicas - _count_live(view, step.release) for step in steps)
    for item in other_sets(view, release):
        if is_over or item.release not in (view.target, view.active):
            steps.append(ScaleStep(item.release, 0))
        elif item.release == view.active:
            live = len(live_in(item.replicas))
            count = max(live, min(view.replicas, live + max(0, free)))
            if count > live or count < len(item.replicas):
                steps.append(ScaleStep(item.release, count))
    return tuple(steps)


def _count_live(view: RolloutView, release: int) -> int:
    return len(live_in(replicas_of(view, release)))
