"""From the results of probes to one verdict on a replica. Pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.state.health import Health
from ctrlplane_gitops.state.observed import Verdict
from ctrlplane_gitops.value import struct


def next_verdict(
    previous: Verdict | None,
    results: Mapping[str, ProbeResult],
    retries: int,
    now: datetime,
    fresh: Collection[str] | None = None,
) -> Verdict:
    """The verdict after a round of probes.

    ``results`` holds the latest result of **every** check by name; ``fresh`` names those probed in
    this round (default: all), so that a slow check's old failure is not counted again by the rounds
    of a quick one. Ready when every check passed (at once when there is none); a ready replica
    turns unready after ``retries`` rounds with a failure in a row, one that never was ready needs
    none. ``since`` is when ``is_ready`` last changed.
    """
    failed = {name: result.message for name, result in results.items() if not result.is_ok}
    was_ready = previous is not None and previous.is_ready
    failures = 0
    if failed:
        is_counted = fresh is None or any(name in failed for name in fresh)
        failures = (previous.failures if previous else 0) + (1 if is_counted else 0)
    is_ready = not failed or (was_ready and failures < retries)
    has_changed = previous is None or previous.is_ready is not is_ready
    return Verdict(
        is_ready=is_ready,
        since=now if previous is None or has_changed else previous.since,
        failures=failures,
        message="; ".join(f"{name}: {message}" for name, message in sorted(failed.items())),
        checks={
            name: "ok" if result.is_ok else result.message
            for name, result in sorted(results.items())
        },
    )


@struct
class CheckState:
    """What one check says of one replica. ``is_healthy`` None: it has not been verified yet.
    ``since`` is when that last changed, ``at`` the time of the last result; ``failures`` counts
    those in a row."""

    is_healthy: bool | None
    since: datetime
    at: datetime
    failures: int = 0
    message: str = ""


def next_state(
    previous: CheckState | None, result: ProbeResult, retries: int, now: datetime
) -> CheckState:
    """The state after one more result: ``retries`` failures in a row make it unhealthy, one success
    makes it healthy. Until then it stays what it was, at first unverified.

    >>> from datetime import UTC
    >>> at = datetime(2026, 1, 1, tzinfo=UTC)
    >>> state = next_state(None, ProbeResult(False, "closed"), 2, at)
    >>> state.is_healthy, next_state(state, ProbeResult(False, "closed"), 2, at).is_healthy
    (None, False)
    """
    before = None if previous is None else previous.is_healthy
    failures = 0 if result.is_ok else (previous.failures if previous else 0) + 1
    is_healthy = True if result.is_ok else False if failures >= retries else before
    has_changed = previous is None or is_healthy is not before
    return CheckState(
        is_healthy=is_healthy,
        since=now if previous is None or has_changed else previous.since,
        at=now,
        failures=failures,
        message=result.message,
    )


def judge(healthy: int, unverified: int, wanted: int) -> Health:
    """An instance that should have ``wanted`` replicas (at least one), of which so many are known
    to be healthy and so many may yet turn out to be. ``unknown`` while those decide. More than
    wanted are a rollout: what is surplus may be as it likes.

    >>> [judge(2, 0, 2).value, judge(1, 0, 2).value, judge(0, 0, 2).value, judge(1, 1, 2).value]
    ['healthy', 'degraded', 'unhealthy', 'unknown']
    """
    if healthy >= wanted:
        return Health.HEALTHY
    if healthy + unverified >= wanted or (unverified and not healthy):
        return Health.UNKNOWN
    return Health.DEGRADED if healthy else Health.UNHEALTHY
