"""Counting replicas: what is live, what is available, and which to give up first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ctrlplane_gitops.rollout.view import ReplicaSetView, ReplicaView, RolloutView


def replicas_of(view: RolloutView, release: int) -> tuple[ReplicaView, ...]:
    """All replicas of a release, dead ones too; empty when there is no such set."""
    found = view.set_of(release)
    return found.replicas if found is not None else ()


def other_sets(view: RolloutView, release: int) -> tuple[ReplicaSetView, ...]:
    """The sets of other releases that have a replica, dead or not, in the order in which they are
    given up: the recorded active one last, older ones first."""
    found = (item for item in view.sets if item.release != release and item.replicas)
    return tuple(sorted(found, key=lambda item: (item.release == view.active, item.release)))


def live_in(replicas: Iterable[ReplicaView]) -> list[ReplicaView]:
    return [item for item in replicas if item.is_alive]


def available_in(view: RolloutView, replicas: Iterable[ReplicaView]) -> list[ReplicaView]:
    """Those ready for at least ``min_ready``."""
    return [item for item in replicas if item.is_available(view.params.min_ready, view.now)]


def all_replicas(sets: Iterable[ReplicaSetView]) -> list[ReplicaView]:
    return [replica for item in sets for replica in item.replicas]


def choose_retired(
    view: RolloutView, replicas: Sequence[ReplicaView], count: int
) -> tuple[str, ...]:
    """The names of the ``count`` live replicas whose loss costs least: those on their way out,
    then unready ones, then ready ones that are not available yet, then the highest index."""

    draining = view.traffic.draining if view.traffic is not None else frozenset()

    def cost(item: ReplicaView) -> tuple[bool, bool, bool, int]:
        is_available = item.is_available(view.params.min_ready, view.now)
        return (item.name not in draining, is_available, item.is_ready, -item.index)

    return tuple(item.name for item in sorted(live_in(replicas), key=cost)[:count])


def is_complete(view: RolloutView, release: int, *, is_steady: bool = False) -> bool:
    """The release has exactly ``replicas`` replicas, all available, and there is no other one.
    With ``is_steady`` readiness is enough: nothing was moved, so nothing has to prove itself."""
    replicas = replicas_of(view, release)
    if len(replicas) != view.replicas or other_sets(view, release):
        return False
    good = [item for item in replicas if item.is_ready]
    return len(good if is_steady else available_in(view, replicas)) == view.replicas
