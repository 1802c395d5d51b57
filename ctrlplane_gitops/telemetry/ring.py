"""A bounded memory of one replica's samples, coarser the older they are.

Three tiers, of which each begins where the one before would be too much to keep::

    90 of  1 step    (15 minutes of 10 s)
   180 of  6 steps   (3 hours of 1 min)
    96 of 90 steps   (a day of 15 min)

A value is kept in two bytes, as its logarithm: exact to 0.03 % from 0 to 10^14. That makes 366
values, 732 bytes, for each of the four channels that has one: **about 3.5 KB for a container, and
1.9 KB for a process**, whose network cannot be told. Measured in ``tests/telemetry``.
"""

from __future__ import annotations

import math
from array import array

from ctrlplane_gitops.telemetry.sample import CHANNELS, Sample

TIER_LENGTHS = (90, 180, 96)
TIER_STEPS = (1, 6, 90)
# How many slots of the tier before are one of this tier, and where in an array it begins.
_FACTORS = (1, 6, 15)
_STARTS = (0, 90, 270)
_GAP = 0xFFFF
_SCALE = 1409.0
_BLANK = array("H", [_GAP]) * sum(TIER_LENGTHS)


def encode(value: float | None) -> int:
    """
    >>> [encode(item) for item in (None, 0.0, -1.0, 1e300)]
    [65535, 0, 0, 65534]
    """
    if value is None:
        return _GAP
    return min(_GAP - 1, round(math.log2(1 + value) * _SCALE)) if value > 0 else 0


def decode(code: int) -> float | None:
    """
    >>> decode(encode(None)) is None, decode(encode(0.0))
    (True, 0.0)
    >>> abs((decode(encode(512.0)) or 0) / 512 - 1) < 0.0003
    True
    """
    return None if code == _GAP else 2.0 ** (code / _SCALE) - 1


class Ring:
    """Samples by the number of their slot, which only grows; the caller says how long a slot is.
    A slot nobody put anything into is a gap."""

    __slots__ = ("_channels", "_first", "_last")

    def __init__(self) -> None:
        self._channels: list[array[int] | None] = [None] * len(CHANNELS)
        self._first = self._last = -1

    @property
    def last(self) -> int:
        """The slot that was put last, -1 before the first."""
        return self._last

    def put(self, slot: int, sample: Sample) -> None:
        """``slot`` is at least ``last``; the same one again is overwritten."""
        if self._last < 0:
            self._first = self._last = slot
        elif slot < self._last:
            raise ValueError(f"slot {slot} lies before slot {self._last}")
        for channel, value in enumerate(sample):
            data = self._channels[channel]
            if data is None:
                if value is None:
                    continue
                data = self._channels[channel] = _BLANK[:]
            elif slot > self._last:
                _advance(data, self._last, slot)
            data[slot % TIER_LENGTHS[0]] = encode(value)
        self._last = slot

    def read(self, tier: int, end: int) -> tuple[int, list[Sample]]:
        """What a tier keeps of the time up to slot ``end``, oldest first, and the number of the
        first row in steps of the tier (``TIER_STEPS``). No row lies before the first sample; there
        is a row of gaps for each slot since the last one."""
        if self._last < 0:
            return 0, []
        step, length = TIER_STEPS[tier], TIER_LENGTHS[tier]
        first = max(end // step - length + 1, self._first // step)
        columns = [self._read_channel(data, tier, first, end // step) for data in self._channels]
        return first, list(zip(*columns, strict=True))

    def latest(self) -> Sample:
        """What was put last."""
        place = self._last % TIER_LENGTHS[0]
        cpu, memory, rx, tx = (
            None if data is None else decode(data[place]) for data in self._channels
        )
        return (cpu, memory, rx, tx)

    def _read_channel(
        self, data: array[int] | None, tier: int, first: int, end: int
    ) -> list[float | None]:
        if data is None:
            return [None] * (end - first + 1)
        length, start = TIER_LENGTHS[tier], _STARTS[tier]
        newest = self._last // TIER_STEPS[tier]
        codes = [
            data[start + slot % length] if newest - length < slot <= newest else _GAP
            for slot in range(first, end + 1)
        ]
        if tier and first <= newest <= end:
            # It is still open: what is known of it so far.
            codes[newest - first] = _mean(data, tier, newest, self._last)
        return [decode(code) for code in codes]


def _advance(data: array[int], last: int, slot: int) -> None:
    """Close what is full once ``slot`` comes after ``last``, and empty what will be filled next."""
    for tier in (1, 2):
        closed = last // TIER_STEPS[tier]
        if closed < slot // TIER_STEPS[tier]:
            data[_STARTS[tier] + closed % TIER_LENGTHS[tier]] = _mean(data, tier, closed, last)
    for step, length, start in zip(TIER_STEPS, TIER_LENGTHS, _STARTS, strict=True):
        newest = slot // step
        # After a long silence everything is passed over once.
        for passed in range(max(last // step + 1, newest - length + 1), newest + 1):
            data[start + passed % length] = _GAP


def _mean(data: array[int], tier: int, slot: int, last: int) -> int:
    """Of what is known in the finer tier, up to slot ``last``, of one slot of a coarser one."""
    factor, length, start = _FACTORS[tier], TIER_LENGTHS[tier - 1], _STARTS[tier - 1]
    newest = last // TIER_STEPS[tier - 1]
    finer = range(slot * factor, min(slot * factor + factor, newest + 1))
    codes = [data[start + part % length] for part in finer]
    if tier > 1 and finer and finer[-1] == newest:
        codes[-1] = _mean(data, tier - 1, newest, last)
    known = [value for code in codes if (value := decode(code)) is not None]
    return encode(sum(known) / len(known) if known else None)
