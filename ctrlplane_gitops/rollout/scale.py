"""The one step every strategy needs: bring a release to the wanted number of replicas."""

from __future__ import annotations

from ctrlplane_gitops.rollout.census import choose_retired, live_in, replicas_of
from ctrlplane_gitops.rollout.view import RolloutView, ScaleStep


def fit_release(
    view: RolloutView, release: int, free: int, wanted: int | None = None
) -> tuple[ScaleStep, ...]:
    """At most one step: add up to ``free`` live replicas, replace dead ones, remove surplus.
    ``wanted`` is how many there should be, None for all.

    Replacing is scaling to the same number: the provider starts a dead replica in its index. A
    number below that of the replicas there would remove the dead instead."""
    replicas, most = replicas_of(view, release), view.replicas if wanted is None else wanted
    live = len(live_in(replicas))
    if live < most:
        count = min(most, live + max(0, free))
        return (ScaleStep(release, count),) if count > live else ()
    if len(replicas) == most:
        return ()
    retired = choose_retired(view, replicas, live - most) if most else ()
    return (ScaleStep(release, most, retired),)
