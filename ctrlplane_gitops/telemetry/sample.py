"""From two readings of what a replica has used in all to what it used in between. Pure."""

from __future__ import annotations

from ctrlplane_gitops.state.usage import Usage
from ctrlplane_gitops.value import struct

CHANNELS = ("cpu_millicores", "memory_bytes", "rx_bytes_per_s", "tx_bytes_per_s")

Sample = tuple[float | None, float | None, float | None, float | None]
"""One value for each of ``CHANNELS``; None where it is not known."""

NOTHING: Sample = (None, None, None, None)
# Two readings that are closer than this say more about the clock than about the replica.
_SHORTEST_S = 0.5


@struct
class Reading:
    """What was read of one replica at ``at_s`` (seconds of the Unix epoch). ``identity`` tells a
    replica from the one that had its name before."""

    at_s: float
    identity: object
    usage: Usage


def compute_sample(before: Reading | None, now: Reading) -> Sample:
    """What a replica used since the reading before. Rates are not known of the first reading, nor
    where a counter began anew; they are never negative.

    >>> first = Reading(100.0, "a", Usage(2.0, 50, 1000, 0))
    >>> compute_sample(first, Reading(110.0, "a", Usage(7.0, 60, 1500, 40)))
    (500.0, 60.0, 50.0, 4.0)
    >>> compute_sample(first, Reading(110.0, "b", Usage(7.0, 60, 1500, 40)))
    (None, 60.0, None, None)
    """
    usage = now.usage
    memory = None if usage.memory_bytes is None else float(usage.memory_bytes)
    if before is None or before.identity != now.identity:
        return (None, memory, None, None)
    old, seconds = before.usage, now.at_s - before.at_s
    cpu = _rate(old.cpu_s, usage.cpu_s, seconds)
    return (
        None if cpu is None else cpu * 1000,
        memory,
        _rate(old.rx_bytes, usage.rx_bytes, seconds),
        _rate(old.tx_bytes, usage.tx_bytes, seconds),
    )


def _rate(before: float | None, now: float | None, seconds: float) -> float | None:
    if before is None or now is None or now < before or seconds < _SHORTEST_S:
        return None
    return (now - before) / seconds


def add_samples(one: Sample, other: Sample) -> Sample:
    """Both together; what is known of one of them alone counts.

    >>> add_samples((1.0, None, 3.0, None), (1.0, 2.0, None, None))
    (2.0, 2.0, 3.0, None)
    """
    cpu, memory, rx, tx = (
        b if a is None else a if b is None else a + b for a, b in zip(one, other, strict=True)
    )
    return (cpu, memory, rx, tx)
