"""Between scaling and routing: who gets requests, and that nobody who may still get one is stopped.

The order is that of every lossless peer: new replicas available, routed, seen to be live; only then
old ones out of the table, seen to be live, drained; only then stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta

from ctrlplane_gitops.rollout.census import live_in, replicas_of
from ctrlplane_gitops.rollout.view import (
    ReplicaSetView,
    ReplicaView,
    RolloutView,
    RouteStep,
    ScaleStep,
    TrafficView,
)
from ctrlplane_gitops.value import struct

# A table that is not live yet, or a replica that is not drained yet, is looked at again soon.
SOON = timedelta(milliseconds=200)
Shares = Mapping[int, int]


@struct
class Movement:
    """What a strategy wants now. ``shares`` are in percent by release, None by the number of
    members each release has. ``waits_for`` is a decision's."""

    steps: tuple[ScaleStep, ...]
    shares: Shares | None = None
    waits_for: str = ""


@struct
class Directed:
    """Those steps that may be taken now, and the change of traffic, if any. ``is_waiting``:
    something must be seen to have happened before the rest may."""

    steps: tuple[ScaleStep, ...]
    route: RouteStep | None = None
    is_waiting: bool = False


def direct(view: RolloutView, movement: Movement) -> Directed:
    """Put the steps and the traffic of a movement into an order that loses no request."""
    traffic = view.traffic
    if traffic is None:
        return Directed(movement.steps)
    stops = {step: stopped_by(view, step) for step in movement.steps}
    gone = frozenset(name for names in stops.values() for name in names)
    route = build_route(view, traffic, movement.shares, gone)
    starts = tuple(step for step, names in stops.items() if not names)
    if route != served_by(traffic):
        return Directed(starts, route)
    if not traffic.is_live:
        return Directed(starts, is_waiting=True)
    busy = traffic.members | traffic.draining | traffic.preview
    free = tuple(step for step, names in stops.items() if names and busy.isdisjoint(names))
    is_waiting = len(starts) + len(free) < len(movement.steps)
    return Directed((*starts, *free), is_waiting=is_waiting)


def served_by(traffic: TrafficView) -> RouteStep:
    """What the router does now, in the form of a step that would change nothing."""
    weights = tuple(sorted(traffic.weights.items()))
    return RouteStep(weights, tuple(sorted(traffic.members)), tuple(sorted(traffic.preview)))


def is_routed(view: RolloutView, release: int) -> bool:
    """Every request goes to this release, to each of its live replicas, and that is live. True
    where no router is concerned."""
    if view.traffic is None:
        return True
    live = live_in(replicas_of(view, release))
    wanted = RouteStep(((release, 100),) if live else (), tuple(sorted(x.name for x in live)))
    return view.traffic.is_live and served_by(view.traffic) == wanted


def build_route(
    view: RolloutView, traffic: TrafficView, shares: Shares | None, gone: Collection[str]
) -> RouteStep:
    """The shares among those releases that have somebody to answer, and who answers: replicas that
    are available, or members that are still ready. Where nobody is, members that merely live are
    better than nobody, if need be those of a release without a share. ``gone`` are about to be
    stopped."""
    served = traffic.members | traffic.preview

    def is_fit(replica: ReplicaView) -> bool:
        is_member = replica.is_ready and replica.name in served
        return is_member or replica.is_available(view.params.min_ready, view.now)

    def is_left(replica: ReplicaView) -> bool:
        return replica.is_alive and replica.name in traffic.members

    sets = [item for item in view.sets if shares is None or shares.get(item.release)]
    members = _choose(sets, gone, is_fit) or _choose(sets, gone, is_left)
    members = members or _choose(view.sets, gone, is_left)
    parts = {release: (shares or {}).get(release) or len(names)
             for release, names in members.items()}  # fmt: skip
    names = sorted(name for found in members.values() for name in found)
    preview: list[str] = []
    if traffic.has_preview and set(members) != {view.target}:
        targets = [item for item in view.sets if item.release == view.target]
        preview = sorted(_choose(targets, gone, is_fit).get(view.target, ()))
    return RouteStep(tuple(sorted(spread(parts).items())), tuple(names), tuple(preview))


def spread(parts: Mapping[int, int]) -> dict[int, int]:
    """Parts as whole percentages that sum to 100, none of them 0; by largest remainder, of equal
    ones the lower release first.

    >>> spread({1: 2, 2: 1}), spread({1: 90, 3: 10}), spread({7: 3}), spread({})
    ({1: 67, 2: 33}, {1: 90, 3: 10}, {7: 100}, {})
    >>> spread({1: 1000, 2: 1})
    {1: 99, 2: 1}
    """
    total = sum(parts.values())
    shares = {key: max(1, part * 100 // total) for key, part in sorted(parts.items())}
    order = sorted(shares, key=lambda key: (-(parts[key] * 100 % total), key))
    for key in order:
        if sum(shares.values()) < 100:
            shares[key] += 1
    while sum(shares.values()) > 100:
        shares[max(shares, key=lambda key: (shares[key], -key))] -= 1
    return shares


def stopped_by(view: RolloutView, step: ScaleStep) -> tuple[str, ...]:
    """The live replicas that a step would stop."""
    live = live_in(replicas_of(view, step.release))
    if not step.replicas:
        return tuple(item.name for item in live)
    return tuple(item.name for item in live if item.name in step.retire)


def _choose(
    sets: Iterable[ReplicaSetView], gone: Collection[str], is_wanted: Callable[[ReplicaView], bool]
) -> dict[int, list[str]]:
    """The names of the wanted replicas by release, where there are any."""
    found = {
        item.release: [x.name for x in item.replicas if x.name not in gone and is_wanted(x)]
        for item in sets
    }
    return {release: names for release, names in found.items() if names}
