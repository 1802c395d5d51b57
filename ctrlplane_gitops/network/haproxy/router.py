"""HAProxy as a router of one control plane."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.network.certificate import Pem, parse_pem
from ctrlplane_gitops.network.haproxy.config import NAME, parse_config
from ctrlplane_gitops.network.haproxy.program import HaproxyProgram
from ctrlplane_gitops.network.haproxy.read import (
    Running,
    parse_counts,
    parse_in_flight,
    read_seats,
    read_table,
)
from ctrlplane_gitops.network.haproxy.render import (
    ROUTES,
    STATE,
    render_config,
    render_routes,
    render_state,
    sentinel_host,
    shape_digest,
)
from ctrlplane_gitops.network.haproxy.seat import Seats, assign_seats, count_seats
from ctrlplane_gitops.network.haproxy.shape import Shape, build_shape, covers
from ctrlplane_gitops.network.router import LiveReport, RouterSettings
from ctrlplane_gitops.network.table import fingerprint, require_sound
from ctrlplane_gitops.network.wire import SENTINEL_STATUS, knock
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import (
    Member,
    RouterCapability,
    RouterState,
    RouteTable,
    TrafficCount,
)

_POLL_S = 0.02
# A request that has chosen its set has also chosen its server long before.
_CHOICE_S = 0.02


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a table comes to."""

    shape: Shape
    seats: Seats
    addresses: Mapping[str, str]
    routes: Mapping[str, str]
    state: Mapping[str, str]
    pems: Mapping[str, Pem]


