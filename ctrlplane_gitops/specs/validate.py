"""``parse``: files in, documents and everything that is wrong out.

Importing this loads neither pydantic nor the YAML parser: a pass whose files are all in the parse
cache needs none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ctrlplane_gitops.diagnostics import Diagnostic, Origin, error, sort_diagnostics, warning
from ctrlplane_gitops.specs.document import Document, load_document
from ctrlplane_gitops.specs.problem import Problem
from ctrlplane_gitops.value import replace

Composed = tuple[Any, int, int, bool]
"""A document as plain values, its line and column, and whether any of them is null."""
_SUFFIXES = (".yaml", ".yml")


def is_spec(path: str) -> bool:
    """Whether a file of the repository may hold specs: YAML, and no part of its path hidden.

    >>> is_spec("tenants/acme.yaml"), is_spec(".github/ci.yml"), is_spec("README.md")
    (True, False, False)
    """
    return path.endswith(_SUFFIXES) and not path.startswith(".") and "/." not in path


def parse(files: Mapping[str, bytes]) -> tuple[tuple[Document, ...], tuple[Diagnostic, ...]]:
    """All sound documents, by path and order, and all problems of all files.

    Never raises for what a file contains. A document with a problem is left out; of a file that
    cannot be read to its end, the documents before that point are there. A diagnostic's ``tenant``
    is empty when it cannot be known whose the document is.
    """
    documents: list[Document] = []
    diagnostics: list[Diagnostic] = []
    for path in sorted(files):
        found, problems = _parse_file(path, files[path])
        documents += found
        diagnostics += problems
    if files:
        diagnostics += _warn_of_slow_parser()
    return tuple(documents), sort_diagnostics(diagnostics)


def _warn_of_slow_parser() -> list[Diagnostic]:
    from ctrlplane_gitops.specs.event import is_c_parser

    if is_c_parser():
        return []
    summary = "the YAML parser in C is missing: reading takes 20 to 50 times as long"
    return [warning("slow-yaml-parser", summary, hint="pip install 'ruamel.yaml[libyaml]'")]


def _parse_file(path: str, content: bytes) -> tuple[list[Document], list[Diagnostic]]:
    from ctrlplane_gitops.specs.envelope import Finding, read_document
    from ctrlplane_gitops.specs.place import place_problem
    from ctrlplane_gitops.specs.yaml import compose

    composed = compose(content)
    documents: list[Document] = []
    findings: list[tuple[int, Finding]] = []
    for index, item in enumerate(composed.documents):
        read = read_document(item, path, index)
        if isinstance(read, Document):
            documents.append(read)
        elif read is not None:
            findings.append((index, read))
    diagnostics = []
    if findings:
        # Only now are positions needed; keeping them costs a third of the time.
        placed = compose(content, with_places=True).documents
        for index, finding in findings:
            for problem in finding.problems:
                origin = Origin(path, *place_problem(placed[index], problem))
                shown = replace(problem, field=()) if finding.is_secret else problem
                diagnostics.append(_diagnostic(shown, origin, finding.address, finding.tenant))
    if composed.problem is not None:
        origin = Origin(path, composed.problem.line, composed.problem.column)
        diagnostics.append(_diagnostic(composed.problem, origin, "", ""))
    return documents, diagnostics


def compose_sound(files: Mapping[str, bytes]) -> dict[str, list[Composed]]:
    """The first half of ``parse``, which needs no models: the documents of every file that YAML
    alone finds no fault with, for ``read_composed``."""
    from ctrlplane_gitops.specs.yaml import compose

    found: dict[str, list[Composed]] = {}
    for path, content in files.items():
        composed = compose(content)
        if composed.problem is None and not any(item.problems for item in composed.documents):
            found[path] = [
                (item.value, item.line, item.column, item.has_null) for item in composed.documents
            ]
    return found


def read_composed(path: str, composed: Iterable[Composed]) -> list[Document] | None:
    """The second half: the documents of one file; None where ``parse`` has a problem to tell."""
    from ctrlplane_gitops.specs.envelope import read_document
    from ctrlplane_gitops.specs.yaml import ComposedDocument

    documents: list[Document] = []
    for index, (value, line, column, has_null) in enumerate(composed):
        read = read_document(ComposedDocument(value, line, column, [], has_null), path, index)
        if isinstance(read, Document):
            documents.append(read)
        elif read is not None:
            return None
    return documents


def _diagnostic(problem: Problem, origin: Origin, address: str, tenant: str) -> Diagnostic:
    return error(
        problem.code,
        problem.summary,
        origin=origin,
        hint=problem.hint,
        address=address,
        tenant=tenant,
        field=problem.field,
    )


def dump_documents(documents: Iterable[Document]) -> list[dict[str, Any]]:
    """JSON values for the parse cache: the documents of one file, without its path."""
    return [document.to_json() for document in documents]


def load_documents(values: Sequence[Mapping[str, Any]], path: str) -> list[Document]:
    """The inverse of ``dump_documents``, for a file at ``path``."""
    return [load_document(value, path) for value in values]
