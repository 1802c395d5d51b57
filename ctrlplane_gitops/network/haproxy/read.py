"""What a running HAProxy says it does, as seats and a route table. Pure."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ctrlplane_gitops.network.codec import decode_entry
from ctrlplane_gitops.network.haproxy.render import TICKS, load_map, loaded_set
from ctrlplane_gitops.network.haproxy.seat import Seats, SetSeat
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.traffic import (
    Backend,
    Member,
    RouteEntry,
    RouteTable,
    TrafficCount,
)
from ctrlplane_gitops.value import struct

_IN_MAINTENANCE = 1
_SET_DOTS = 4  # in the name of a set: plane, tenant, route, variant and its letter
_MASTER = re.compile(
    r"^\d+ +master +(?P<reloads>\d+)(?: +\[failed: (?P<failed>\d+)\])?", re.MULTILINE
)


@struct
class Server:
    """``address`` is IP and port; ``is_ready``: it gets requests (when it is healthy)."""

    address: tuple[str, int]
    is_ready: bool


@struct
class InFlight:
    """``server`` is backend and server, ``address`` as in ``127.0.0.1:80``."""

    server: tuple[str, str]
    address: str
    requests: int


Servers = Mapping[tuple[str, str], Server]
"""By backend and server."""


@struct
class Running:
    """A process, read back. ``digest`` is of the shape it was loaded with, empty for one that was
    loaded without our part."""

    digest: str
    routes: Mapping[str, str]
    state: Mapping[str, str]
    servers: Servers

    @property
    def generation(self) -> str:
        return next((value for key, value in self.state.items() if key.startswith("gen|")), "")


@struct
class Master:
    """The process before them all: how often it was reloaded, whether the last time failed, and
    the pids of the processes that serve, and of those that a reload left to finish."""

    reloads: int
    has_failed: bool
    workers: tuple[str, ...]
    old: tuple[str, ...]


def parse_master(text: str) -> Master | None:
    """From ``show proc``; None where it is nothing of the kind.

    >>> parse_master("#<PID>\\n7 master 3 [failed: 1] 1s\\n# workers\\n9 worker 1 0s\\n# programs")
    Master(reloads=3, has_failed=True, workers=('9',), old=())
    """
    found = _MASTER.search(text)
    if found is None:
        return None
    current, _, old = text.partition("# workers")[2].partition("# programs")[0].partition("# old")
    failed = found["failed"] or "0"
    return Master(int(found["reloads"]), failed != "0", _pids(current), _pids(old))


def _pids(text: str) -> tuple[str, ...]:
    return tuple(line.split()[0] for line in text.splitlines() if line[:1].isdigit())


def parse_field(info: str, name: str) -> str:
    """From ``show info``; empty when it is not there.

    >>> parse_field("Name: HAProxy\\nPid: 12\\n", "Pid")
    '12'
    """
    lines = (line.partition(": ") for line in info.splitlines())
    return next((value for key, _, value in lines if key == name), "")


def is_stopping(info: str) -> bool:
    """From ``show info``; a process that does not answer any more has stopped.

    >>> is_stopping("Stopping: 1"), is_stopping("Stopping: 0"), is_stopping("")
    (True, False, True)
    """
    return parse_field(info, "Stopping") != "0"


def parse_map(text: str) -> dict[str, str]:
    """From ``show map``: a pointer, the key and the value on each line."""
    return load_map("\n".join(line.partition(" ")[2] for line in text.splitlines() if line))


def parse_servers(plane: str, text: str) -> tuple[str, dict[tuple[str, str], Server]]:
    """From ``show servers state``, whose second line names the columns: what the process was
    loaded with (empty where it has nothing of ours), and the servers of our sets. Other backends
    are the user's, or another control plane's."""
    lines = [line for line in text.splitlines() if line]
    names = next((line[2:].split() for line in lines if line.startswith("# be_id")), [])
    found: dict[tuple[str, str], Server] = {}
    digest = ""
    for line in lines:
        values = line.split()
        if len(values) != len(names):
            continue
        row = dict(zip(names, values, strict=True))
        name = row["be_name"]
        if name == loaded_set(plane):
            digest = row["srv_name"]
        elif name.startswith(f"{plane}.") and name.count(".") == _SET_DOTS:
            found[(name, row["srv_name"])] = Server(
                (row["srv_addr"], int(row["srv_port"])),
                not int(row["srv_admin_state"]) & _IN_MAINTENANCE,
            )
    return digest, found


def parse_in_flight(stat: str) -> list[InFlight]:
    """From ``show stat``: servers with requests."""
    rows = list(csv.DictReader(stat.strip().lstrip("# ").splitlines()))
    return [
        InFlight((row["pxname"], row["svname"]), row["addr"] or "", int(row["scur"]))
        for row in rows
        if row["svname"] not in ("FRONTEND", "BACKEND") and row["scur"] not in (None, "", "0")
    ]


def parse_counts(plane: str, text: str) -> dict[tuple[ResourceKey, int], TrafficCount]:
    """From ``show table``: variants of a route are counted together."""
    found: dict[tuple[ResourceKey, int], TrafficCount] = {}
    for line in text.splitlines():
        cells = dict(cell.partition("=")[::2] for cell in line.split() if "=" in cell)
        parts = cells.get("key", "").split(".")
        if len(parts) == 5 and parts[0] == plane and parts[4][1:].isdigit():
            key = ResourceKey(Kind.ROUTE, parts[1], parts[2]), int(parts[4][1:])
            before = found.get(key, TrafficCount())
            found[key] = TrafficCount(
                before.requests + int(cells["http_req_cnt"]),
                before.errors + int(cells["http_fail_cnt"]),
                before.duration_s + int(cells["gpt0"]) / TICKS,
            )
    return found


def read_seats(state: Mapping[str, str]) -> dict[str, SetSeat]:
    """Whom the sets and servers were given to."""
    servers: dict[str, dict[str, Member]] = {}
    for key, value in state.items():
        if key.startswith("server|"):
            name, _, server = key.removeprefix("server|").partition("/")
            servers.setdefault(name, {})[server] = Member(*json.loads(value))
    return {
        key.removeprefix("release|"): SetSeat(
            int(value.rpartition(".v")[2]), servers.get(key.removeprefix("release|"), {})
        )
        for key, value in state.items()
        if key.startswith("release|")
    }


def read_table(running: Running) -> tuple[RouteTable, tuple[str, ...]]:
    """What is really served: routes by the map, shares by the slots, members by the servers that
    get requests. And the faults: notes that cannot be read."""
    seats = read_seats(running.state)
    places: dict[str, list[str]] = {}
    for place, slug in running.routes.items():
        places.setdefault(slug, []).append(place)
    entries: list[RouteEntry] = []
    faults: list[str] = []
    for slug in sorted(places):
        try:
            note = json.loads(running.state[f"note|{slug}"])
            entries.append(_read_entry(slug, note, places[slug], seats, running))
        except (KeyError, ValueError, TypeError):
            faults.append(f"{slug}: what is served of it is not as we write it")
    entries.sort(key=lambda item: (item.key, item.variant))
    return RouteTable(tuple(entries)), tuple(faults)


def _read_entry(
    slug: str, note: Mapping[str, Any], places: list[str], seats: Seats, running: Running
) -> RouteEntry:
    points, hosts, paths = zip(*(place.split("/", 2) for place in places), strict=True)
    shares = [running.state[slug]] * 100 if slug in running.state else []
    shares += [running.state.get(f"{slug}:{slot}", "") for slot in range(100)]
    backends = []
    for name, seat in seats.items():
        if name.rpartition(".")[0] == slug:
            members = [
                member
                for server, member in seat.servers.items()
                if (server_now := running.servers.get((name, server)))
                and server_now.is_ready
                and server_now.address[1] == member.port
            ]
            backends.append(Backend(seat.release, shares.count(name), tuple(sorted(members))))
    return replace(
        decode_entry(note),
        entry_point=points[0],
        hosts=tuple(sorted(hosts)),
        path=f"/{paths[0].rstrip('/')}",
        backends=tuple(sorted(backends, key=lambda item: item.release)),
    )
