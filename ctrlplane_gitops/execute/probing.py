"""Probes of replicas while an apply runs: which are due, what they said, which are ready."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.execute.due import find_next_due, find_running
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.probes import probe
from ctrlplane_gitops.health.verdict import next_verdict
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.state.desired import HealthCheck
from ctrlplane_gitops.state.observed import ObservedReplica, Verdict

# A replica that is starting is asked often: how soon a rollout goes on depends on it.
_FIRST_PAUSE = timedelta(milliseconds=100)

Identity = tuple[str, str, datetime | None]


def identity_of(provider: str, replica: ObservedReplica) -> Identity:
    """A restarted replica is another one: what was said of it before does not count."""
    return (provider, replica.id, replica.started_at)


def run_probe(provider: Provider, replica: ObservedReplica, check: HealthCheck) -> ProbeResult:
    """One probe of one replica, now. Never raises: an adapter that does has a bug, and a check
    that fails."""
    endpoints = {item.port: (item.host, item.number) for item in replica.endpoints}

    def run_command(command: Sequence[str], timeout: timedelta) -> int:
        return provider.execute(replica.name, command, timeout).exit_code

    try:
        return probe(check, endpoints.get, run_command)
    except Exception as bug:
        return ProbeResult(False, f"unexpected {type(bug).__name__}: {bug}")


@dataclass(slots=True)
class _Check:
    check: HealthCheck
    due: datetime
    pause: timedelta = _FIRST_PAUSE
    running: Future[ProbeResult] | None = None


@dataclass(slots=True)
class _Subject:
    provider: Provider
    replica: ObservedReplica
    checks: tuple[_Check, ...]
    results: dict[str, ProbeResult] = field(default_factory=dict)
    verdict: Verdict | None = None


class Probing:
    """Runs the checks of the replicas it was told to follow, side by side in a pool of its own,
    so that targets that hang hold up neither actions nor each other's instances."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._subjects: dict[Identity, _Subject] = {}

    def follow(
        self,
        provider: Provider,
        replicas: Iterable[ObservedReplica],
        checks: tuple[HealthCheck, ...],
    ) -> None:
        """Follow these as well; those followed already keep their verdicts."""
        now = self._clock.now()
        for replica in replicas:
            identity = identity_of(provider.name, replica)
            known = self._subjects.get(identity)
            if known is None:
                self._subjects[identity] = _Subject(
                    provider, replica, tuple(_Check(check, now) for check in checks)
                )
            else:
                known.replica = replica

    def verdict_of(self, provider: str, replica: ObservedReplica) -> Verdict | None:
        """None until every check has answered once."""
        subject = self._subjects.get(identity_of(provider, replica))
        return subject.verdict if subject else None

    def forget(self, provider: str, replicas: Iterable[ObservedReplica]) -> None:
        for replica in replicas:
            self._subjects.pop(identity_of(provider, replica), None)

    def start_due(self) -> None:
        """Submit the probes that are due."""
        now = self._clock.now()
        for subject in self._subjects.values():
            for item in subject.checks:
                if item.running is None and item.due <= now:
                    item.running = self._pool.submit(_probe_call(subject, item.check))

    def collect(self) -> bool:
        """Take in what has answered; True when a verdict was formed or turned."""
        now = self._clock.now()
        has_turned = False
        for subject in self._subjects.values():
            fresh = [name for item in subject.checks if (name := _take(subject, item, now))]
            if fresh and len(subject.results) == len(subject.checks):
                before = subject.verdict
                retries = max(item.check.retries for item in subject.checks)
                subject.verdict = next_verdict(before, subject.results, retries, now, fresh)
                has_turned |= before is None or before.is_ready is not subject.verdict.is_ready
        return has_turned

    @property
    def running(self) -> list[Future[ProbeResult]]:
        return find_running(self._checks())

    def next_due(self) -> datetime | None:
        return find_next_due(self._checks())

    def _checks(self) -> Iterator[_Check]:
        return (item for subject in self._subjects.values() for item in subject.checks)


def _probe_call(subject: _Subject, check: HealthCheck) -> Callable[[], ProbeResult]:
    return lambda: run_probe(subject.provider, subject.replica, check)


def _take(subject: _Subject, item: _Check, now: datetime) -> str:
    """Take one finished probe in and say whose; "" while it runs."""
    if item.running is None or not item.running.done():
        return ""
    result = item.running.result()
    item.running = None
    subject.results[item.check.name] = result
    item.pause = item.check.interval if result.is_ok else min(item.check.interval, item.pause * 2)
    item.due = now + item.pause
    return item.check.name


def probe_once(
    pool: Pool,
    wanted: Iterable[tuple[Provider, ObservedReplica, tuple[HealthCheck, ...]]],
    now: datetime,
) -> Mapping[Identity, Verdict]:
    """Every check of every replica once, side by side; what a status shows. What a provider says
    of a replica itself is not asked again."""
    wanted = list(wanted)
    said = {
        identity_of(provider.name, replica): replica.verdict
        for provider, replica, _ in wanted
        if replica.verdict is not None
    }
    asked = [
        (identity_of(provider.name, replica), check, pool.submit(_once(provider, replica, check)))
        for provider, replica, checks in wanted
        if replica.verdict is None
        for check in checks
    ]
    results: dict[Identity, dict[str, ProbeResult]] = {}
    for identity, check, future in asked:
        results.setdefault(identity, {})[check.name] = future.result()
    return said | {
        identity: next_verdict(None, by_check, 1, now) for identity, by_check in results.items()
    }


def _once(
    provider: Provider, replica: ObservedReplica, check: HealthCheck
) -> Callable[[], ProbeResult]:
    return lambda: run_probe(provider, replica, check)
