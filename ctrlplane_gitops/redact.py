"""What must never be printed: secret values, and characters that steer a terminal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

MASK = "(sensitive value)"
_MIN_SCRUB_LENGTH = 4


class SecretValue:
    """Bytes that do not show in ``repr``, ``str``, format strings, pickles, comparisons."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The value itself, for the one adapter call that hands it to a replica."""
        return self._value

    def digest(self, salt: str) -> str:
        """16 hex digits that change when the value changes; keyed, so equal values under
        different salts do not look alike.

        >>> SecretValue(b"x").digest("a") == SecretValue(b"x").digest("b")
        False
        """
        key = hashlib.blake2b(salt.encode(), digest_size=32).digest()
        return hashlib.blake2b(self._value, key=key, digest_size=8).hexdigest()

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return MASK

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret value cannot be pickled")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretValue) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Redactor:
    """Replaces every known secret value in a text by ``MASK``.

    Values shorter than four bytes are left alone: masking every ``1`` in a log helps nobody.

    >>> redactor = Redactor([SecretValue(b"hunter22")])
    >>> redactor.scrub("login hunter22 failed")
    'login (sensitive value) failed'
    """

    def __init__(self, values: Iterable[SecretValue] = ()) -> None:
        self._texts: list[str] = []
        self.add(values)

    def add(self, values: Iterable[SecretValue]) -> None:
        known = set(self._texts)
        for value in values:
            text = value.reveal().decode("utf-8", "replace")
            for part in (text, text.strip()):
                if len(part) >= _MIN_SCRUB_LENGTH:
                    known.add(part)
        # Longest first, so that a value that contains another is masked as a whole.
        self._texts = sorted(known, key=lambda part: (-len(part), part))

    def scrub(self, text: str) -> str:
        for secret in self._texts:
            text = text.replace(secret, MASK)
        return text


def printable(text: str) -> str:
    """The text with every character that could steer a terminal or reorder what it shows replaced.
    Line ends stay, tabs become spaces.

    >>> printable("a\\x1b[2J\\tb\\n") == "a\\ufffd[2J    b\\n"
    True
    """
    return "\n".join(line if line.isprintable() else _replace(line) for line in text.split("\n"))


def one_line(text: str) -> str:
    """The same on one line, so that no part of a message passes for a line of its own.

    >>> one_line("exited\\r\\n  1")
    'exited 1'
    """
    return printable(" ".join(text.split()))


def _replace(line: str) -> str:
    return "".join(
        char if char.isprintable() else "    " if char == "\t" else "\N{REPLACEMENT CHARACTER}"
        for char in line
    )
