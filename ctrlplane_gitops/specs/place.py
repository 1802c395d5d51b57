"""From a field of a document to its line and column."""

from __future__ import annotations

from ctrlplane_gitops.specs.problem import KEY_CODES, Field, Problem
from ctrlplane_gitops.specs.yaml import ComposedDocument


def find_place(document: ComposedDocument, where: Field, code: str = "") -> tuple[int, int]:
    """Line and column of a field's value, or of its key where ``code`` is about the key.

    What is not there (a missing key) is placed at the key of what should contain it. The document
    must have been composed with its places.
    """
    places = document.places or {}
    value = document.value
    found = document.line, document.column
    for step, part in enumerate(where):
        place = places.get(id(value), {}).get(part)
        if place is None:
            return found
        is_last = step == len(where) - 1
        found = place[2:] if is_last and code not in KEY_CODES else place[:2]
        value = value[part]
    return found


def place_problem(document: ComposedDocument, problem: Problem) -> tuple[int, int]:
    """The problem's own line and column where it has one, else its field's."""
    if problem.line:
        return problem.line, problem.column
    return find_place(document, problem.field, problem.code)
