"""Strategies by type."""

from __future__ import annotations

from ctrlplane_gitops.errors import CapabilityError
from ctrlplane_gitops.rollout.recreate import Recreate
from ctrlplane_gitops.rollout.rolling import Rolling
from ctrlplane_gitops.rollout.strategy import Strategy
from ctrlplane_gitops.state.desired import StrategyType

_STRATEGIES: dict[StrategyType, Strategy] = {
    StrategyType.RECREATE: Recreate(),
    StrategyType.ROLLING: Rolling(),
}


def strategy_for(kind: StrategyType) -> Strategy:
    """The strategy of a type; CapabilityError naming one that is not available.

    >>> strategy_for(StrategyType.ROLLING).name
    'rolling'
    >>> strategy_for(StrategyType.BLUE_GREEN)
    Traceback (most recent call last):
    ...
    ctrlplane_gitops.errors.CapabilityError: strategy blueGreen is not available in this version
    """
    found = _STRATEGIES.get(kind)
    if found is None:
        raise CapabilityError(
            f"strategy {kind} is not available in this version",
            hint=f"available: {', '.join(sorted(_STRATEGIES))}",
        )
    return found
