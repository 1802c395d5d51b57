"""How many replicas a rollout makes where an autoscaler decides how many there are."""

from __future__ import annotations

from collections.abc import Sequence

from ctrlplane_gitops.state.desired import DesiredInstance, StrategyType
from ctrlplane_gitops.state.observed import ObservedReplicaSet

# The old release gets fewer as the new one gets more, so what it has does not tell.
_SHRINKING = (StrategyType.ROLLING, StrategyType.RECREATE)


def rollout_replicas(
    desired: DesiredInstance,
    target: int,
    active: int | None,
    noted: int,
    sets: Sequence[ObservedReplicaSet],
) -> int:
    """As many as the active release has, or had when it was last whole (``noted``, 0: not known);
    more where an autoscaler has found the new one already. Without either as many as there are of
    it, or as it begins with."""
    if not desired.replicas:
        return 0
    before = max((item.scale or 0 for item in sets if item.release == active), default=0)
    own = [item for item in sets if item.release == target]
    is_kept = desired.params.type in _SHRINKING
    known = max(noted, before) if is_kept else before or noted
    found = [item.scale or 0 for item in own if item.scaled_by or not known]
    return max(known, *found, 0) or desired.replicas
