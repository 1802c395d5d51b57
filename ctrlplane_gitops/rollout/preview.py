"""What a rollout will do, said before it starts."""

from __future__ import annotations

from ctrlplane_gitops.rollout.budget import budget_of
from ctrlplane_gitops.state.desired import RolloutParams, StrategyType
from ctrlplane_gitops.units import format_duration
from ctrlplane_gitops.value import struct


@struct
class RolloutPreview:
    """``most_replicas`` live at one time and ``fewest_ready`` at any time, of both releases
    together. They hold from ``replicas`` available replicas on, as long as none of those that
    were available dies or becomes unhealthy by itself, and for a rollback too. ``has_downtime``
    says that at some moment none may be ready. ``text`` is one line, ``steps`` the same in order.
    """

    steps: tuple[str, ...]
    most_replicas: int
    fewest_ready: int
    has_downtime: bool
    text: str


def preview_rollout(params: RolloutParams, replicas: int, has_active: bool) -> RolloutPreview:
    """The preview of moving to another release, or of the first one (``has_active`` False).

    >>> preview_rollout(RolloutParams(), 3, True).text
    '1 new at a time; at most 4 replicas, never fewer than 3 ready; rolls back by itself'
    >>> preview_rollout(RolloutParams(type=StrategyType.RECREATE), 2, True).text
    'all stop, then 2 start; at most 2 replicas, none ready in between; rolls back by itself'
    >>> preview_rollout(RolloutParams(), 2, False).text
    '2 start at once; if they fail they are left for inspection'
    >>> preview_rollout(RolloutParams(type=StrategyType.CANARY), 2, True).text
    'strategy canary is not available in this version'
    """
    if params.type not in (StrategyType.ROLLING, StrategyType.RECREATE):
        text = f"strategy {params.type} is not available in this version"
        return RolloutPreview((), replicas, replicas if has_active else 0, False, text)
    if not replicas:
        return RolloutPreview(("stop every replica",), 0, 0, False, "nothing is to run")
    if not has_active:
        start = (f"start {replicas}", _wait(params))
        text = f"{replicas} start at once; if they fail they are left for inspection"
        return RolloutPreview(start, replicas, 0, False, text)
    if params.type is StrategyType.RECREATE:
        return _preview_recreate(params, replicas)
    return _preview_rolling(params, replicas)


def _preview_recreate(params: RolloutParams, replicas: int) -> RolloutPreview:
    text = (
        f"all stop, then {replicas} start; at most {replicas} replicas, none ready in between; "
        f"{_failure(params)}"
    )
    steps = ("stop every replica of the old release", f"start {replicas}", _wait(params))
    return RolloutPreview(steps, replicas, 0, True, text)


def _preview_rolling(params: RolloutParams, replicas: int) -> RolloutPreview:
    budget = budget_of(params, replicas)
    # Each release has at most ``replicas``, however large the surge is.
    most = replicas + min(budget.surge, replicas)
    pace = min(replicas, budget.surge + budget.unavailable)
    ready = f"never fewer than {budget.fewest} ready" if budget.fewest else "at times none ready"
    text = f"{pace} new at a time; at most {most} replicas, {ready}; {_failure(params)}"
    first = f"start up to {min(budget.surge, replicas)} of the new release"
    early = f"stop up to {budget.unavailable} of the old release"
    last = "stop as many of the old release as are ready, and go on until all are replaced"
    steps = (
        *((first,) if budget.surge else ()),
        *((early,) if budget.unavailable else ()),
        _wait(params),
        last,
    )
    return RolloutPreview(steps, most, budget.fewest, not budget.fewest, text)


def _wait(params: RolloutParams) -> str:
    return f"wait until they are ready for {format_duration(params.min_ready)}"


def _failure(params: RolloutParams) -> str:
    return "rolls back by itself" if params.is_auto_rollback else "does not roll back by itself"
