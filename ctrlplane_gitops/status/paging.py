"""Lists in pages: what is asked for, and where the next page begins."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.value import struct

T = TypeVar("T")
U = TypeVar("U")
MAX_LIMIT = 500
Place = tuple[str, ...]
"""What a list is sorted by; the next page begins after that of the last row."""


@struct
class Page:
    """At most ``limit`` rows, after the place that ``cursor`` says ("": from the beginning)."""

    limit: int = 100
    cursor: str = ""


class Listing(NamedTuple, Generic[T]):
    """``next`` is the cursor of the next page, None where this is the last."""

    items: tuple[T, ...]
    next: str | None = None

    def map(self, show: Callable[[T], U]) -> Listing[U]:
        """The same page, with what is shown of each row."""
        return Listing(tuple(show(item) for item in self.items), self.next)


def encode_cursor(place: Place) -> str:
    """
    >>> decode_cursor(encode_cursor(("acme", "web")), 2)
    ('acme', 'web')
    """
    text = json.dumps(place, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_number(cursor: str) -> int | None:
    """The number of a row that a page begins after, None for the first page; UsageError for what
    is none.

    >>> parse_number("12"), parse_number("")
    (12, None)
    """
    if not cursor:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise UsageError("the cursor is none of this list", hint="give 'next' of the page before")
    return int(cursor)


def decode_cursor(cursor: str, length: int) -> Place:
    """The place of a cursor of a list that is sorted by so many texts; UsageError for any other."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found = json.loads(raw)
    except (ValueError, binascii.Error, RecursionError):
        found = None
    is_place = isinstance(found, list) and len(found) == length
    if not is_place or not all(isinstance(item, str) for item in found):
        raise UsageError("the cursor is none of this list", hint="give 'next' of the page before")
    return tuple(found)


def take_page(
    rows: Iterable[T], place_of: Callable[[T], Place], page: Page, length: int
) -> Listing[T]:
    """A page of rows that are sorted by their place and may be many.

    >>> take_page("abc", lambda row: (row,), Page(limit=2), 1).items
    ('a', 'b')
    """
    after = decode_cursor(page.cursor, length) if page.cursor else None
    found: list[T] = []
    for row in rows:
        if after is not None and place_of(row) <= after:
            continue
        if len(found) == page.limit:
            return Listing(tuple(found), encode_cursor(place_of(found[-1])))
        found.append(row)
    return Listing(tuple(found))
