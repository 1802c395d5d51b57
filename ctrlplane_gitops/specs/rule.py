"""Rules that more than one kind has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ctrlplane_gitops.specs.problem import Field, Problem, format_field, show_value


def find_duplicates(
    values: Sequence[str | int], where: Field, noun: str, key: str = ""
) -> Iterator[Problem]:
    """A problem for every value that stood before. ``where`` is the list, below the spec; ``key``
    the field of its items that is compared.

    >>> [problem.summary for problem in find_duplicates(["a", "b", "a"], ("hosts",), "host")]
    ["spec.hosts[2] repeats the host 'a' of spec.hosts[0]"]
    """
    if len(values) < 2:
        return
    first: dict[str | int, int] = {}
    for index, value in enumerate(values):
        if value not in first:
            first[value] = index
            continue
        item: Field = (*where, index, key) if key else (*where, index)
        place = format_field(("spec", *item))
        before = format_field(("spec", *where, first[value]))
        summary = f"{place} repeats the {noun} {show_value(value)} of {before}"
        yield Problem("duplicate", summary, "keep one of them", item)
