"""Columns of text."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from ctrlplane_gitops.redact import one_line


def render_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns two spaces apart, each cell on one line; ends with a newline.

    >>> print(render_table(("A", "B"), [("x", "y")]), end="")
    A  B
    x  y
    """
    table = [headings, *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(width_of(row[place]) for row in table) for place in range(len(headings))]
    lines = (
        "  ".join(
            cell + " " * (width - width_of(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in table
    )
    return "".join(f"{line}\n" for line in lines)


def width_of(text: str) -> int:
    """The columns a terminal needs for it: East Asian wide characters take two, combining none.

    >>> width_of("abc"), width_of("日本"), width_of("e\u0301")
    (3, 4, 1)
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
