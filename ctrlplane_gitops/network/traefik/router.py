"""Traefik as a router of one control plane."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import CapabilityError, ProviderError, UnreachableError
from ctrlplane_gitops.file import read_file, write_file
from ctrlplane_gitops.network.certificate import complete_certificates, parse_pem
from ctrlplane_gitops.network.options import EntryPoint
from ctrlplane_gitops.network.router import NOT_RUNNING, LiveReport, RouterSettings
from ctrlplane_gitops.network.table import fingerprint, require_sound
from ctrlplane_gitops.network.traefik.config import NAME, parse_config
from ctrlplane_gitops.network.traefik.program import TraefikProgram
from ctrlplane_gitops.network.traefik.read import Served, read_counts, read_pem, read_served
from ctrlplane_gitops.network.traefik.render import (
    dump,
    render_entry,
    render_sentinel,
    sentinel_file,
    sentinel_host,
    slug_of,
)
from ctrlplane_gitops.network.wire import SENTINEL_STATUS, fetch, fetch_json, knock
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
_LOAD_PATIENCE = timedelta(seconds=10)
_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"


class TraefikRouter:
    """Everything we tell it lies in the directory its file provider watches, so a router that was
    killed comes back with the same table, and an apply that was killed is completed by the next:
    files are compared with what they should hold, and the sentinel is written last."""

    def __init__(self, settings: RouterSettings) -> None:
        self.name = NAME
        self._settings = settings
        self._config = parse_config(settings.options)
        home = Path(settings.state_dir).resolve() / "router" / NAME
        self._program = TraefikProgram(home, self._config, settings)
        self._directory = self._config.directory or self._program.dynamic
        self._told: tuple[str, RouteTable] = ("", RouteTable())
        self.capabilities = frozenset(
            {
                RouterCapability.HITLESS,
                RouterCapability.STICKY,
                RouterCapability.CERTIFICATES,
                RouterCapability.RETRY,
            }
        )
        if self._config.is_managed or self._config.metrics is not None:
            self.capabilities |= {RouterCapability.COUNTS}
        self._ours = re.compile(
            rf"{re.escape(settings.plane)}\.{_LABEL}\.{_LABEL}\.(?:-|{_LABEL})\.yml"
        )

    def observe(self) -> RouterState:
        generation = self._written()
        try:
            served = self._read()
        except UnreachableError as error:
            is_stopped = self._config.is_managed and not self._program.is_running()
            return RouterState(generation=generation, gap=error.message, is_stopped=is_stopped)
        is_live = bool(generation) and served.generation == generation and not served.faults
        is_live = is_live and not self._is_unfinished(served.table)
        return RouterState(served.table, generation, is_live, faults=served.faults)

    def apply(self, table: RouteTable, certificates: Mapping[ResourceKey, SecretValue]) -> str:
        tls = self._config.tls_by_name
        certificates = complete_certificates(table, certificates, self._held(table))
        require_sound(table, tls, certificates)
        generation = fingerprint(table, certificates)
        wanted = {
            f"{slug_of(self._settings.plane, entry)}.yml": dump(
                render_entry(
                    self._settings.plane,
                    entry,
                    is_tls=tls[entry.entry_point],
                    pem=parse_pem(certificates[entry.certificate]) if entry.certificate else None,
                )
            )
            for entry in table.entries
        }
        sentinel = dump(render_sentinel(self._settings.plane, generation, tls))
        try:
            self._write_all(wanted, sentinel)
        except OSError as error:
            raise ProviderError(f"router ({NAME}): {error}", is_retryable=True) from None
        self._told = generation, table
        return generation

    def wait_live(self, generation: str, timeout: timedelta) -> LiveReport:
        deadline = monotonic_s() + timeout.total_seconds()
        while True:
            message = self._find_missing(generation)
            if not message or monotonic_s() > deadline:
                return LiveReport(not message, message)
            sleep(_POLL_S)

    def count_in_flight(self, members: Collection[Member]) -> int | None:
        """Traefik has no such figure for a server."""
        return None

    def count_traffic(self) -> Mapping[tuple[ResourceKey, int], TrafficCount]:
        api = self._config.metrics or (self._program.api if self._config.is_managed else None)
        if RouterCapability.COUNTS not in self.capabilities:
            raise CapabilityError(
                f"router ({NAME}) has no capability {RouterCapability.COUNTS.value!r}",
                hint="say with `metrics` where your Traefik answers with its Prometheus metrics",
            )
        if api is None:
            raise UnreachableError(NOT_RUNNING)
        answer = fetch(api if self._config.metrics else f"{api}/metrics")
        if answer.status != 200:
            raise UnreachableError(f"the router's metrics answer {answer.status}")
        return read_counts(self._settings.plane, answer.body.decode("utf-8", "replace"))

    def ensure_running(self) -> bool:
        if not self._config.is_managed:
            self._read()
            return False
        is_started = self._program.ensure_running()
        written = self._written()
        if is_started and written:
            # It answers before it has read its files; until then every route is a 404.
            self.wait_live(written, _LOAD_PATIENCE)
        return is_started

    def stop(self) -> None:
        if self._config.is_managed:
            self._program.stop()

    def close(self) -> None:
        """Nothing is held."""

    def _held(self, table: RouteTable) -> Callable[[ResourceKey], str | None]:
        """Finds a certificate in the files of the entries that show it."""

        def find(key: ResourceKey) -> str | None:
            for entry in table.entries:
                if entry.certificate == key:
                    slug = slug_of(self._settings.plane, entry)
                    pem = read_pem(read_file(self._directory / f"{slug}.yml"), entry)
                    if pem is not None:
                        return pem
            return None

        return find

    def _write_all(self, wanted: Mapping[str, str], sentinel: str) -> None:
        if self._config.is_managed:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        has_changed = False
        for name, text in sorted(wanted.items()):
            has_changed |= self._write(name, text)
        for path in sorted(self._directory.iterdir()):
            if self._ours.fullmatch(path.name) and path.name not in wanted:
                with self._settings.effect(f"remove:{path.name}"):
                    path.unlink(missing_ok=True)
        if not self._write(sentinel_file(self._settings.plane), sentinel) and has_changed:
            os.utime(self._directory / sentinel_file(self._settings.plane))

    def _is_unfinished(self, table: RouteTable) -> bool:
        """Whether an apply was killed before it wrote the sentinel, which is never older than the
        rest. What it did write may be served a moment later."""
        plane = self._settings.plane
        try:
            times = {item.name: item.stat().st_mtime_ns for item in self._directory.iterdir()}
            ended = times.pop(sentinel_file(plane))
        except (OSError, KeyError):
            return True  # somebody is at work there
        wanted = {f"{slug_of(plane, entry)}.yml" for entry in table.entries}
        ours = [at for name, at in times.items() if self._ours.fullmatch(name)]
        return not wanted <= times.keys() or any(at > ended for at in ours)

    def _write(self, name: str, text: str) -> bool:
        """False where it says so already."""
        path = self._directory / name
        if read_file(path) == text:
            return False
        # It may hold a key. The user's Traefik may be another user: by the directory's group.
        is_shared = not self._config.is_managed
        with self._settings.effect(f"write:{name}"):
            write_file(path, text, 0o640 if is_shared else 0o600, is_shared=is_shared)
        return True

    def _written(self) -> str:
        """The generation of the sentinel we wrote."""
        try:
            text = read_file(self._directory / sentinel_file(self._settings.plane)) or ""
        except OSError:
            return ""
        found = re.search(r"Host\(`([0-9a-f]+)\.", text)
        return found[1] if found else ""

    def _read(self) -> Served:
        api = self._config.api if not self._config.is_managed else self._program.api
        if api is None or (self._config.is_managed and not self._program.is_running()):
            raise UnreachableError(NOT_RUNNING)
        raw = fetch_json(f"{api}/api/rawdata")
        if not isinstance(raw, Mapping):
            raise UnreachableError(f"{api} is not Traefik's API")
        return read_served(self._settings.plane, raw, frozenset(self._config.tls_by_name))

    def _find_missing(self, generation: str) -> str:
        """Why requests do not meet that generation; empty when they do."""
        written = self._written()
        if written != generation:
            return f"generation {written or 'none'} was written since, not {generation}"
        try:
            served = self._read()
        except UnreachableError as error:
            return error.message
        if served.generation != generation:
            return f"the router has generation {served.generation or 'none'}, not {generation}"
        if self._told[0] == generation and self._told[1] != served.table:
            # Files that somebody else changed and we wrote again have the generation they had.
            return "the router does not show all of it yet"
        if served.faults:
            return f"the router refused: {'; '.join(served.faults)}"
        return self._probe(generation)

    def _probe(self, generation: str) -> str:
        name = sentinel_host(self._settings.plane, generation)
        for point in self._reachable_points():
            try:
                status = knock(point, name)
            except UnreachableError as error:
                if self._config.is_managed:
                    return error.message
                continue  # the user's own may answer where we cannot reach it
            if status != SENTINEL_STATUS:
                return f"entry point {point.name!r} answers {status}, so it is another router's"
        return ""

    def _reachable_points(self) -> list[EntryPoint]:
        """A router of the user's with an address of its own is asked there."""
        points = list(self._config.entry_points)
        host = urlsplit(self._config.api or "").hostname
        return [replace(point, host=point.host or host or "") for point in points]
