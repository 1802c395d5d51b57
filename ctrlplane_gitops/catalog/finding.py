"""Problems that only show when documents are held against each other, with their place."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection

from ctrlplane_gitops.diagnostics import Diagnostic, Severity, did_you_mean
from ctrlplane_gitops.specs.document import Document

_MANY = 200
_WINDOW = 50


def fault(
    document: Document, code: str, summary: str, *field: str | int, hint: str = ""
) -> Diagnostic:
    """An error of this document, which freezes its tenant. ``field`` is the path below ``spec``."""
    return _finding(Severity.ERROR, document, code, summary, field, hint)


def caution(
    document: Document, code: str, summary: str, *field: str | int, hint: str = ""
) -> Diagnostic:
    """A warning; ``field`` is the path below ``spec``."""
    return _finding(Severity.WARNING, document, code, summary, field, hint)


def suggest(word: str, known: Collection[str]) -> str:
    """``did_you_mean`` that stays cheap among very many known words: then only those that begin
    alike are compared, so that a broken repository is not slow as well.

    >>> suggest("wbe", ["web", "worker"])
    "did you mean 'web'?"
    """
    words = sorted(known)
    if len(words) > _MANY:
        place = bisect_left(words, word)
        words = words[max(0, place - _WINDOW) : place + _WINDOW]
    return did_you_mean(word, words)


def _finding(
    severity: Severity,
    document: Document,
    code: str,
    summary: str,
    field: tuple[str | int, ...],
    hint: str,
) -> Diagnostic:
    return Diagnostic(
        severity,
        code,
        summary,
        document.origin,
        hint,
        document.key.address,
        document.tenant,
        ("spec", *field) if field else (),
    )
