"""Reading documents of files, from the parse cache where they are known."""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.execute.child import Child, begin_child
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.source.cache import ParseCache
from ctrlplane_gitops.specs.document import Document, load_document
from ctrlplane_gitops.specs.validate import parse

# So many new files are worth a second process: making it takes as long as parsing fifty.
_MANY = 200


class Reader:
    """Documents of files, from the cache where their blob is known."""

    def __init__(self, snapshot: Snapshot, cache: ParseCache | None) -> None:
        self._snapshot = snapshot
        self._cache = cache
        self._child: Child | None = None
        self._given: frozenset[str] = frozenset()
        self.diagnostics: list[Diagnostic] = []
        self.fresh: dict[str, list[object]] = {}
        self.parsed = 0

    @contextmanager
    def helped(self, paths: Sequence[str]) -> Iterator[None]:
        """Where many of the files are new, a second process parses three of five of them while the
        block runs, which is to read them: this one has more to do meanwhile. No thread may run when
        it begins."""
        entries, known = self._snapshot.entries, self._known(paths)
        missing = [path for path in paths if entries[path] not in known]
        if len(missing) >= _MANY:
            given = [path for number, path in enumerate(missing) if number % 5 not in (0, 2)]
            self._child = begin_child(lambda: marshal.dumps(self._parse_apart(given)))
            self._given = frozenset(given)
        try:
            yield
        finally:
            if self._child is not None:
                self._child.end()
                self._child = None

    def read(self, paths: Sequence[str]) -> list[Document]:
        """Known documents first, then those of new files, by path."""
        entries, known = self._snapshot.entries, self._known(paths)
        found: list[Document] = []
        missing = []
        for path in paths:
            try:
                found += [load_document(value, path) for value in known[entries[path]]]
            except (KeyError, TypeError):
                # Not known, or written by a program whose documents looked otherwise.
                missing.append(path)
        if missing:
            found.extend(self._parse(missing))
        return found

    def _known(self, paths: Sequence[str]) -> Mapping[str, list[Any]]:
        entries = self._snapshot.entries
        return self._cache.load([entries[path] for path in paths]) if self._cache else {}

    def _parse(self, paths: Sequence[str]) -> list[Document]:
        """What the child was given it has parsed, but for files with problems: it leaves those out,
        and everything where it failed."""
        self.parsed += len(paths)
        child = self._child
        if child is None:
            return self._parse_here(paths)
        found = self._parse_here([path for path in paths if path not in self._given])
        answer = child.result()
        values = {} if answer is None else marshal.loads(answer)
        for path, payload in values.items():
            found += [load_document(value, path) for value in payload]
            self.fresh[self._snapshot.entries[path]] = payload
        found += self._parse_here(
            [path for path in paths if path in self._given and path not in values]
        )
        return sorted(found, key=lambda document: (document.path, document.index))

    def _parse_here(self, paths: Sequence[str]) -> list[Document]:
        documents, diagnostics = self._parse_files(paths)
        self.diagnostics.extend(diagnostics)
        entries = self._snapshot.entries
        sound = _sound(paths, documents, diagnostics)
        self.fresh.update({entries[path]: values for path, values in sound.items()})
        return list(documents)

    def _parse_apart(self, paths: Sequence[str]) -> dict[str, list[object]]:
        return _sound(paths, *self._parse_files(paths))

    def _parse_files(
        self, paths: Sequence[str]
    ) -> tuple[tuple[Document, ...], tuple[Diagnostic, ...]]:
        if not paths:
            return (), ()
        entries = self._snapshot.entries
        contents = self._snapshot.read(sorted({entries[path] for path in paths}))
        return parse({path: contents[entries[path]] for path in paths})


def _sound(
    paths: Sequence[str], documents: Sequence[Document], diagnostics: Sequence[Diagnostic]
) -> dict[str, list[object]]:
    """What may be remembered of each file. What had a problem is parsed again each time, so that
    the problem is said each time."""
    by_path: dict[str, list[object]] = {path: [] for path in paths}
    for document in documents:
        by_path[document.path].append(document.to_json())
    for item in diagnostics:
        if item.origin is not None:
            by_path.pop(item.origin.path, None)
    return by_path
