"""Changing a running HAProxy in place: admit, move, dismiss; and what follows a reload."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.network.certificate import Pem
from ctrlplane_gitops.network.haproxy.read import Running, is_stopping
from ctrlplane_gitops.network.haproxy.render import ONWARD, onward_set
from ctrlplane_gitops.network.haproxy.seat import Seats
from ctrlplane_gitops.network.haproxy.shape import Shape
from ctrlplane_gitops.network.haproxy.socket import CommandSocket
from ctrlplane_gitops.network.router import RouterSettings
from ctrlplane_gitops.value import struct

READY_S = 20.0
# A request that has chosen its set has also chosen its server long before.
_CHOICE_S = 0.02
_ADDRESS_SET = ("IP changed", "port changed", "no need to change")


@struct
class Wanted:
    """What a table comes to."""

    shape: Shape
    seats: Seats
    addresses: Mapping[str, str]
    routes: Mapping[str, str]
    state: Mapping[str, str]
    pems: Mapping[str, Pem]


def change_in_place(
    commands: CommandSocket, running: Running, wanted: Wanted, settings: RouterSettings
) -> None:
    """New members get requests before the maps send any there, and the old ones lose them after:
    there is no moment without somebody to answer."""
    _admit(commands, running, wanted, settings)
    is_moved = False
    for path, now, lines in (
        (commands.place.state, running.state, wanted.state),
        (commands.place.routes, running.routes, wanted.routes),
    ):
        if now != lines:
            is_moved = True
            with settings.effect(f"map:{path.name}"):
                commands.replace_map(path, lines)
    _dismiss(commands, running, wanted, settings, is_moved=is_moved)


def hand_over(commands: CommandSocket, points: Collection[str], settings: RouterSettings) -> None:
    """After a reload, whoever ordered it: see that the processes before take no new connections,
    as both do for a moment, and hand on what comes on those they have."""
    deadline = monotonic_s() + READY_S
    while True:
        # The master's own socket is the last to be there again.
        with suppress(UnreachableError):
            old = commands.find_old()
            if all(is_stopping(it.ask("show info")) for it in old):
                break
        if monotonic_s() > deadline:
            raise ProviderError("the router before does not stop", is_retryable=True)
        sleep(0.005)
    for it in old:
        _pass_on(it, points, settings)


def _pass_on(commands: CommandSocket, points: Collection[str], settings: RouterSettings) -> None:
    """A process that a reload left to finish its requests hands new ones, which come on kept
    connections, to the process after it: its own table can only be out of date."""
    path, plane = commands.place.state, commands.place.plane
    lines = {f"{ONWARD}|{point}": onward_set(plane, point) for point in points}
    # One that was loaded before it had anything of ours has nothing to hand over.
    if not commands.is_there() or not commands.read_digest() or commands.read_map(path) == lines:
        return
    with settings.effect(f"pass-on:{commands.worker}"):
        try:
            commands.replace_map(path, lines)
        except ProviderError:
            if commands.is_there():  # else it has ended, with nothing left to hand over
                raise


def _admit(
    commands: CommandSocket, running: Running, wanted: Wanted, settings: RouterSettings
) -> None:
    for name, seat in sorted(wanted.seats.items()):
        for server, member in seat.servers.items():
            now = running.servers[(name, server)]
            address = wanted.addresses[member.host], member.port
            if now.is_ready and now.address == address:
                continue
            with settings.effect(f"admit:{name}/{server}"):
                what = f"set server {name}/{server}"
                commands.order(f"{what} addr {address[0]} port {address[1]}", _ADDRESS_SET)
                commands.order(f"{what} state ready")


def _dismiss(
    commands: CommandSocket,
    running: Running,
    wanted: Wanted,
    settings: RouterSettings,
    *,
    is_moved: bool,
) -> None:
    """Members that are not in the table any more get nothing new; what they have to answer they
    answer. Maintenance, for a drained server goes on with the clients that stick to it."""
    gone = [
        (name, server)
        for (name, server), now in sorted(running.servers.items())
        if now.is_ready and (name not in wanted.seats or server not in wanted.seats[name].servers)
    ]
    if gone and is_moved:
        sleep(_CHOICE_S)
    for name, server in gone:
        with settings.effect(f"dismiss:{name}/{server}"):
            commands.order(f"set server {name}/{server} state maint")
