"""A mistake inside one document, before its file and resource are known."""

from __future__ import annotations

from ctrlplane_gitops.value import struct

Field = tuple[str | int, ...]
"""A path below a document's root: ``("spec", "ports", 0, "port")``."""

MAX_SHOWN = 60
MAX_WORD = 64

KEY_CODES = frozenset(
    {
        "clear-secret",
        "duplicate-key",
        "missing-key",
        "unknown-key",
        "unused-key",
        "unused-strategy-block",
        "wrong-key",
    }
)
"""Problems of a key rather than of its value: they are located at the key."""


@struct
class Problem:
    """``line`` and ``column`` count from 1; 0 means that ``field`` says where. ``summary`` and
    ``hint`` never carry a value of a Secret."""

    code: str
    summary: str
    hint: str = ""
    field: Field = ()
    line: int = 0
    column: int = 0


def format_field(field: Field) -> str:
    """The path as text.

    >>> format_field(("spec", "ports", 0, "port"))
    'spec.ports[0].port'
    """
    parts = [f"[{part}]" if isinstance(part, int) else f".{show_word(part)}" for part in field]
    return "".join(parts).removeprefix(".")


def show_word(word: str) -> str:
    """A key, printable and cut where it is too long.

    >>> show_word("a" * 100)[-5:]
    'aa...'
    """
    shown = "".join(char if char.isprintable() else "?" for char in word[:MAX_SHOWN])
    return shown + "..." if len(word) > MAX_SHOWN else shown


def show_value(value: object) -> str:
    """A value as a message may carry it: scalars only, printable and short.

    >>> show_value("a\\x1b[0m"), show_value(True), show_value([1])
    ("'a?[0m'", 'true', '')
    """
    if isinstance(value, str):
        return f"'{show_word(value)}'"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else ""


def type_name(value: object) -> str:
    """What a YAML value is called in a message.

    >>> type_name(True), type_name(1), type_name({}), type_name(None)
    ('a boolean', 'a number', 'a mapping', 'empty')
    """
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, dict):
        return "a mapping"
    return "empty" if value is None else "a list"
