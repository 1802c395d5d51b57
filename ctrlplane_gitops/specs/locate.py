"""Exact places for problems that were found long after the file was read."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ctrlplane_gitops.diagnostics import Diagnostic, Origin


def locate(
    diagnostics: Iterable[Diagnostic], read: Callable[[str], bytes]
) -> tuple[Diagnostic, ...]:
    """The same diagnostics in the same order, with the line and column of their ``field``.

    ``origin`` says where the document begins; ``read(path)`` gives the file's bytes and is called
    once for each file. What is located already, has no field, or belongs to a document that is no
    longer there, stays as it is.
    """
    items = tuple(diagnostics)
    places: dict[str, dict[tuple[int, int], int]] = {}
    composed = {}
    located = []
    for item in items:
        origin = item.origin
        if origin is None or not item.field or not origin.line:
            located.append(item)
            continue
        if origin.path not in composed:
            from ctrlplane_gitops.specs.yaml import compose

            documents = compose(read(origin.path), with_places=True).documents
            composed[origin.path] = documents
            places[origin.path] = {(x.line, x.column): n for n, x in enumerate(documents)}
        index = places[origin.path].get((origin.line, origin.column))
        if index is None:
            located.append(item)
            continue
        from ctrlplane_gitops.specs.place import find_place

        place = find_place(composed[origin.path][index], item.field, item.code)
        located.append(item.at(Origin(origin.path, *place)))
    return tuple(located)
