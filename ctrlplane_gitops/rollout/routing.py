"""From who is to get which requests to the entries of a route table, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ctrlplane_gitops.rollout.view import RouteStep
from ctrlplane_gitops.state.desired import DesiredRoute
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import Endpoint, ObservedReplicaSet
from ctrlplane_gitops.state.traffic import Backend, HeaderRule, Member, RouteEntry
from ctrlplane_gitops.value import replace, struct

PREVIEW = "preview"
# A table's entry always has a backend; this one says that there is nobody.
_NOBODY = (Backend(0, 100),)


@struct
class Place:
    """Where one replica answers, by port."""

    release: int
    endpoints: Mapping[str, Endpoint]

    def member(self, name: str, port: str) -> Member | None:
        found = self.endpoints.get(port)
        return None if found is None else Member(name, found.host, found.number)


def places_of(sets: Iterable[ObservedReplicaSet]) -> dict[str, Place]:
    """Live replicas by name."""
    return {
        replica.name: Place(item.release, {it.port: it for it in replica.endpoints})
        for item in sets
        for replica in item.live
    }


def steady_step(release: int, sets: Iterable[ObservedReplicaSet]) -> RouteStep:
    """How requests are shared when nothing is being rolled out: all to the live replicas of one
    release."""
    names = sorted(
        replica.name for item in sets if item.release == release for replica in item.live
    )
    return RouteStep(((release, 100),) if names else (), tuple(names))


def build_entries(
    instance: ResourceKey,
    routes: Sequence[DesiredRoute],
    step: RouteStep,
    places: Mapping[str, Place],
) -> tuple[RouteEntry, ...]:
    """The entries of an instance's routes, sorted as in a table. A replica that does not offer a
    route's port is no member there; who is not in ``places`` is none anywhere."""
    entries = []
    for route in routes:
        shared = _backends(step.weights, step.members, route.port, places)
        asked = _preview(step, route.port, places)
        entries.append(_main_entry(instance, route, shared, asked))
        if route.preview_hosts:
            backends = (Backend(asked.release, 100, asked.members),) if asked else shared
            entries.append(_entry(instance, route, backends, route.preview_hosts, PREVIEW))
    return tuple(sorted(entries, key=lambda item: (item.key, item.variant)))


def follow_entry(entry: RouteEntry, step: RouteStep, places: Mapping[str, Place]) -> RouteEntry:
    """An entry whose route is not known any more, with the requests shared as in ``step``. Its port
    is the one its members have; where none of them lives, the first that is offered."""
    members = {item for backend in entry.backends for item in backend.members}
    offered = [(name, port) for name, place in sorted(places.items()) for port in place.endpoints]
    ports = [port for name, port in offered if places[name].member(name, port) in members]
    port = next(iter(ports), next((port for _, port in offered), ""))
    backends = _backends(step.weights, step.members, port, places)
    return replace(entry, backends=backends, header=None)


def read_step(entries: Iterable[RouteEntry]) -> RouteStep:
    """How the requests of one instance are shared by its entries: as the first says that has
    anybody to answer."""
    found = tuple(entries)
    mains = [item for item in found if not item.variant and any(it.members for it in item.backends)]
    if not mains:
        return RouteStep((), ())
    shared = [item for item in mains[0].backends if item.weight and item.members]
    names = sorted(member.replica for item in shared for member in item.members)
    preview = next(filter(None, (_read_preview(item, mains[0]) for item in found)), ())
    return RouteStep(tuple((it.release, it.weight) for it in shared), tuple(names), preview)


def _backends(
    weights: Sequence[tuple[int, int]],
    names: Iterable[str],
    port: str,
    places: Mapping[str, Place],
) -> tuple[Backend, ...]:
    members: dict[int, list[Member]] = {release: [] for release, _ in weights}
    for name in names:
        place = places.get(name)
        found = place.member(name, port) if place else None
        if place is not None and found is not None and place.release in members:
            members[place.release].append(found)
    backends = [Backend(it, share, tuple(sorted(members[it]))) for it, share in weights]
    return tuple(backends) or _NOBODY


def _preview(step: RouteStep, port: str, places: Mapping[str, Place]) -> Backend | None:
    """Those who get the requests that ask for the new release, as a backend without a share."""
    found = [(places[name].release, places[name].member(name, port))
             for name in step.preview if name in places]  # fmt: skip
    members = sorted(member for _, member in found if member is not None)
    return Backend(found[0][0], 0, tuple(members)) if members else None


def _main_entry(
    instance: ResourceKey, route: DesiredRoute, shared: tuple[Backend, ...], asked: Backend | None
) -> RouteEntry:
    if route.canary_header is None or asked is None:
        return _entry(instance, route, shared, route.hosts)
    is_there = any(item.release == asked.release for item in shared)
    backends = shared if is_there else tuple(sorted((*shared, asked), key=_by_release))
    rule = HeaderRule(*route.canary_header, asked.release)
    return _entry(instance, route, backends, route.hosts, header=rule)


def _entry(
    instance: ResourceKey,
    route: DesiredRoute,
    backends: tuple[Backend, ...],
    hosts: tuple[str, ...],
    variant: str = "",
    header: HeaderRule | None = None,
) -> RouteEntry:
    return RouteEntry(
        route.key,
        instance,
        hosts,
        route.path,
        backends,
        route.entry_point,
        route.strip_prefix,
        route.certificate,
        route.is_sticky,
        header,
        route.health,
        variant,
    )


def _read_preview(entry: RouteEntry, main: RouteEntry) -> tuple[str, ...]:
    if entry.variant == PREVIEW and entry.backends != main.backends:
        asked = [item for item in entry.backends if item.weight]
    elif entry.header is not None:
        asked = [item for item in entry.backends if item.release == entry.header.release]
    else:
        return ()
    return tuple(sorted(member.replica for item in asked for member in item.members))


def _by_release(backend: Backend) -> int:
    return backend.release
