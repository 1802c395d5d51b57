"""One look at every provider, side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ctrlplane_gitops.execute.observe import observe
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import EMPTY, ObservedState


def observe_all(
    providers: Mapping[str, Provider], pool: Pool, keys: Collection[ResourceKey] | None = None
) -> ObservedState:
    """What all providers show, in the order of their names: one list call each, none when nobody
    is asked about."""
    if keys is not None and not keys:
        return EMPTY
    if len(providers) == 1:
        # Without a thread: a plan for one provider starts none.
        return observe(next(iter(providers.values())), keys)
    futures = {
        name: pool.submit(lambda provider=provider: observe(provider, keys))  # type: ignore[misc]
        for name, provider in sorted(providers.items())
    }
    states: list[ObservedState] = [future.result() for future in futures.values()]
    return ObservedState(
        tuple(item for state in states for item in state.replica_sets),
        tuple(gap for state in states for gap in state.gaps),
        tuple(dict.fromkeys(text for state in states for text in state.warnings)),
    )
