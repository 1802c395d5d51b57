"""The ring against a dictionary that forgets nothing."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctrlplane_gitops.telemetry.ring import TIER_LENGTHS, TIER_STEPS, Ring, decode, encode
from ctrlplane_gitops.telemetry.sample import NOTHING, Sample

VALUES = st.none() | st.floats(0, 1e12)
SAMPLES = st.tuples(VALUES, VALUES, VALUES, VALUES)
# Mostly the next slot; a missed tick, the same one again, an hour, more than a ring holds.
STEPS = st.sampled_from((1, 1, 1, 1, 0, 2, 7, 360, 100_000))


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def expect(put: dict[int, Sample], tier: int, slot: int, channel: int) -> float | None:
    """By the definition: the mean of the finer tier's means."""
    if tier == 0:
        return put.get(slot, NOTHING)[channel]
    factor = TIER_STEPS[tier] // TIER_STEPS[tier - 1]
    finer = (expect(put, tier - 1, slot * factor + part, channel) for part in range(factor))
    return mean([value for value in finer if value is not None])


@given(st.integers(0, 10_000), st.lists(st.tuples(STEPS, SAMPLES), min_size=1, max_size=60))
@settings(max_examples=150, deadline=None)
def test_a_ring_tells_what_was_put_and_nothing_else(
    start: int, rounds: list[tuple[int, Sample]]
) -> None:
    ring, put, slot = Ring(), {}, start
    for step, sample in rounds:
        slot += step if put else 0
        put[slot] = sample
        ring.put(slot, sample)
    assert ring.last == slot
    for tier, step in enumerate(TIER_STEPS):
        for end in (slot, slot + 3 * step):
            first, rows = ring.read(tier, end)
            assert 0 < len(rows) <= TIER_LENGTHS[tier]
            assert first + len(rows) - 1 == end // step
            assert first >= start // step
            for number, row in enumerate(rows, first):
                for channel, value in enumerate(row):
                    wanted = expect(put, tier, number, channel)
                    if number <= slot // step - TIER_LENGTHS[tier] or wanted is None:
                        assert value is None
                    else:
                        assert value == pytest.approx(wanted, rel=2e-3, abs=2e-3)


def test_a_day_fits_and_the_day_before_is_forgotten() -> None:
    ring = Ring()
    day = 8640
    for slot in range(2 * day):
        ring.put(slot, (100.0 if slot < day else 300.0, None, None, None))
    first, rows = ring.read(2, 2 * day - 1)
    assert (first, len(rows)) == (96, 96)
    assert {round(row[0] or 0) for row in rows} == {300}
    assert len(ring.read(0, 2 * day - 1)[1]) == 90


def test_a_missed_tick_is_a_gap_and_no_zero() -> None:
    ring = Ring()
    for slot in (5, 6, 9):
        ring.put(slot, (0.0, 1.0, None, None))
    first, rows = ring.read(0, 10)
    assert first == 5
    assert [row[0] for row in rows] == [0.0, 0.0, None, None, 0.0, None]


def test_a_slot_of_the_past_is_refused() -> None:
    ring = Ring()
    ring.put(5, NOTHING)
    with pytest.raises(ValueError, match="slot 4"):
        ring.put(4, NOTHING)


@given(st.floats(0, 1e14))
def test_a_value_is_kept_exact_to_a_third_of_a_thousandth(value: float) -> None:
    kept = decode(encode(value))
    assert kept is not None and abs(kept - value) <= 0.0003 * (value + 1)


def test_what_a_replica_costs_is_what_the_docstring_says() -> None:
    def cost(sample: Sample) -> int:
        ring = Ring()
        for slot in range(1000):
            ring.put(slot, sample)
        held = [ring, ring._channels, *(item for item in ring._channels if item is not None)]
        return sum(sys.getsizeof(item) for item in held)

    assert cost((1.0, 1.0, 1.0, 1.0)) <= 3500
    assert cost((1.0, 1.0, None, None)) <= 1900
