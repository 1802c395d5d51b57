"""Strategies by type."""

from __future__ import annotations

from ctrlplane_gitops.rollout.blue_green import BlueGreen
from ctrlplane_gitops.rollout.canary import Canary
from ctrlplane_gitops.rollout.recreate import Recreate
from ctrlplane_gitops.rollout.rolling import Rolling
from ctrlplane_gitops.rollout.strategy import Strategy
from ctrlplane_gitops.state.desired import StrategyType

_STRATEGIES: dict[StrategyType, Strategy] = {
    StrategyType.RECREATE: Recreate(),
    StrategyType.ROLLING: Rolling(),
    StrategyType.BLUE_GREEN: BlueGreen(),
    StrategyType.CANARY: Canary(),
}


def strategy_for(kind: StrategyType) -> Strategy:
    """The strategy of a type.

    >>> strategy_for(StrategyType.ROLLING).name
    'rolling'
    """
    return _STRATEGIES[kind]
