"""``python -m tests.bench.health KIND ...``: one process that checks the health of many targets.

``ours FOLDER PORT COUNT`` and ``raw PORT COUNT`` and ``requests PORT COUNT`` make so many checks as
fast as they can; ``paced FOLDER PORT HOLES SECONDS`` watches ten thousand targets on an interval of
thirty seconds, five hundred of which never answer, and prints what that took as JSON.
"""

from __future__ import annotations

import json
import resource
import select
import socket
import sys
import threading
from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path

from ctrlplane_gitops.clock import SystemClock, monotonic_s
from ctrlplane_gitops.diagnostics import Origin
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.execute.prober import Prober
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.memory import MemoryProvider
from ctrlplane_gitops.state.desired import (
    ControlPlane,
    DesiredInstance,
    DesiredResource,
    DesiredState,
    HealthCheck,
    ProbeType,
    ProviderConfig,
    Resources,
)
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.state.observed import (
    Endpoint,
    ObservedReplica,
    ObservedReplicaSet,
    ObservedState,
    ReplicaPhase,
)
from ctrlplane_gitops.state.template import ReleaseTemplate
from ctrlplane_gitops.store.sqlite import SqliteStore
from ctrlplane_gitops.workers.fleet import Fleet, Looks
from ctrlplane_gitops.workers.health_runner import HealthFigures, HealthRunner

TARGETS, HOLES = 10_000, 500
# As many targets as a loop without a schedule has under way.
_AT_ONCE = 64
_INSTANCES = 2000


class Served(MemoryProvider):
    """Replicas that are values, with endpoints where something really answers, or never does."""

    def __init__(self, settings: ProviderSettings, ports: Sequence[int]) -> None:
        super().__init__(settings)
        self._seen = ObservedState(tuple(_set(number, port) for number, port in enumerate(ports)))

    def observe(self, keys: Collection[ResourceKey] | None = None) -> ObservedState:
        if keys is None:
            return self._seen
        return ObservedState(tuple(it for it in self._seen.replica_sets if it.instance in keys))


def _key(number: int) -> ResourceKey:
    return instance_key(f"t{number % 100}", f"i{number}")


def _set(number: int, port: int) -> ObservedReplicaSet:
    key = _key(number)
    endpoints = (Endpoint("http", "127.0.0.1", port),)
    name = f"bench.{key.tenant}.{key.name}.v1.0"
    replica = ObservedReplica(name, name, 0, ReplicaPhase.RUNNING, endpoints)
    return ObservedReplicaSet(key, "here", 1, "r", (replica,))


def _desire(number: int, check: HealthCheck) -> DesiredInstance:
    template = ReleaseTemplate("here", command=("run",))
    resource = DesiredResource(_key(number), "{}", "f", Origin("a.yaml"))
    return DesiredInstance(
        resource, "here", 1, Resources(), (check,), (), template=template, revision="r"
    )


class Watched:
    """A fleet, the real worker, the real prober and a store on disk. It is cancelled after so many
    ``answers`` (0: never)."""

    def __init__(
        self, folder: Path, ports: Sequence[int], interval: timedelta, most: int = 0
    ) -> None:
        config = ProviderConfig("here", "memory")
        provider = Served(ProviderSettings("bench", config, str(folder)), ports)
        check = HealthCheck("ready", ProbeType.HTTP, "http", "/healthz", interval=interval)
        instances = {_key(number): _desire(number, check) for number in range(len(ports))}
        plane = ControlPlane("bench", {"here": config}, "here")
        self.store = SqliteStore(folder / "state.db")
        fleet = Fleet(DesiredState(plane, {}, instances), {"here": provider}, self.store)
        clock = SystemClock()
        self.cancel = threading.Event()
        self.answers, self._most = 0, most
        self.lateness_s: list[float] = []
        self._pool = Pool(1, "look")
        self._prober = Prober(clock)
        self.runner = HealthRunner(
            lambda: fleet,
            Looks(self._pool, clock),
            self._prober,
            clock,
            self.cancel,
            timedelta(seconds=30),
            self._take,
        )

    def _take(self, figures: HealthFigures) -> None:
        self.answers += figures.passed + figures.failed
        self.lateness_s += figures.lateness_s
        if self.answers >= self._most > 0:
            self.cancel.set()

    def run(self) -> None:
        """One run, and the wait for the next."""
        after = self.runner.run().after
        if after is not None and not self.cancel.is_set():
            self.cancel.wait(after.total_seconds())

    def close(self) -> None:
        self.runner.close()
        self._prober.close()
        self._pool.close()
        self.store.close()


def check_ours(folder: Path, port: int, count: int) -> None:
    """All of them due all the time; verdicts, their spans and events are written."""
    watched = Watched(folder, [port] * _INSTANCES, timedelta(milliseconds=200), count)
    while not watched.cancel.is_set():
        watched.run()
    written = len(watched.store.health.read_open())
    assert written == 2 * _INSTANCES, f"{written} verdicts were written"
    watched.close()


def watch_paced(folder: Path, port: int, hole: int, seconds: float) -> None:
    """Once everybody has been asked, what goes on costs for so long."""
    step = TARGETS // HOLES
    ports = [hole if number % step == 0 else port for number in range(TARGETS)]
    watched = Watched(folder, ports, timedelta(seconds=30))
    began = monotonic_s()
    while monotonic_s() - began < 40:
        watched.run()
    watched.lateness_s.clear()
    answers, used, began = watched.answers, _cpu_s(), monotonic_s()
    while monotonic_s() - began < seconds:
        watched.run()
    lasted = monotonic_s() - began
    late = sorted(watched.lateness_s)
    print(
        json.dumps(
            {
                "cpu_percent": 100 * (_cpu_s() - used) / lasted,
                "checks_per_30s": 30 * (watched.answers - answers) / lasted,
                "late_p99_s": late[int(len(late) * 0.99)],
                "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )
    watched.close()


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def check_raw(port: int, count: int) -> None:
    """The least that asks a target over HTTP: a loop over epoll, nothing scheduled or kept."""
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    poll, open_ones = select.epoll(), {}
    begun = ended = 0
    while ended < count:
        while begun < count and len(open_ones) < _AT_ONCE:
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
            open_ones[connection.fileno()] = connection
            poll.register(connection, select.EPOLLOUT)
            begun += 1
        for number, event in poll.poll():
            connection = open_ones[number]
            if event & select.EPOLLOUT:
                connection.send(request)
                poll.modify(number, select.EPOLLIN)
                continue
            assert b" 200 " in connection.recv(8192)
            poll.unregister(number)
            open_ones.pop(number).close()
            ended += 1


def check_requests(port: int, count: int) -> None:
    """What most people write."""
    import requests

    with requests.Session() as session:
        for _ in range(count):
            assert session.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200


def main(kind: str, *given: str) -> None:
    match kind, given:
        case "ours", (folder, port, count):
            check_ours(Path(folder), int(port), int(count))
        case "paced", (folder, port, hole, seconds):
            watch_paced(Path(folder), int(port), int(hole), float(seconds))
        case "raw", (port, count):
            check_raw(int(port), int(count))
        case "requests", (port, count):
            check_requests(int(port), int(count))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
