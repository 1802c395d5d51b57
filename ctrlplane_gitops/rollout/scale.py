"""The one step every strategy needs: bring a release to the wanted number of replicas."""

from __future__ import annotations

from ctrlplane_gitops.rollout.census import choose_retired, live_in, replicas_of
from ctrlplane_gitops.rollout.view import RolloutView, ScaleStep


def fit_release(view: RolloutView, release: int, free: int) -> tuple[ScaleStep, ...]:
    """At most one step: add up to ``free`` live replicas, replace dead ones, remove surplus.

    Replacing is scaling to the same number: the provider starts a dead replica in its index. A
    number below that of the replicas there would remove the dead instead."""
    replicas = replicas_of(view, release)
    live = len(live_in(replicas))
    if live < view.replicas:
        wanted = min(view.replicas, live + max(0, free))
        return (ScaleStep(release, wanted),) if wanted > live else ()
    if len(replicas) == view.replicas:
        return ()
    retired = choose_retired(view, replicas, live - view.replicas) if view.replicas else ()
    return (ScaleStep(release, view.replicas, retired),)
