"""How many replicas a rollout may have too many or too few, by the rules of Kubernetes.

Source: ``ResolveFenceposts`` in Kubernetes ``pkg/controller/deployment/util``.
"""

from __future__ import annotations

from ctrlplane_gitops.diagnostics import Diagnostic, error
from ctrlplane_gitops.state.desired import RolloutParams
from ctrlplane_gitops.value import struct


@struct
class Budget:
    """``most`` live replicas at one time and ``fewest`` available ones, of all releases together.
    ``surge`` and ``unavailable`` are counts, never both 0 unless nothing is to run."""

    surge: int
    unavailable: int
    most: int
    fewest: int


def budget_of(params: RolloutParams, replicas: int) -> Budget:
    """The budget for ``replicas``: the surge rounds up, the unavailable ones round down. Where
    both come out as 0 nothing could ever move, so one may be unavailable, as in Kubernetes.

    >>> budget_of(RolloutParams(), 3)
    Budget(surge=1, unavailable=0, most=4, fewest=3)
    >>> from ctrlplane_gitops.units import CountOrPercent
    >>> quarter, none = CountOrPercent(25, is_percent=True), CountOrPercent(0)
    >>> budget_of(RolloutParams(max_surge=none, max_unavailable=quarter), 8)
    Budget(surge=0, unavailable=2, most=8, fewest=6)
    >>> budget_of(RolloutParams(max_surge=none, max_unavailable=quarter), 3)
    Budget(surge=0, unavailable=1, most=3, fewest=2)
    >>> budget_of(RolloutParams(), 0)
    Budget(surge=0, unavailable=0, most=0, fewest=0)
    """
    surge = params.max_surge.of(replicas, round_up=True) if replicas else 0
    unavailable = min(replicas, params.max_unavailable.of(replicas, round_up=False))
    if replicas and not surge and not unavailable:
        unavailable = 1
    return Budget(surge, unavailable, replicas + surge, replicas - unavailable)


def check_budget(params: RolloutParams) -> tuple[Diagnostic, ...]:
    """An error when no replica may be added and none removed, whatever the number of replicas.

    >>> from ctrlplane_gitops.units import CountOrPercent
    >>> none = CountOrPercent(0)
    >>> [item.code for item in check_budget(RolloutParams(max_surge=none, max_unavailable=none))]
    ['empty-budget']
    >>> check_budget(RolloutParams())
    ()
    """
    if params.max_surge.value or params.max_unavailable.value:
        return ()
    return (
        error(
            "empty-budget",
            f"maxSurge {params.max_surge} and maxUnavailable {params.max_unavailable} "
            "leave no way to replace a replica",
            hint="set maxSurge to at least 1 (or 25%), or maxUnavailable to at least 1",
            field=("spec", "strategy"),
        ),
    )
