"""What a rollout will do, said before it starts."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_never

from ctrlplane_gitops.rollout.budget import budget_of
from ctrlplane_gitops.rollout.canary import count_canary
from ctrlplane_gitops.state.desired import CanaryStep, RolloutParams, StrategyType
from ctrlplane_gitops.units import format_duration
from ctrlplane_gitops.value import replace, struct


@struct
class RolloutPreview:
    """``most_replicas`` live at one time and ``fewest_ready`` at any time, of both releases
    together. They hold from ``replicas`` available replicas on, as long as none of those that
    were available dies or becomes unhealthy by itself, and for a rollback too. ``has_downtime``
    says that at some moment none may be ready; ``is_unrouted`` that no router moves requests along,
    so whoever uses the address of a replica loses it. ``text`` is one line, ``steps`` the same in
    order."""

    steps: tuple[str, ...]
    most_replicas: int
    fewest_ready: int
    has_downtime: bool
    text: str
    is_unrouted: bool = False


def preview_rollout(
    params: RolloutParams, replicas: int, has_active: bool, *, is_unrouted: bool = False
) -> RolloutPreview:
    """The preview of moving to another release, or of the first one (``has_active`` False).
    ``is_unrouted``: it has ports, and no route leads to them.

    >>> preview_rollout(RolloutParams(), 3, True).text
    '1 new at a time; at most 4 replicas, never fewer than 3 ready; rolls back by itself'
    >>> preview_rollout(RolloutParams(type=StrategyType.RECREATE), 2, True).text
    'all stop, then 2 start; at most 2 replicas, none ready in between; rolls back by itself'
    >>> preview_rollout(RolloutParams(), 2, False).text
    '2 start at once; if they fail they are left for inspection'
    >>> preview_rollout(RolloutParams(type=StrategyType.BLUE_GREEN), 2, True).text
    '2 new, one switch, the old kept 30s; at most 4 replicas, never fewer than 2 ready; rolls back by itself'
    >>> preview_rollout(RolloutParams(type=StrategyType.CANARY), 3, True).text
    '1 canary -> 10% 2m -> 50% 2m -> 100%; at most 6 replicas, never fewer than 3 ready; rolls back by itself'
    """  # noqa: E501
    if not replicas:
        return RolloutPreview(("stop every replica",), 0, 0, False, "nothing is to run")
    if not has_active:
        start = (f"start {replicas}", _wait(params))
        text = f"{replicas} start at once; if they fail they are left for inspection"
        return RolloutPreview(start, replicas, 0, False, text)
    return replace(_preview(params, replicas), is_unrouted=is_unrouted)


def _preview(params: RolloutParams, replicas: int) -> RolloutPreview:
    match params.type:
        case StrategyType.RECREATE:
            return _preview_recreate(params, replicas)
        case StrategyType.ROLLING:
            return _preview_rolling(params, replicas)
        case StrategyType.BLUE_GREEN:
            return _preview_blue_green(params, replicas)
        case StrategyType.CANARY:
            return _preview_canary(params, replicas)
        case _:
            assert_never(params.type)


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


def _preview_blue_green(params: RolloutParams, replicas: int) -> RolloutPreview:
    kept = format_duration(max(params.scale_down_delay, params.bake_time))
    asked = "" if params.is_auto_promote else " after promote"
    text = f"{replicas} new, one switch{asked}, the old kept {kept}; {_twice(params, replicas)}"
    steps = (
        f"start {replicas} of the new release beside the old ones",
        _wait(params),
        *(() if params.is_auto_promote else ("wait for promote",)),
        "switch all traffic to the new release",
        f"keep the old release for {kept}, then stop it",
    )
    return RolloutPreview(steps, 2 * replicas, replicas, False, text)


def _preview_canary(params: RolloutParams, replicas: int) -> RolloutPreview:
    first = count_canary(replicas, params.canary_steps[0].weight)
    shares = " -> ".join(map(_name_step, params.canary_steps))
    names = [] if params.analysis is None else [f"'{x.name}'" for x in params.analysis.checks]
    judged = f", measured by {', '.join(names)}" if names else ""
    text = f"{first} canary -> {shares}{judged}; {_twice(params, replicas)}"
    steps = [f"start {first} of the new release", _wait(params)]
    for step in params.canary_steps:
        count = count_canary(replicas, step.weight)
        stay = "until promote" if step.pause is None else f"for {format_duration(step.pause)}"
        stay = f" {stay}" if step.pause != timedelta() else ""
        steps.append(f"{step.weight}% of the traffic to {count} of the new release{stay}")
    if names:
        steps.append(f"turn back at once when {' or '.join(names)} fails")
    steps.append("all traffic to the new release, then stop the old one")
    return RolloutPreview(tuple(steps), 2 * replicas, replicas, False, text)


def _name_step(step: CanaryStep) -> str:
    """
    >>> _name_step(CanaryStep(10, None)), _name_step(CanaryStep(100))
    ('10% promote', '100%')
    """
    pause = "promote" if step.pause is None else format_duration(step.pause)
    return f"{step.weight}%" if step.pause == timedelta() else f"{step.weight}% {pause}"


def _twice(params: RolloutParams, replicas: int) -> str:
    return f"at most {2 * replicas} replicas, never fewer than {replicas} ready; {_failure(params)}"


def _wait(params: RolloutParams) -> str:
    return f"wait until they are ready for {format_duration(params.min_ready)}"


def _failure(params: RolloutParams) -> str:
    return "rolls back by itself" if params.is_auto_rollback else "does not roll back by itself"
