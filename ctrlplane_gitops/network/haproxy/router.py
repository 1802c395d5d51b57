"""HAProxy as a router of one control plane."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.network.certificate import complete_certificates, parse_pem
from ctrlplane_gitops.network.haproxy.change import Wanted, change_in_place, hand_over
from ctrlplane_gitops.network.haproxy.config import NAME, parse_config
from ctrlplane_gitops.network.haproxy.own import OwnHaproxy
from ctrlplane_gitops.network.haproxy.program import HaproxyProgram
from ctrlplane_gitops.network.haproxy.read import (
    InFlight,
    Running,
    parse_counts,
    parse_in_flight,
    read_seats,
    read_table,
)
from ctrlplane_gitops.network.haproxy.render import (
    counts_table,
    render_config,
    render_routes,
    render_state,
    sentinel_host,
    shape_digest,
)
from ctrlplane_gitops.network.haproxy.seat import assign_seats, count_seats
from ctrlplane_gitops.network.haproxy.shape import build_shape, covers, pem_file
from ctrlplane_gitops.network.router import NOT_RUNNING, LiveReport, RouterSettings
from ctrlplane_gitops.network.table import fingerprint, require_sound
from ctrlplane_gitops.network.wire import SENTINEL_STATUS, is_taken, knock
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
        own = self._config.own
        self._program = (
            HaproxyProgram(home, self._config, settings)
            if own is None
            else OwnHaproxy(home, self._config, own, settings)
        )
        self._files, self._place = self._program.files, self._program.files.place

    def observe(self) -> RouterState:
        generation = self._written()
        try:
            running = self._read()
        except UnreachableError as error:
            is_stopped = self._program.is_ours and not self._program.is_running()
            return RouterState(generation=generation, gap=error.message, is_stopped=is_stopped)
        table, faults = read_table(running)
        is_live = bool(generation) and not self._find_missing(running, generation)
        return RouterState(table, generation, is_live and not faults, faults=faults)

    def apply(self, table: RouteTable, certificates: Mapping[ResourceKey, SecretValue]) -> str:
        certificates = complete_certificates(table, certificates, self._files.read_certificate)
        require_sound(table, self._config.tls_by_name, certificates)
        generation = fingerprint(table, certificates)
        try:
            with self._program.locked():
                running = self._read_to_change()
                wanted = self._build(table, certificates, generation, running)
                if running is not None:
                    self._require_free(running)
                self._tell(wanted, running)
                self._files.drop_certificates(wanted.pems)
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
        return sum(item.requests for item in self._in_flight() if item.address in wanted)

    def count_traffic(self) -> Mapping[tuple[ResourceKey, int], TrafficCount]:
        """Since it was started or reloaded. Seconds are until the head of the answer, and start
        over after five days in sum."""
        answer = self._program.socket.ask(f"show table {counts_table(self._settings.plane)}")
        return parse_counts(self._settings.plane, answer)

    def ensure_running(self) -> bool:
        return self._program.ensure_running()

    def stop(self) -> None:
        self._program.stop()

    def close(self) -> None:
        """Nothing is held."""

    def _read(self) -> Running:
        if self._program.is_ours and not self._program.is_running():
            raise UnreachableError(NOT_RUNNING)
        return self._program.socket.read()

    def _read_to_change(self) -> Running | None:
        """None for one of ours that does not run: it is told by what it is started with."""
        if self._program.is_ours and not self._program.is_running():
            return None
        return self._program.socket.read()

    def _in_flight(self) -> list[InFlight]:
        """Also of processes that a reload left to finish."""
        answers = self._program.socket.ask_all("show stat")
        return [item for answer in answers for item in parse_in_flight(answer)]

    def _written(self) -> str:
        """The generation on disk, which is written before the process is told."""
        return _generation_of(self._files.read_state())

    def _build(
        self,
        table: RouteTable,
        certificates: Mapping[ResourceKey, SecretValue],
        generation: str,
        running: Running | None,
    ) -> Wanted:
        plane = self._settings.plane
        before = read_seats(self._files.read_state() if running is None else running.state)
        busy = [] if running is None else [item.server for item in self._in_flight()]
        seats = assign_seats(plane, table, before, busy)
        used = {entry.certificate for entry in table.entries if entry.certificate is not None}
        pems = {pem_file(key): parse_pem(certificates[key]) for key in used}
        digest = hashlib.blake2b(
            "".join(
                f"{key}={certificates[key].digest('router')}\n" for key in sorted(used)
            ).encode(),
            digest_size=8,
        ).hexdigest()
        shape = build_shape(
            plane, self._config.entry_points, table, count_seats(seats), digest if used else ""
        )
        loaded = self._files.read_shape()
        return Wanted(
            loaded if loaded is not None and covers(loaded, shape) else shape,
            seats,
            _resolve(member.host for seat in seats.values() for member in seat.servers.values()),
            render_routes(plane, table),
            render_state(plane, table, seats, generation),
            pems,
        )

    def _require_free(self, running: Running) -> None:
        """ProviderError for a new entry point where somebody listens. HAProxy would try to have it,
        and let nobody connect anywhere meanwhile; where that somebody is itself, a frontend of the
        user's, it would succeed and deal the connections out among both."""
        shape = self._files.read_shape()
        has_ours = bool(running.digest)
        if has_ours and (shape is None or shape_digest(shape, self._place) != running.digest):
            return  # what it listens at for us is not known
        held = {address for _, address, _ in shape.points} if has_ours and shape else set()
        for point in self._config.entry_points:
            if point.address not in held and is_taken(point):
                raise ProviderError(
                    f"entry point {point.name!r} cannot be opened: {point.address} is in use",
                    hint="choose another address, or end what listens there",
                    is_retryable=True,
                )

    def _tell(self, wanted: Wanted, running: Running | None) -> None:
        digest, socket = shape_digest(wanted.shape, self._place), self._program.socket
        is_loaded = running is not None and running.digest == digest
        with self._files.as_before_on_error():
            # What runs differs from it by addresses alone, and a user's own file that is broken
            # by now must not hold up what needs no reload.
            self._write(wanted, None if is_loaded else self._program.check_command())
            if running is not None and not is_loaded:
                self._program.reload(digest)
        if running is None:
            return
        if is_loaded:
            change_in_place(socket, running, wanted, self._settings)
        hand_over(socket, self._config.tls_by_name, self._settings)

    def _write(self, wanted: Wanted, check: list[str] | None) -> None:
        lists = {name: list(found) for name, found in (wanted.shape.certificates or {}).items()}
        self._files.write_certificates(lists, wanted.pems)
        text = render_config(wanted.shape, wanted.seats, wanted.addresses, self._place)
        self._files.write_config(text, check)
        self._files.write_maps(wanted.routes, wanted.state)

    def _find_missing(self, running: Running, generation: str) -> str:
        """Why this process does not serve that generation; empty when it does."""
        written = self._written()
        if written != generation:
            return f"generation {written or 'none'} was written since, not {generation}"
        if running.generation != generation:
            return f"the router has generation {running.generation or 'none'}, not {generation}"
        shape = self._files.read_shape()
        if shape is None or running.digest != shape_digest(shape, self._place):
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
