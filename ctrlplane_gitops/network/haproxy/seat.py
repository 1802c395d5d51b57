"""Who sits where: releases in sets, members in servers. Pure.

Whoever has a seat keeps it, so that a change touches only what changes. A server that still has
requests in flight is given to nobody else, for its address is how they are found. Nor is one that
is served until this very change: a request may be on its way to it that nobody has counted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field

from ctrlplane_gitops.network.haproxy.shape import SET_NAMES, sets_of, slug_of
from ctrlplane_gitops.state.traffic import Member, RouteEntry, RouteTable
from ctrlplane_gitops.value import struct


@struct
class SetSeat:
    """What a set (backend) is used for."""

    release: int
    servers: Mapping[str, Member] = field(default_factory=dict)


Seats = Mapping[str, SetSeat]
"""By backend: ``<slug>.<set>``."""


def assign_seats(
    plane: str, table: RouteTable, before: Seats, busy: Collection[tuple[str, str]]
) -> dict[str, SetSeat]:
    """``before`` are the seats now; ``busy`` are (backend, server) with requests in flight."""
    seats: dict[str, SetSeat] = {}
    for entry in table.entries:
        seats |= _assign_entry(slug_of(plane, entry), entry, before, busy)
    return seats


def _assign_entry(
    slug: str, entry: RouteEntry, before: Seats, busy: Collection[tuple[str, str]]
) -> dict[str, SetSeat]:
    names = [f"{slug}.{letter}" for letter in SET_NAMES]
    held = {before[name].release: name for name in names if name in before}
    wanted = {backend.release for backend in entry.backends}
    taken = {name for release, name in held.items() if release in wanted}
    with_requests = {name for name, _ in busy}
    # Among the sets a route always has, first those without requests; one that is served until now
    # after all others.
    usual = names[: sets_of(entry)]
    free = iter(
        sorted(
            (name for name in names if name not in taken),
            key=lambda name: (name in before, name not in usual, name in with_requests),
        )
    )
    seats: dict[str, SetSeat] = {}
    for backend in entry.backends:
        name = held[backend.release] if backend.release in held else next(free)
        earlier = before[name].servers if name in before else {}
        seats[name] = SetSeat(
            backend.release,
            _assign_servers(
                backend.members, earlier, {server for set_name, server in busy if set_name == name}
            ),
        )
    return seats


def _assign_servers(
    members: Collection[Member], earlier: Mapping[str, Member], busy: Collection[str]
) -> dict[str, Member]:
    """
    >>> a, b = Member("a", "127.0.0.1", 1), Member("b", "127.0.0.1", 2)
    >>> _assign_servers([a, b], {"s2": b}, ["s1"])["s3"].replica
    'a'
    >>> _assign_servers([a], {"s1": b}, ())
    {'s2': Member(replica='a', host='127.0.0.1', port=1)}
    """
    held = {server: member for server, member in earlier.items() if member in members}
    seated = set(held.values())
    number = 0
    for member in sorted(set(members) - seated):
        number += 1
        while f"s{number}" in held or f"s{number}" in busy or f"s{number}" in earlier:
            number += 1
        held[f"s{number}"] = member
    return dict(sorted(held.items(), key=lambda item: int(item[0][1:])))


def count_seats(seats: Seats) -> dict[str, tuple[int, int]]:
    """By slug: how many sets and servers there must be for the last ones in use to exist."""
    found: dict[str, tuple[int, int]] = {}
    for name, seat in seats.items():
        slug, _, letter = name.rpartition(".")
        sets, servers = found.get(slug, (0, 0))
        highest = max((int(server[1:]) for server in seat.servers), default=0)
        found[slug] = max(sets, SET_NAMES.index(letter) + 1), max(servers, highest)
    return found
