"""Rolling: new replicas come as old ones go, within a budget of too many and too few.

Source of the rules: Kubernetes ``pkg/controller/deployment/rolling.go``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.rollout.budget import Budget, budget_of, check_budget
from ctrlplane_gitops.rollout.census import (
    all_replicas,
    available_in,
    choose_retired,
    live_in,
    other_sets,
    replicas_of,
)
from ctrlplane_gitops.rollout.course import SimpleWay, take_tick
from ctrlplane_gitops.rollout.scale import fit_release
from ctrlplane_gitops.rollout.traffic import Movement
from ctrlplane_gitops.rollout.view import ReplicaSetView, RolloutView, ScaleStep, StepDecision
from ctrlplane_gitops.state.desired import RolloutParams
from ctrlplane_gitops.state.recorded import RolloutStatus


class Rolling:
    """Never more live replicas than the surge allows, never fewer available ones than wanted
    because of a step of ours."""

    name = "rolling"

    def check(self, params: RolloutParams) -> tuple[Diagnostic, ...]:
        return check_budget(params)

    def next_step(self, view: RolloutView) -> StepDecision:
        return take_tick(view, _WAY)


class _Way(SimpleWay):
    def move(self, view: RolloutView, release: int, status: RolloutStatus) -> Movement:
        return Movement(move_by_budget(view, release))


def move_by_budget(view: RolloutView, release: int) -> tuple[ScaleStep, ...]:
    """Additions and removals are each decided from what is there now, so the bounds hold in
    whatever order, and however far, the steps are performed."""
    budget = budget_of(view.params, view.replicas)
    free = budget.most - len(live_in(all_replicas(view.sets)))
    return (*fit_release(view, release, free), *_shrink_others(view, release, budget))


def _shrink_others(view: RolloutView, release: int, budget: Budget) -> tuple[ScaleStep, ...]:
    """Remove as many old replicas as the available new ones make up for.

    Unready ones go first and cost nothing now, but no more of them than may be missing at all:
    they may become ready again, the new ones may never."""
    others, target = other_sets(view, release), replicas_of(view, release)
    is_replaced = len(available_in(view, target)) >= view.replicas
    old = live_in(all_replicas(others))
    available = len(available_in(view, target)) + len(available_in(view, old))
    unready = len(old) - len(available_in(view, old))
    room = len(old) + len(available_in(view, target)) - budget.fewest
    spare = min(unready, max(0, room)) + max(0, available - budget.fewest)
    gone = _choose_old(view, others, spare)
    steps: list[ScaleStep] = []
    for item in others:
        live = len(live_in(item.replicas))
        retired = tuple(name for owner, name in gone if owner == item.release)
        if len(retired) == live and (live or is_replaced):
            steps.append(ScaleStep(item.release, 0))
        elif retired:
            steps.append(ScaleStep(item.release, live - len(retired), retired))
    return tuple(steps)


def _choose_old(
    view: RolloutView, others: Sequence[ReplicaSetView], count: int
) -> list[tuple[int, str]]:
    """``count`` live replicas as (release, name): over all sets those that are not available,
    then set by set."""
    names = [
        (item.release, name)
        for item in others
        for name in choose_retired(view, item.replicas, len(item.replicas))
    ]
    available = {replica.name for replica in available_in(view, all_replicas(others))}
    return sorted(names, key=lambda pair: pair[1] in available)[:count]


_WAY = _Way()
