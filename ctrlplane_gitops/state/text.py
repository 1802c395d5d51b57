"""A text that may be kept smaller than it is."""

from __future__ import annotations

from typing import Protocol, TypeAlias


class SmallText(Protocol):
    """Kept in some other way; equal to another by what it says."""

    def read(self) -> str: ...


Text: TypeAlias = str | SmallText


def read_text(text: Text) -> str:
    """
    >>> read_text("as it is")
    'as it is'
    """
    return text if isinstance(text, str) else text.read()
