"""One look at every provider and at the router, side by side."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from ctrlplane_gitops.execute.observe import observe
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import EMPTY, ObservedState
from ctrlplane_gitops.state.traffic import RouterState

if TYPE_CHECKING:
    from ctrlplane_gitops.network.router import Router


def observe_all(
    providers: Mapping[str, Provider],
    pool: Pool,
    keys: Collection[ResourceKey] | None = None,
    router: Router | None = None,
) -> ObservedState:
    """What all providers show, in the order of their names, and the router: one call each, none
    when nobody is asked about."""
    if keys is not None and not keys:
        return EMPTY
    if len(providers) == 1 and router is None:
        # Without a thread: a plan for one provider starts none.
        return observe(next(iter(providers.values())), keys)
    futures = [pool.submit(_look_at(provider, keys)) for _, provider in sorted(providers.items())]
    served = None if router is None else observe_router(router)
    states = [future.result() for future in futures]
    return ObservedState(
        tuple(item for state in states for item in state.replica_sets),
        tuple(gap for state in states for gap in state.gaps),
        tuple(dict.fromkeys(text for state in states for text in state.warnings)),
        served,
    )


def _look_at(
    provider: Provider, keys: Collection[ResourceKey] | None
) -> Callable[[], ObservedState]:
    return lambda: observe(provider, keys)


def observe_router(router: Router) -> RouterState:
    """An adapter that raises has a bug; what it serves is not known then."""
    try:
        return router.observe()
    except Exception as bug:
        return RouterState(gap=f"unexpected {type(bug).__name__}: {bug}")
