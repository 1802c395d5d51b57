"""Pictures stay inside their frame, whatever they are drawn of."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ctrlplane_gitops.api.picture import (
    STAIR,
    WIDTH,
    draw_map,
    draw_shares,
    draw_spark,
    draw_stairs,
    draw_strip,
)

VALUES = st.lists(st.none() | st.floats(0, 1e15, allow_nan=False), max_size=200)
PATH = re.compile(r"M(\d+) (\d+)h10v10h-10z")


def points_of(text: str) -> list[tuple[float, float]]:
    pairs = (point.split(",") for point in text.split())
    return [(float(x), float(y)) for x, y in pairs]


@given(VALUES)
def test_a_line_stays_inside_and_is_broken_where_nothing_was_measured(
    values: list[float | None],
) -> None:
    picture = draw_spark(values)
    known = [value for value in values if value is not None]
    if picture is None:
        assert known == []
        return
    assert (picture.low, picture.high, picture.last) == (min(known), max(known), known[-1])
    for text in (*picture.lines, *picture.areas):
        for x, y in points_of(text):
            assert 0 <= x <= WIDTH
            assert 0 <= y <= 100
    gaps = re.sub("x+", "x", "".join("." if value is None else "x" for value in values))
    assert len(picture.lines) == gaps.count("x")


def test_the_ground_of_a_line_is_nothing_used() -> None:
    picture = draw_spark([100, 101, 100])
    assert picture is not None
    assert all(y < 5 for _, y in points_of(picture.lines[0])), "a small change looks small"


@given(st.lists(st.integers(0, 100), max_size=8))
def test_shares_fill_the_bar_in_proportion(shares: list[int]) -> None:
    bars = draw_shares([(str(place), share, "new") for place, share in enumerate(shares)])
    assert len(bars) == sum(share > 0 for share in shares)
    if bars:
        assert abs(sum(bar.width for bar in bars) - WIDTH) < 0.1
        for before, after in pairwise(bars):
            assert abs(before.x + before.width - after.x) < 0.1


@given(st.integers(0, 400))
def test_a_strip_has_a_cell_for_each_in_order(count: int) -> None:
    bars = draw_strip([(str(place), "ok") for place in range(count)])
    assert [bar.label for bar in bars] == [str(place) for place in range(count)]
    assert all(bar.width > 0 for bar in bars)
    assert not bars or bars[-1].x + bars[-1].width <= WIDTH


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20), st.none() | st.integers(0, 20))
def test_stairs_are_as_high_as_their_weight(weights: list[int], current: int | None) -> None:
    stairs = draw_stairs([(weight, "") for weight in weights], current)
    assert [stair.share for stair in stairs] == [f"{weight}%" for weight in weights]
    for place, stair in enumerate(stairs):
        assert stair.x == place * STAIR
        assert stair.y + stair.height == stairs[0].y + stairs[0].height
        assert (stair.tone == "current") == (place == current)
        assert (stair.tone == "done") == (current is not None and place < current)
    heights = {stair.share: stair.height for stair in stairs}
    assert all(heights[a] <= heights[b] for a in heights for b in heights if _of(a) <= _of(b))


def _of(share: str) -> int:
    return int(share.removesuffix("%"))


@given(st.lists(st.sampled_from(["ok", "bad", "warn"]), max_size=300), st.integers(1, 50))
def test_a_map_has_a_cell_for_everybody(tones: list[str], columns: int) -> None:
    paths, rows = draw_map(tones, columns)
    cells = [cell for path in paths.values() for cell in PATH.findall(path)]
    assert len(set(cells)) == len(cells) == len(tones)
    assert {tone: len(PATH.findall(path)) for tone, path in paths.items()} == {
        tone: tones.count(tone) for tone in set(tones)
    }
    assert all(int(x) < columns * 12 and int(y) < rows * 12 for x, y in cells)
