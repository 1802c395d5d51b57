"""What comes before what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ctrlplane_gitops.plan.change import Work
from ctrlplane_gitops.state.key import ResourceKey, parse_address
from ctrlplane_gitops.state.recorded import RecordedResource


def order_works(
    works: Sequence[Work], recorded: Mapping[ResourceKey, RecordedResource]
) -> dict[ResourceKey, tuple[ResourceKey, ...]]:
    """For each work the instances whose works come first, sorted.

    What runs waits for what it depends on; what is removed waits for whatever depended on it by
    the record, so deletes go in reverse. Edges that would close a cycle are left out."""
    present = {work.instance for work in works}
    removed = {work.instance for work in works if work.desired is None}
    before: dict[ResourceKey, set[ResourceKey]] = {work.instance: set() for work in works}
    for work in works:
        if work.desired is not None:
            before[work.instance].update(
                key for key in work.desired.depends_on if key in present and key not in removed
            )
        if removed and (known := recorded.get(work.instance)) is not None:
            for key in _depends_on(known):
                if key in removed and key != work.instance:
                    before[key].add(work.instance)
    _drop_cycles(before)
    return {key: tuple(sorted(keys)) for key, keys in sorted(before.items())}


_AT_A_TIME = 16


def interleave(works: Sequence[Work]) -> tuple[Work, ...]:
    """A few works of each tenant, then a few more of each, and so on: whoever is begun first must
    not take all there is to be had from the others. Not one by one, for what is written down about
    one tenant stands together."""
    seen: Counter[str] = Counter()
    turns = []
    for work in works:
        turns.append(seen[work.instance.tenant] // _AT_A_TIME)
        seen[work.instance.tenant] += 1
    order = sorted(range(len(works)), key=lambda place: (turns[place], place))
    return tuple(works[place] for place in order)


def order_layers(
    dependencies: Mapping[ResourceKey, tuple[ResourceKey, ...]],
) -> tuple[tuple[ResourceKey, ...], ...]:
    """The same as layers: everything in one may be done side by side, after those before it."""
    left = {key: set(keys) for key, keys in dependencies.items()}
    layers = []
    while left:
        layer = tuple(sorted(key for key, keys in left.items() if not keys & left.keys()))
        if not layer:  # a cycle: the rest has no order
            layer = tuple(sorted(left))
        layers.append(layer)
        for key in layer:
            del left[key]
    return tuple(layers)


def _depends_on(resource: RecordedResource) -> list[ResourceKey]:
    found = []
    for text in resource.attributes.get("dependsOn") or ():
        try:
            found.append(parse_address(text))
        except (ValueError, AttributeError):
            continue  # written by another version: no order is better than no plan
    return found


def _drop_cycles(before: dict[ResourceKey, set[ResourceKey]]) -> None:
    """Kahn's algorithm; the edges left among what cannot be ordered are dropped."""
    waits = {key: len(keys) for key, keys in before.items()}
    after: dict[ResourceKey, list[ResourceKey]] = {}
    for key, keys in before.items():
        for first in keys:
            after.setdefault(first, []).append(key)
    free = [key for key, count in waits.items() if not count]
    while free:
        for key in after.get(free.pop(), ()):
            waits[key] -= 1
            if not waits[key]:
                free.append(key)
    stuck = {key for key, count in waits.items() if count}
    for key in stuck:
        before[key] -= stuck
