"""What is kept of replicas, and what a window of it shows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.state.usage import Usage
from ctrlplane_gitops.telemetry.sample import NOTHING, Reading, compute_sample
from ctrlplane_gitops.telemetry.series import Telemetry, sample_as_json, series_as_json

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEP = timedelta(seconds=10)
QUARTER, DAY = timedelta(minutes=15), timedelta(days=1)
WEB, DB = instance_key("acme", "web"), instance_key("acme", "db")
TOTALS = st.none() | st.integers(0, 2**50)
USAGES = st.builds(Usage, st.none() | st.floats(0, 1e9), TOTALS, TOTALS, TOTALS)


class Rounds:
    """Rounds ten seconds apart. ``read`` takes, by replica, the instance, who it is and what it
    has used in all."""

    def __init__(self, most: int = 20_000) -> None:
        self.telemetry = Telemetry(STEP, most)
        self.now = START

    def read(self, **usages: tuple[ResourceKey, str, Usage]) -> None:
        at_s = self.now.timestamp()
        readings = {
            name: (key, Reading(at_s, identity, usage))
            for name, (key, identity, usage) in usages.items()
        }
        self.telemetry.put(self.now, readings)
        self.now += STEP

    def cpu(self, key: ResourceKey = WEB) -> list[float | None]:
        series = self.telemetry.read_instance(key, self.now - STEP, QUARTER)
        return [row[0] and round(row[0]) for row in series.samples]


def test_an_instance_uses_what_its_replicas_do() -> None:
    rounds = Rounds()
    for turn in range(3):
        rounds.read(
            a=(WEB, "1", Usage(5.0 * turn, 100)),
            b=(WEB, "2", Usage(1.0 * turn, 50)),
            c=(DB, "3", Usage(0.0, 7)),
        )
    assert rounds.cpu() == [None, 600, 600]
    assert rounds.cpu(DB) == [None, 0, 0]
    by_replica = rounds.telemetry.read_replicas(WEB, rounds.now - STEP, QUARTER)
    assert {name: round(item.last[0] or 0) for name, item in by_replica.items()} == {
        "a": 500,
        "b": 100,
    }
    latest = rounds.telemetry.read_latest(rounds.now)
    assert sample_as_json(latest[WEB]) == {
        "cpu_millicores": 600,
        "memory_bytes": 150,
        "rx_bytes_per_s": None,
        "tx_bytes_per_s": None,
    }


def test_a_replica_that_came_later_adds_to_what_was_there() -> None:
    rounds = Rounds()
    rounds.read(a=(WEB, "1", Usage(0.0)))
    rounds.read(a=(WEB, "1", Usage(1.0)))
    rounds.read(a=(WEB, "1", Usage(2.0)), b=(WEB, "2", Usage(7.0)))
    rounds.read(a=(WEB, "1", Usage(3.0)), b=(WEB, "2", Usage(8.0)))
    assert rounds.cpu() == [None, 100, 100, 200]


def test_a_missed_round_is_a_gap_and_the_next_rate_is_over_both() -> None:
    rounds = Rounds()
    rounds.read(a=(WEB, "1", Usage(0.0)))
    rounds.read()
    rounds.read(a=(WEB, "1", Usage(4.0)))
    assert rounds.cpu() == [None, None, 200]


def test_a_restart_is_a_gap_and_no_negative_rate() -> None:
    rounds = Rounds()
    rounds.read(a=(WEB, "1", Usage(100.0)))
    rounds.read(a=(WEB, "2", Usage(500.0)))
    rounds.read(a=(WEB, "2", Usage(501.0)))
    assert rounds.cpu() == [None, None, 100]


@given(USAGES, USAGES, st.floats(0, 100), st.booleans())
def test_no_rate_is_negative_or_larger_than_what_was_counted(
    before: Usage, now: Usage, seconds: float, is_other: bool
) -> None:
    old = Reading(50.0, "a", before)
    sample = compute_sample(old, Reading(50.0 + seconds, "b" if is_other else "a", now))
    assert all(value is None or value >= 0 for value in sample)
    assert sample[1] == now.memory_bytes
    if is_other:
        assert (sample[0], *sample[2:]) == (None, None, None)
    if sample[0] is not None:
        assert before.cpu_s is not None and now.cpu_s is not None and seconds > 0
        # Half a second at least: a rate is at most twice what was counted.
        assert sample[0] <= 1000 * 2.1 * (now.cpu_s - before.cpu_s)


def test_what_is_gone_is_kept_for_an_hour() -> None:
    rounds = Rounds()
    rounds.read(a=(WEB, "1", Usage(0.0, 5)), b=(DB, "2", Usage(0.0, 5)))
    for _ in range(359):
        rounds.read(b=(DB, "2", Usage(0.0, 5)))
    window = timedelta(hours=3)
    assert set(rounds.telemetry.read_replicas(WEB, rounds.now, window)) == {"a"}
    assert WEB not in rounds.telemetry.read_latest(rounds.now)
    for _ in range(3):
        rounds.read(b=(DB, "2", Usage(0.0, 5)))
    assert rounds.telemetry.read_replicas(WEB, rounds.now, window) == {}
    assert set(rounds.telemetry.read_replicas(DB, rounds.now, window)) == {"b"}


def test_there_are_never_more_replicas_than_allowed_and_the_oldest_go() -> None:
    rounds = Rounds(most=3)
    for number in range(10):
        rounds.read(**{f"r{number}": (WEB, "x", Usage(1.0))})
    known = rounds.telemetry.read_replicas(WEB, rounds.now, QUARTER)
    assert set(known) == {"r7", "r8", "r9"}


def test_a_name_that_another_instance_has_now_begins_anew() -> None:
    rounds = Rounds()
    rounds.read(a=(WEB, "1", Usage(0.0)))
    rounds.read(a=(DB, "1", Usage(9.0)))
    assert rounds.telemetry.read_replicas(WEB, rounds.now, QUARTER) == {}
    assert rounds.cpu(DB) == [None]


def test_the_window_chooses_how_fine_it_is_shown() -> None:
    rounds = Rounds()
    for turn in range(8640):
        rounds.read(a=(WEB, "1", Usage(1.0 * turn)))
    shown = {
        hours: rounds.telemetry.read_instance(WEB, rounds.now - STEP, timedelta(hours=hours))
        for hours in (0.25, 3, 24)
    }
    found = {hours: (len(item.samples), item.step) for hours, item in shown.items()}
    assert found == {
        0.25: (90, STEP),
        3: (180, timedelta(minutes=1)),
        24: (96, timedelta(minutes=15)),
    }
    assert shown[24].begins_at == START


def test_a_series_is_told_as_columns() -> None:
    rounds = Rounds()
    rounds.read(a=(WEB, "1", Usage(0.0, 100, 0, 0)))
    rounds.read(a=(WEB, "1", Usage(0.5, 120, 1000, 10)))
    told = series_as_json(rounds.telemetry.read_instance(WEB, rounds.now - STEP, QUARTER))
    assert json.loads(json.dumps(told)) == {
        "begins_at": "2026-03-01T12:00:00.000Z",
        "step_s": 10.0,
        "cpu_millicores": [None, 50],
        "memory_bytes": [100, 120],
        "rx_bytes_per_s": [None, 100],
        "tx_bytes_per_s": [None, 1],
    }
    nobody = rounds.telemetry.read_instance(instance_key("acme", "none"), rounds.now, DAY)
    assert series_as_json(nobody)["cpu_millicores"] == []
    assert nobody.last == NOTHING
