"""Problems in what a user wrote: all at once, each with its place and the way out.

Shape after OpenTofu's ``tfdiags``: severity, a summary in one line, optional detail and place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from ctrlplane_gitops.value import ordered_struct, replace, struct


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@ordered_struct
class Origin:
    """A place in a file. ``line`` and ``column`` count from 1; 0 means not known."""

    path: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.path
        return (
            f"{self.path}:{self.line}:{self.column}" if self.column else f"{self.path}:{self.line}"
        )


@struct
class Diagnostic:
    """One problem.

    ``code`` is a stable kebab-case name (``unknown-key``, ``dangling-reference``).
    ``summary`` says what is wrong; ``hint`` says how to mend it. Neither carries a secret value.
    ``address`` is the resource it belongs to, where known. ``tenant`` is the tenant that an error
    freezes; empty means it cannot be known (an unparsable file).
    ``field`` is the path below the document's root, for locating: ``("spec", "ports", 0, "port")``.
    """

    severity: Severity
    code: str
    summary: str
    origin: Origin | None = None
    hint: str = ""
    address: str = ""
    tenant: str = ""
    field: tuple[str | int, ...] = ()

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR

    def at(self, origin: Origin) -> Diagnostic:
        return replace(self, origin=origin)

    def render(self) -> str:
        """One or two lines: ``tenants/a.yaml:3:5: error: ... [code]``."""
        place = f"{self.origin}: " if self.origin else (f"{self.address}: " if self.address else "")
        # A cause may quote what somebody else said: it must not pass for a line of its own.
        summary, hint = (" ".join(text.splitlines()) for text in (self.summary, self.hint))
        text = f"{place}{self.severity}: {summary} [{self.code}]"
        return f"{text}\n    {hint}" if hint else text


def error(code: str, summary: str, **more: object) -> Diagnostic:
    return Diagnostic(Severity.ERROR, code, summary, **more)  # type: ignore[arg-type]


def warning(code: str, summary: str, **more: object) -> Diagnostic:
    return Diagnostic(Severity.WARNING, code, summary, **more)  # type: ignore[arg-type]


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    return any(item.is_error for item in diagnostics)


def sort_diagnostics(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """By place, then code: the same order every time, duplicates dropped."""
    return tuple(
        sorted(
            dict.fromkeys(diagnostics),
            key=lambda item: (item.origin or Origin(""), item.address, item.code, item.summary),
        )
    )


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`` did you mean 'x'?`` with the closest known word, or the list of known words, or nothing.

    >>> did_you_mean("replcias", ["replicas", "resources"])
    "did you mean 'replicas'?"
    >>> did_you_mean("zzz", ["a", "b"])
    "known: 'a', 'b'"
    """
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if 0 < len(known) <= 12:
        return "known: " + ", ".join(repr(name) for name in sorted(known))
    return ""
