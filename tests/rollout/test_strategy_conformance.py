"""All strategies keep what every strategy promises."""

from datetime import timedelta

from ctrlplane_gitops.rollout.blue_green import BlueGreen
from ctrlplane_gitops.rollout.canary import Canary
from ctrlplane_gitops.rollout.conformance import StrategyConformance
from ctrlplane_gitops.rollout.recreate import Recreate
from ctrlplane_gitops.rollout.rolling import Rolling
from ctrlplane_gitops.rollout.strategy import Strategy
from ctrlplane_gitops.state.desired import CanaryStep, RolloutParams, StrategyType
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


class TestBlueGreen(StrategyConformance):
    params = RolloutParams(type=StrategyType.BLUE_GREEN)

    def make_strategy(self) -> Strategy:
        return BlueGreen()


class TestCanary(StrategyConformance):
    params = RolloutParams(
        type=StrategyType.CANARY,
        canary_steps=(CanaryStep(10, timedelta(minutes=2)), CanaryStep(50), CanaryStep(100)),
    )

    def make_strategy(self) -> Strategy:
        return Canary()
