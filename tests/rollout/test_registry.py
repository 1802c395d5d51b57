"""Strategies by type."""

import pytest

from ctrlplane_gitops.rollout.registry import strategy_for
from ctrlplane_gitops.state.desired import StrategyType


@pytest.mark.parametrize("kind", StrategyType)
def test_a_strategy_bears_the_name_of_its_type(kind: StrategyType) -> None:
    assert strategy_for(kind).name == kind
