"""Pictures as numbers: what the templates draw as SVG. Pure; no markup is made here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ctrlplane_gitops.value import struct

# All pictures but the staircase are drawn in this width and stretched to their place.
WIDTH = 1000
_GAP = 2.0
STAIR, _STAIR_HEIGHT = 84, 80


@struct
class Bar:
    """One part of a bar from left to right."""

    x: float
    width: float
    label: str
    tone: str


@struct
class Spark:
    """A line through what was measured, broken where nothing was. ``lines`` are the points of each
    piece, ``areas`` the same closed to the ground; ``low``, ``high`` and ``last`` are values."""

    lines: tuple[str, ...]
    areas: tuple[str, ...]
    low: float
    high: float
    last: float


@struct
class Stair:
    """One step of a canary: its column, how high the new release's share makes it, and where it
    stands: ``done``, ``current`` or ``ahead``. ``y`` and ``height`` are from the top down."""

    x: float
    y: float
    width: float
    height: float
    share: str
    stay: str
    tone: str


def draw_shares(shares: Iterable[tuple[str, float, str]]) -> tuple[Bar, ...]:
    """A bar for each (label, share, tone), as wide as its part of the sum; those of 0 are left out.

    >>> [(bar.x, bar.width) for bar in draw_shares([("v1", 90, "old"), ("v2", 10, "new")])]
    [(0.0, 900.0), (900.0, 100.0)]
    >>> draw_shares([("v1", 0, "old")])
    ()
    """
    given = [item for item in shares if item[1] > 0]
    total = sum(share for _, share, _ in given)
    bars, x = [], 0.0
    for label, share, tone in given:
        width = WIDTH * share / total
        bars.append(Bar(_short(x), _short(width), label, tone))
        x += width
    return tuple(bars)


def draw_strip(cells: Sequence[tuple[str, str]]) -> tuple[Bar, ...]:
    """A cell of the same width for each (label, tone), in the order of time.

    >>> [(bar.x, bar.width) for bar in draw_strip([("00:00", "ok"), ("00:30", "bad")])]
    [(0.0, 498.0), (500.0, 498.0)]
    """
    if not cells:
        return ()
    step = WIDTH / len(cells)
    gap = min(_GAP, step / 4)
    return tuple(
        Bar(_short(place * step), _short(step - gap), label, tone)
        for place, (label, tone) in enumerate(cells)
    )


def draw_spark(values: Sequence[float | None], height: int = 100) -> Spark | None:
    """None where nothing was measured. The ground is 0, so that a small change looks small.

    >>> draw_spark([0, 5, 10]).lines
    ('0,98 500,50 1000,2',)
    >>> draw_spark([1, None, 1]).lines
    ('0,2 0,2', '1000,2 1000,2')
    >>> draw_spark([None]) is None
    True
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    top = max(*known, 0.0) or 1.0
    step = WIDTH / max(1, len(values) - 1)
    pieces: list[list[tuple[float, float]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            pieces.append([])
        else:
            # Two at the top and the bottom are left for the line's own width.
            y = height - 2 - max(0.0, value) / top * (height - 4)
            pieces[-1].append((_short(place * step), _short(y)))
    # A piece of one value would not be seen.
    drawn = [piece if len(piece) > 1 else piece * 2 for piece in pieces if piece]
    return Spark(
        tuple(_points(piece) for piece in drawn),
        tuple(
            f"{_points(piece)} {piece[-1][0]:g},{height} {piece[0][0]:g},{height}"
            for piece in drawn
        ),
        min(known),
        max(known),
        known[-1],
    )


def draw_stairs(steps: Sequence[tuple[int, str]], current: int | None) -> tuple[Stair, ...]:
    """The steps of a canary as (weight, how long it stays): before ``current`` done, after it
    ahead; None is none of them begun, their number is all done.

    >>> [stair.tone for stair in draw_stairs([(10, "2m"), (50, "2m"), (100, "")], 1)]
    ['done', 'current', 'ahead']
    """
    found = []
    for place, (weight, stay) in enumerate(steps):
        tone = "ahead"
        if current is not None and place <= current:
            tone = "current" if place == current else "done"
        # A step of 0 % (a preview) is a line that can be seen.
        high = max(2.0, _STAIR_HEIGHT * weight / 100)
        found.append(
            Stair(
                float(place * STAIR),
                _short(_STAIR_HEIGHT - high),
                STAIR - 5.0,
                _short(high),
                f"{weight}%",
                stay,
                tone,
            )
        )
    return tuple(found)


def draw_map(tones: Sequence[str], columns: int) -> tuple[Mapping[str, str], int]:
    """A cell of 10 for each tone, row by row, as one SVG path for all cells of a tone; and how
    many rows there are.

    >>> draw_map(["ok", "bad", "ok"], 2)
    ({'bad': 'M12 0h10v10h-10z', 'ok': 'M0 0h10v10h-10zM0 12h10v10h-10z'}, 2)
    """
    paths: dict[str, list[str]] = {}
    for place, tone in enumerate(tones):
        row, column = divmod(place, columns)
        paths.setdefault(tone, []).append(f"M{column * 12} {row * 12}h10v10h-10z")
    rows = -(-len(tones) // columns)
    return {tone: "".join(parts) for tone, parts in sorted(paths.items())}, rows


def _points(piece: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in piece)


def _short(value: float) -> float:
    return round(value, 2)
