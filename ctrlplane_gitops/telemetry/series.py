"""What is kept of every replica, and reading it: by replica and by instance."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ctrlplane_gitops.clock import rfc3339
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.telemetry.ring import TIER_LENGTHS, TIER_STEPS, Ring
from ctrlplane_gitops.telemetry.sample import (
    CHANNELS,
    NOTHING,
    Reading,
    Sample,
    add_samples,
    compute_sample,
)
from ctrlplane_gitops.value import struct

# What somebody wants to look at after a replica is gone: why it went.
_KEPT_S = 3600.0
_MOST = 20_000


@struct
class Series:
    """Samples at equal distances, oldest first; ``begins_at`` is the first one's. Each stands for
    the time up to the next, and is the mean of it."""

    begins_at: datetime
    step: timedelta
    samples: tuple[Sample, ...] = ()

    @property
    def last(self) -> Sample:
        return self.samples[-1] if self.samples else NOTHING


class _Row:
    """One replica: its ring, and the last reading it goes on from."""

    __slots__ = ("instance", "reading", "ring")

    def __init__(self, instance: ResourceKey) -> None:
        self.instance = instance
        self.ring = Ring()
        self.reading: Reading | None = None


class Telemetry:
    """Rings of all replicas by name; safe to use from several threads. ``step`` is the time between
    two rounds of readings. A replica that is gone is kept for an hour, and of ``most`` replicas
    those that were read longest ago go first."""

    def __init__(self, step: timedelta, most: int = _MOST) -> None:
        self._step_s = step.total_seconds()
        self._most = most
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}
        self._by_instance: dict[ResourceKey, set[str]] = {}

    def put(
        self, at: datetime, readings: Mapping[str, tuple[ResourceKey, Reading]]
    ) -> dict[str, Sample]:
        """One round: what was read of each replica by name, and what it comes to. Whoever is
        missing has a gap."""
        slot, found = self._slot(at), {}
        with self._lock:
            for name, (instance, reading) in readings.items():
                row = self._rows.get(name)
                if row is None or row.instance != instance:
                    self._drop(name)
                    row = self._rows[name] = _Row(instance)
                    self._by_instance.setdefault(instance, set()).add(name)
                sample = found[name] = compute_sample(row.reading, reading)
                if slot >= row.ring.last:
                    row.ring.put(slot, sample)
                row.reading = reading
            self._forget(slot)
        return found

    def _forget(self, slot: int) -> None:
        oldest = slot - int(_KEPT_S / self._step_s)
        gone = [name for name, row in self._rows.items() if row.ring.last < oldest]
        surplus = len(self._rows) - len(gone) - self._most
        if surplus > 0:
            order = sorted(self._rows, key=lambda name: self._rows[name].ring.last)
            gone = order[: len(gone) + surplus]
        for name in gone:
            self._drop(name)

    def _drop(self, name: str) -> None:
        row = self._rows.pop(name, None)
        if row is not None:
            names = self._by_instance[row.instance]
            names.discard(name)
            if not names:
                del self._by_instance[row.instance]

    def read_replicas(
        self, instance: ResourceKey, now: datetime, window: timedelta
    ) -> dict[str, Series]:
        """Those of one instance that are known, by name."""
        tier, end = self._tier(window), self._slot(now)
        with self._lock:
            names = sorted(self._by_instance.get(instance, ()))
            found = {name: self._rows[name].ring.read(tier, end) for name in names}
        return {name: self._series(tier, *rows) for name, rows in found.items()}

    def read_instance(self, instance: ResourceKey, now: datetime, window: timedelta) -> Series:
        """The sum over its replicas; in each slot of those that are known there."""
        tier, end = self._tier(window), self._slot(now)
        with self._lock:
            names = self._by_instance.get(instance, ())
            found = [self._rows[name].ring.read(tier, end) for name in names]
        return self._series(tier, *_add(found))

    def read_latest(self, now: datetime) -> dict[ResourceKey, Sample]:
        """What every instance used in the last round, or the one before where that is under way."""
        oldest = self._slot(now) - 1
        found: dict[ResourceKey, Sample] = {}
        with self._lock:
            for row in self._rows.values():
                if row.ring.last >= oldest:
                    so_far = found.get(row.instance, NOTHING)
                    found[row.instance] = add_samples(so_far, row.ring.latest())
        return found

    def _slot(self, at: datetime) -> int:
        return int(at.timestamp() // self._step_s)

    def _tier(self, window: timedelta) -> int:
        """The finest that reaches back so far, or the coarsest."""
        steps = window.total_seconds() / self._step_s
        reaches = zip(TIER_STEPS, TIER_LENGTHS, strict=True)
        return next((n for n, (step, length) in enumerate(reaches) if steps <= step * length), 2)

    def _series(self, tier: int, first: int, samples: Iterable[Sample]) -> Series:
        seconds = TIER_STEPS[tier] * self._step_s
        begins_at = datetime.fromtimestamp(first * seconds, UTC)
        return Series(begins_at, timedelta(seconds=seconds), tuple(samples))


def _add(found: list[tuple[int, list[Sample]]]) -> tuple[int, list[Sample]]:
    """Rows of several rings, which all end in the same slot, as one."""
    known = [(first, rows) for first, rows in found if rows]
    if not known:
        return 0, []
    begin = min(first for first, _ in known)
    total: list[Sample] = [NOTHING] * max(first - begin + len(rows) for first, rows in known)
    for first, rows in known:
        for place, sample in enumerate(rows, first - begin):
            total[place] = add_samples(total[place], sample)
    return begin, total


def series_as_json(series: Series) -> dict[str, Any]:
    """``begins_at`` and the time between two values; then a list for each channel, null where
    nothing is known. Millicores and bytes are whole numbers."""
    columns: Iterable[tuple[float | None, ...]] = zip(*series.samples, strict=True)
    values = list(columns) or [()] * len(CHANNELS)
    return {
        "begins_at": rfc3339(series.begins_at),
        "step_s": series.step.total_seconds(),
        **{
            name: [None if value is None else round(value) for value in column]
            for name, column in zip(CHANNELS, values, strict=True)
        },
    }


def sample_as_json(sample: Sample) -> dict[str, int | None]:
    """By channel.

    >>> sample_as_json((12.4, 1048576.0, None, None))["cpu_millicores"]
    12
    """
    return {
        name: None if value is None else round(value)
        for name, value in zip(CHANNELS, sample, strict=True)
    }
