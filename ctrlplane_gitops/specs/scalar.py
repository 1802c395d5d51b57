"""What a plain YAML scalar means: the core schema of YAML 1.2, and nothing else.

``yes``, ``on``, ``1:30`` and ``2024-01-01`` are strings. Source: https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import re

from ctrlplane_gitops.specs.problem import Problem

_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
# JSON readers keep integers exactly up to 2**53; 18 digits always fit 64 bits.
_MAX_DIGITS = 18
_MAX_LENGTH = 40
_NUMBER_START = frozenset("-+.0123456789")

Scalar = str | int | float | bool | None


def resolve_scalar(text: str) -> Scalar | Problem:
    """The value of a plain scalar, or why it is refused.

    >>> resolve_scalar("on"), resolve_scalar("0o17"), resolve_scalar("True"), resolve_scalar("1:30")
    ('on', 15, True, '1:30')
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START:
        return text
    if len(text) > _MAX_LENGTH:
        return _too_large() if _FLOAT.fullmatch(text) else text
    if _INT.fullmatch(text):
        return _read_int(text, 10)
    if _OCTAL.fullmatch(text):
        return _read_int(text[2:], 8)
    if _HEX.fullmatch(text):
        return _read_int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if abs(number) != float("inf") else _too_large()
    if _NOT_FINITE.fullmatch(text):
        return Problem(
            "not-a-number", "infinity and NaN are not values here", "write a number, or quote it"
        )
    return text


def _read_int(digits: str, base: int) -> int | Problem:
    return int(digits, base) if len(digits) <= _MAX_DIGITS else _too_large()


def _too_large() -> Problem:
    hint = "quote it if it is meant as text"
    return Problem("number-too-large", f"a number has more than {_MAX_DIGITS} digits", hint)