class HaproxyRouter:
    """Weights, members and hosts are changed in place by its command socket; a new route, rule or
    certificate is a reload. What it was told lies in its configuration and maps as well, so that
    one that was killed comes back with the same table. An apply that was killed is completed by
    the next, which compares with what the running process says."""

    def __init__(self, settings: RouterSettings) -> None:
        self.name = NAME
        self.capabilities = frozenset(RouterCapability)
        self._settings = settings
        self._config = parse_config(settings.options)
        home = Path(settings.state_dir).resolve() / "router" / NAME
        self._directory = str(home)
        self._program = HaproxyProgram(home, self._config, settings)

    def observe(self) -> RouterState:
        generation = self._written()
        try:
            running = self._read()
        except UnreachableError as error:
            return RouterState(generation=generation, gap=error.message)
        table, faults = read_table(running)
        is_live = bool(generation) and not self._find_missing(running, generation)
        return RouterState(table, generation, is_live and not faults, faults=faults)

    def apply(self, table: RouteTable, certificates: Mapping[ResourceKey, SecretValue]) -> str:
        require_sound(table, self._config.tls_by_name, certificates)
        generation = fingerprint(table, certificates)
        try:
            with self._program.locked():
                running = self._read() if self._program.is_running() else None
                wanted = self._build(table, certificates, generation, running)
                self._write(wanted)
                if running is not None:
                    self._change(running, wanted)
                self._program.drop_certificates(wanted.pems)
        except OSError as error:
            raise ProviderError(f"router ({NAME}): {error}", is_retryable=True) from None
        return generation

    def wait_live(self, generation: str, timeout: timedelta) -> LiveReport:
        deadline = monotonic_s() + timeout.total_seconds()
        while True:
            try:
                running = self._read()
                message = self._find_missing(running, generation)
                message = message or self._probe(running, generation)
            except UnreachableError as error:
                message = error.message
            if not message or monotonic_s() > deadline:
                return LiveReport(not message, message)
            sleep(_POLL_S)

    def count_in_flight(self, members: Collection[Member]) -> int | None:
        """Those of processes that a reload left to finish as well."""
        if not self._program.is_running():
            return None
        addresses = _resolve(member.host for member in members)
        wanted = {_join(addresses[member.host], member.port) for member in members}
        answers = self._program.socket.ask_all("show stat")
        found = [item for answer in answers for item in parse_in_flight(answer)]
        return sum(item.requests for item in found if item.address in wanted)

    def count_traffic(self) -> Mapping[tuple[ResourceKey, int], TrafficCount]:
        """Since it was started or reloaded. Seconds are until the head of the answer, and start
        over after five days in sum."""
        answer = self._program.socket.ask("show table -counts")
        return parse_counts(self._settings.plane, answer)

    def ensure_running(self) -> bool:
        return self._program.ensure_running()

    def stop(self) -> None:
        self._program.stop()

    def close(self) -> None:
        """Nothing is held."""

    def _read(self) -> Running:
        if not self._program.is_running():
            raise UnreachableError("the router does not run")
        return self._program.socket.read()

    def _written(self) -> str:
        """The generation on disk, which is written before the process is told."""
        return _generation_of(self._program.read_map(STATE))

    def _build(
        self,
        table: RouteTable,
        certificates: Mapping[ResourceKey, SecretValue],
        generation: str,
        running: Running | None,
    ) -> _Wanted:
        plane, busy = self._settings.plane, []
        before = read_seats(self._program.read_map(STATE) if running is None else running.state)
        if running is not None:
            busy = [item.server for item in parse_in_flight(self._program.socket.ask("show stat"))]
        seats = assign_seats(plane, table, before, busy)
        used = {entry.certificate for entry in table.entries if entry.certificate is not None}
        pems = {f"{key.tenant}.{key.name}.pem": parse_pem(certificates[key]) for key in used}
        digest = hashlib.blake2b(
            "".join(
                f"{key}={certificates[key].digest('router')}\n" for key in sorted(used)
            ).encode(),
            digest_size=8,
        ).hexdigest()
        shape = build_shape(
            plane, self._config.entry_points, table, count_seats(seats), digest if used else ""
        )
        loaded = self._program.read_shape()
        return _Wanted(
            loaded if loaded is not None and covers(loaded, shape) else shape,
            seats,
            _resolve(member.host for seat in seats.values() for member in seat.servers.values()),
            render_routes(plane, table),
            render_state(plane, table, seats, generation),
            pems,
        )

    def _write(self, wanted: _Wanted) -> None:
        lists = {name: list(found) for name, found in (wanted.shape.certificates or {}).items()}
        self._program.write_certificates(lists, wanted.pems)
        self._program.write_config(
            render_config(wanted.shape, wanted.seats, wanted.addresses, self._directory)
        )
        self._program.write_map(ROUTES, wanted.routes)
        self._program.write_map(STATE, wanted.state)

    def _change(self, running: Running, wanted: _Wanted) -> None:
        digest = shape_digest(wanted.shape, self._directory)
        if running.digest != digest:
            self._program.reload(digest)
            return
        self._admit(running, wanted)
        is_moved = (running.state, running.routes) != (wanted.state, wanted.routes)
        for name, now, lines in (
            (STATE, running.state, wanted.state),
            (ROUTES, running.routes, wanted.routes),
        ):
            if now != lines:
                with self._settings.effect(f"map:{name}"):
                    self._program.socket.replace_map(name, lines)
        self._dismiss(running, wanted, is_moved)

    def _admit(self, running: Running, wanted: _Wanted) -> None:
        for name, seat in sorted(wanted.seats.items()):
            for server, member in seat.servers.items():
                now = running.servers[(name, server)]
                address = wanted.addresses[member.host], member.port
                if now.is_ready and now.address == address:
                    continue
                with self._settings.effect(f"admit:{name}/{server}"):
                    self._set(
                        name,
                        server,
                        f"addr {address[0]} port {address[1]}",
                        ("IP changed", "port changed", "no need to change"),
                    )
                    self._set(name, server, "state ready")

    def _dismiss(self, running: Running, wanted: _Wanted, is_moved: bool) -> None:
        """Members that are not in the table any more get nothing new; what they have to answer
        they answer. Maintenance, for a drained server goes on with the clients that stick to it."""
        gone = [
            (name, server)
            for (name, server), now in sorted(running.servers.items())
            if now.is_ready
            and (name not in wanted.seats or server not in wanted.seats[name].servers)
        ]
        if gone and is_moved:
            sleep(_CHOICE_S)
        for name, server in gone:
            with self._settings.effect(f"dismiss:{name}/{server}"):
                self._set(name, server, "state maint")

    def _set(self, name: str, server: str, what: str, expected: tuple[str, ...] = ("",)) -> None:
        self._program.socket.order(f"set server {name}/{server} {what}", expected)

    def _find_missing(self, running: Running, generation: str) -> str:
        """Why this process does not serve that generation; empty when it does."""
        written = self._written()
        if written != generation:
            return f"generation {written or 'none'} was written since, not {generation}"
        if running.generation != generation:
            return f"the router has generation {running.generation or 'none'}, not {generation}"
        shape = self._program.read_shape()
        if shape is None or running.digest != shape_digest(shape, self._directory):
            return "the router was not reloaded yet"
        for name, seat in read_seats(running.state).items():
            for server in seat.servers:
                if not running.servers[(name, server)].is_ready:
                    return f"{name}/{server} was not admitted yet"
        return ""

    def _probe(self, running: Running, generation: str) -> str:
        name = sentinel_host(self._settings.plane, generation)
        for point in self._config.entry_points:
            try:
                # Who asks for a name it has no certificate for is not answered at all.
                status = knock(point, name, tls_name=_first_host(running, point.name))
            except UnreachableError as error:
                if point.is_tls:
                    continue
                return error.message
            if status != SENTINEL_STATUS:
                return f"entry point {point.name!r} answers {status}, so it is another router's"
        return ""


def _generation_of(state: Mapping[str, str]) -> str:
    return next((value for key, value in state.items() if key.startswith("gen|")), "")


def _first_host(running: Running, point: str) -> str | None:
    places = (place.split("/", 2) for place in sorted(running.routes))
    return next((host for name, host, _ in places if name == point), None)


def _resolve(hosts: Iterable[str]) -> dict[str, str]:
    """The IP address of each; HAProxy itself would only look names up when it starts."""
    found: dict[str, str] = {}
    for host in set(hosts):
        try:
            found[host] = str(ip_address(host))
        except ValueError:
            try:
                found[host] = str(socket.getaddrinfo(host, None)[0][4][0])
            except OSError:
                raise ProviderError(
                    f"the host {host!r} does not resolve", is_retryable=True
                ) from None
    return found


def _join(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
