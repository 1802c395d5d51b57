"""Both strategies keep what every strategy promises."""

from datetime import timedelta

from ctrlplane_gitops.rollout.conformance import StrategyConformance
from ctrlplane_gitops.rollout.recreate import Recreate
from ctrlplane_gitops.rollout.rolling import Rolling
from ctrlplane_gitops.rollout.strategy import Strategy
from ctrlplane_gitops.state.desired import RolloutParams, StrategyType
from ctrlplane_gitops.units import CountOrPercent


class TestRolling(StrategyConformance):
    def make_strategy(self) -> Strategy:
        return Rolling()


class TestRollingWithoutSurge(StrategyConformance):
    params = RolloutParams(max_surge=CountOrPercent(0), max_unavailable=CountOrPercent(1))

    def make_strategy(self) -> Strategy:
        return Rolling()


class TestRollingAllAtOnce(StrategyConformance):
    whole = CountOrPercent(100, is_percent=True)
    params = RolloutParams(min_ready=timedelta(), max_surge=whole, max_unavailable=whole)

    def make_strategy(self) -> Strategy:
        return Rolling()


class TestRecreate(StrategyConformance):
    params = RolloutParams(type=StrategyType.RECREATE)

    def make_strategy(self) -> Strategy:
        return Recreate()
