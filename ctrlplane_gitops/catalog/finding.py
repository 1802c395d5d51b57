"""Problems that only show when documents are held against each other, with their place."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from functools import lru_cache

from ctrlplane_gitops.diagnostics import Diagnostic, Severity, did_you_mean
from ctrlplane_gitops.specs.document import Document

_MANY = 100
_WINDOW = 8


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
    """``did_you_mean`` among the words of a tenant or the like, sorted here.

    >>> suggest("wbe", ["web", "worker"])
    "did you mean 'web'?"
    """
    return suggest_among(word, sorted(known))


def suggest_among(word: str, known: Sequence[str]) -> str:
    """The same for words that are sorted already. Among very many only those that begin alike are
    compared, so that a broken repository is not slow as well."""
    if len(known) > _MANY:
        place = bisect_left(known, word)
        known = known[max(0, place - _WINDOW) : place + _WINDOW]
    return _compare(word, tuple(known))


@lru_cache(maxsize=1024)
def _compare(word: str, known: tuple[str, ...]) -> str:
    # One mistake is often made in many documents: a provider's name, a tenant's.
    return did_you_mean(word, known)


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
