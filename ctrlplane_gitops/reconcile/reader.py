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
from ctrlplane_gitops.specs.validate import (
    Composed,
    compose_sound,
    dump_documents,
    parse,
    read_composed,
)

# So many new files are worth a second process: making it takes as long as parsing fifty.
_MANY = 200
# It composes while this one loads the models, which takes as long as composing so many.
_LOADING = 1000
# So many files are handed over at a time.
_BATCH = 100
# One of so many is parsed here in any case, so that a model is built before everybody waits for it.
_SAMPLED = 100


class Reader:
    """Documents of files, from the cache where their blob is known."""

    def __init__(self, snapshot: Snapshot, cache: ParseCache | None) -> None:
        self._snapshot = snapshot
        self._cache = cache
        self._child: Child | None = None
        self._composed: dict[str, list[Composed]] = {}
        self._given: frozenset[str] = frozenset()
        self.diagnostics: list[Diagnostic] = []
        self.fresh: dict[str, list[object]] = {}
        self.parsed = 0

    def skim(self, path: str) -> list[Any]:
        """The documents of one file as plain values, as they are written or normalised, before
        anything is checked; [] where it is no sound YAML."""
        known = self._known([path]).get(self._snapshot.entries[path])
        if known is not None:
            return known
        self._composed |= self._compose([path])
        return [value for value, *_ in self._composed.get(path, ())]

    @contextmanager
    def helped(self, paths: Sequence[str]) -> Iterator[None]:
        """Where many of the files are new, a second process composes most of them while the block
        runs, which is to read them: this one has the models to load, and every document to validate
        that the other one composes. No thread may run when it begins."""
        entries, known = self._snapshot.entries, self._known(paths)
        missing = [path for path in paths if entries[path] not in known]
        if len(missing) >= _MANY:
            given = [path for number, path in enumerate(missing) if _is_given(number)]
            self._child = begin_child(lambda: self._compose_batches(given))
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
        """What was composed is validated; what was not, or has problems to be told, is parsed."""
        self.parsed += len(paths)
        given = self._given if self._child is not None else frozenset()
        ready = [path for path in paths if path in self._composed]
        others = [path for path in paths if path not in self._composed]
        found, unsound = self._validate(ready)
        found += self._parse_here([path for path in others if path not in given])
        more, left = self._take_composed([path for path in others if path in given])
        found += more + self._parse_here(unsound + left)
        return sorted(found, key=lambda document: (document.path, document.index))

    def _take_composed(self, paths: Sequence[str]) -> tuple[list[Document], list[str]]:
        """Documents of files that the second process has composed, validated while it goes on with
        others; and the paths of those that it has not, or that have a problem."""
        found: list[Document] = []
        left = dict.fromkeys(paths)
        for part in self._child.parts() if self._child is not None and paths else ():
            composed = marshal.loads(part)
            self._composed |= composed
            ready = [path for path in composed if path in left]
            documents, unsound = self._validate(ready)
            found += documents
            for path in set(ready).difference(unsound):
                del left[path]
        return found, list(left)

    def _validate(self, paths: Sequence[str]) -> tuple[list[Document], list[str]]:
        """Documents of files that were composed, and the paths of all others."""
        found: list[Document] = []
        unsound = []
        for path in paths:
            composed = self._composed.pop(path, None)
            documents = None if composed is None else read_composed(path, composed)
            if documents is None:
                unsound.append(path)
            else:
                found += documents
                self.fresh[self._snapshot.entries[path]] = [*dump_documents(documents)]
        return found, unsound

    def _parse_here(self, paths: Sequence[str]) -> list[Document]:
        if not paths:
            return []
        documents, diagnostics = parse(self._read(paths))
        self.diagnostics.extend(diagnostics)
        entries = self._snapshot.entries
        sound = _sound(paths, documents, diagnostics)
        self.fresh.update({entries[path]: values for path, values in sound.items()})
        return list(documents)

    def _compose(self, paths: Sequence[str]) -> dict[str, list[Composed]]:
        return compose_sound(self._read(paths))

    def _compose_batches(self, paths: Sequence[str]) -> Iterator[bytes]:
        contents = self._read(paths)
        for start in range(0, len(paths), _BATCH):
            batch = {path: contents[path] for path in paths[start : start + _BATCH]}
            yield marshal.dumps(compose_sound(batch))

    def _read(self, paths: Sequence[str]) -> dict[str, bytes]:
        entries = self._snapshot.entries
        contents = self._snapshot.read(sorted({entries[path] for path in paths}))
        return {path: contents[entries[path]] for path in paths}


def _is_given(number: int) -> bool:
    """Whether a new file goes to the second process: so that both end at the same time. This one
    loads the models meanwhile, and validates what the other one has composed."""
    return number % _SAMPLED != 0 and (number < _LOADING or number % 10 != 0)


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
