"""Who gets which requests: routes, the replica sets behind them, and the replicas in each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.value import ordered_struct, struct


@ordered_struct
class Member:
    """One replica that may be sent requests, and where it answers."""

    replica: str
    host: str
    port: int


@struct
class Backend:
    """The members of one replica set, sorted, and the share of requests they get together, in
    percent. Within a set everybody gets the same."""

    release: int
    weight: int
    members: tuple[Member, ...] = ()


@struct
class HeaderRule:
    """Requests with this header go to one release, whatever the weights."""

    name: str
    value: str
    release: int


@struct
class RouteHealth:
    """How the router itself finds out that a member is down between two passes: an HTTP path."""

    path: str
    interval: timedelta
    timeout: timedelta


@struct
class RouteEntry:
    """One route as a router serves it. ``hosts`` are lower case and sorted; ``path`` is ``/`` or a
    prefix without a slash at its end, matched at path boundaries (``/api`` matches ``/api`` and
    ``/api/x`` but not ``/apis``). ``backends`` are sorted by release; their weights sum to 100.
    ``variant`` tells the entries of one route apart (``preview``). ``certificate`` is a secret of
    type tls. A backend with weight and no member answers 503: no other set takes its share."""

    key: ResourceKey
    instance: ResourceKey
    hosts: tuple[str, ...]
    path: str
    backends: tuple[Backend, ...]
    entry_point: str = "web"
    strip_prefix: bool = False
    certificate: ResourceKey | None = None
    is_sticky: bool = False
    header: HeaderRule | None = None
    health: RouteHealth | None = None
    variant: str = ""


@struct
class RouteTable:
    """Everything a router serves for one control plane, sorted by key and variant."""

    entries: tuple[RouteEntry, ...] = ()

    def by_instance(self) -> Mapping[ResourceKey, tuple[RouteEntry, ...]]:
        """Entries by the instance they lead to, each tuple in the order of the table."""
        found: dict[ResourceKey, list[RouteEntry]] = {}
        for entry in self.entries:
            found.setdefault(entry.instance, []).append(entry)
        return {key: tuple(entries) for key, entries in found.items()}


class RouterCapability(StrEnum):
    """``hitless``: a change loses no request. ``observable-drain``: it tells how many requests
    are in flight to a member that was taken out. ``instant``: a change is live when ``apply``
    returns. ``counts``: it tells requests, errors and latency by release. ``sticky``: it keeps a
    client with a replica. ``certificates``: it shows those it is told. ``retry``: what cannot
    reach a member reaches another, also before anybody has seen that the member is down."""

    HITLESS = "hitless"
    OBSERVABLE_DRAIN = "observable-drain"
    INSTANT = "instant"
    COUNTS = "counts"
    STICKY = "sticky"
    CERTIFICATES = "certificates"
    RETRY = "retry"


@struct
class RouterState:
    """What a router serves now, read back from it. ``gap`` says why it cannot be known (it does
    not run, does not answer): unknown is not empty. ``is_stopped``: it does not run and is ours to
    start. ``generation`` names the table last written; ``is_live`` says that it is what is served.
    ``faults`` are entries the router refused, by address. ``warnings`` are honest notes.
    ``is_lasting``: it runs whether anything is routed or not, and is nobody's to stop."""

    table: RouteTable = RouteTable()
    generation: str = ""
    is_live: bool = False
    gap: str | None = None
    is_stopped: bool = False
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_lasting: bool = False


@struct
class TrafficCount:
    """Since the router started: answered requests of one release, those answered 5xx or not at
    all, and the seconds they took in sum."""

    requests: int = 0
    errors: int = 0
    duration_s: float = 0.0
