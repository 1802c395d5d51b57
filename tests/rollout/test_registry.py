"""Strategies by type."""

import pytest

from ctrlplane_gitops.errors import CapabilityError
from ctrlplane_gitops.rollout.preview import preview_rollout
from ctrlplane_gitops.rollout.registry import strategy_for
from ctrlplane_gitops.state.desired import RolloutParams, StrategyType

LATER = (StrategyType.BLUE_GREEN, StrategyType.CANARY)


@pytest.mark.parametrize("kind", [item for item in StrategyType if item not in LATER])
def test_a_strategy_bears_the_name_of_its_type(kind: StrategyType) -> None:
    assert strategy_for(kind).name == kind


@pytest.mark.parametrize("kind", LATER)
def test_a_strategy_that_is_not_there_is_an_error_that_names_it(kind: StrategyType) -> None:
    with pytest.raises(CapabilityError, match=f"strategy {kind} is not available") as caught:
        strategy_for(kind)
    assert caught.value.hint == "available: recreate, rolling"
    assert preview_rollout(RolloutParams(type=kind), 3, True).text == str(caught.value)
