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
    """Who has the traffic now keeps it; where nobody has, the active release, else the target.
    A release that is neither has it only for as long as it is needed."""
    weights = {} if view.traffic is None else view.traffic.weights
    if find_needed(view):
        return weights
    kept = {key: share for key, share in weights.items() if key in (view.target, view.active)}
    return kept or {_heir_of(view): 100}


def find_needed(view: RolloutView) -> frozenset[int]:
    """Releases that have traffic although neither wanted nor active, which a rollout that was
    superseded leaves behind: nobody else is whole, so there is nobody to take it over yet."""
    if view.traffic is None or is_full(view, _heir_of(view)):
        return frozenset()
    return frozenset(view.traffic.weights) - {view.target, view.active}


def _heir_of(view: RolloutView) -> int:
    return view.target if view.active is None else view.active


def fit_both(
    view: RolloutView, release: int, wanted: int, *, is_over: bool
) -> tuple[ScaleStep, ...]:
    """``wanted`` replicas of a release and, until it ``is_over``, all of the active one: what dies
    of it is started again however long the rollout takes. Strays of other releases go, unless they
    are needed: then there is only room to make the active one whole again, which comes first.
    Never more than two whole sets live."""
    free = 2 * view.replicas - len(live_in(all_replicas(view.sets)))
    needed = frozenset() if is_over else find_needed(view)
    steps: list[ScaleStep] = []
    if not needed or view.active in (None, release):
        steps += fit_release(view, release, free, wanted)
    elif view.active not in {item.release for item in view.sets}:
        steps += _start_active(view, free)
    free -= sum(step.replicas - _count_live(view, step.release) for step in steps)
    kept = {view.target, view.active, *needed}
    for item in other_sets(view, release):
        if is_over or item.release not in kept:
            steps.append(ScaleStep(item.release, 0))
        elif item.release == view.active:
            live = len(live_in(item.replicas))
            count = max(live, min(view.replicas, live + max(0, free)))
            if count > live or count < len(item.replicas):
                steps.append(ScaleStep(item.release, count))
    return tuple(steps)


def _start_active(view: RolloutView, free: int) -> tuple[ScaleStep, ...]:
    count = min(view.replicas, max(0, free))
    return (ScaleStep(view.active, count),) if view.active is not None and count else ()


def _count_live(view: RolloutView, release: int) -> int:
    return len(live_in(replicas_of(view, release)))
