"""From the results of probes to one verdict on a replica. Pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.state.observed import Verdict


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
