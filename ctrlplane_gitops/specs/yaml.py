"""YAML documents as plain values, within limits, each mistake with its place.

Aliases share what they refer to, and every use is counted at its expanded size, so that neither
an alias bomb nor a merge bomb grows past ``MAX_NODES``. Nothing here recurses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ctrlplane_gitops.specs.event import (
    Events,
    SyntaxProblemError,
    read_events,
    read_events_in_python,
)
from ctrlplane_gitops.specs.problem import Field, Problem, show_word
from ctrlplane_gitops.specs.scalar import resolve_scalar
from ctrlplane_gitops.specs.text import decode, has_control
from ctrlplane_gitops.value import field, record, struct

MAX_DEPTH = 64
MAX_NODES = 200_000
MAX_PROBLEMS = 100
MAX_SECOND_LOOK_BYTES = 64 * 1024
_NO_KEY: Any = object()
_SKIPPED: Any = object()
_OPEN: Any = object()
_MERGE = "<<"

Place = tuple[int, int, int, int]
"""Line and column of the key, line and column of the value; all from 1."""
Places = dict[int, dict[str | int, Place]]
"""Places of the entries of a container, by the container's ``id``."""


@record
class ComposedDocument:
    """``value`` is None for an empty document. ``has_null`` says that some scalar is null.
    ``places`` is None unless it was asked for; it is valid as long as ``value`` lives."""

    value: Any
    line: int
    column: int
    problems: list[Problem] = field(default_factory=list)
    has_null: bool = False
    places: Places | None = None


@struct
class ComposedFile:
    """``problem`` ended the reading of the file: what follows it is not known."""

    documents: tuple[ComposedDocument, ...]
    problem: Problem | None = None


def compose(
    content: bytes, *, with_places: bool = False, events: Events = read_events
) -> ComposedFile:
    """All documents of a file; total.

    libyaml refuses valid YAML such as ``{url: http://x}``: where it fails in a file with brackets,
    the slow parser has the last word, up to ``MAX_SECOND_LOOK_BYTES``.
    """
    text = decode(content)
    if isinstance(text, Problem):
        return ComposedFile((), text)
    first = _compose(text, with_places, events)
    if first.problem is None or first.problem.code != "yaml-syntax" or events is not read_events:
        return first
    if len(content) > MAX_SECOND_LOOK_BYTES or not ("{" in text or "[" in text):
        return first
    second = _compose(text, with_places, read_events_in_python)
    if second.problem is None or _position(second.problem) > _position(first.problem):
        return second
    return first


def _position(problem: Problem) -> tuple[int, int]:
    return problem.line, problem.column


def _compose(text: str, with_places: bool, events: Events) -> ComposedFile:
    composer = _Composer(with_places)
    takers = composer.takers
    try:
        for event in events(text):
            taker = takers.get(type(event))
            if taker is not None:
                taker(event)
    except SyntaxProblemError as failure:
        return ComposedFile(tuple(composer.documents), failure.problem)
    return ComposedFile(tuple(composer.documents))


# A repository says the same few words over and over.
_resolve = lru_cache(maxsize=8192)(resolve_scalar)


@record
class _Frame:
    """An open list or mapping. ``size`` counts its nodes and ``height`` its levels, with every
    alias expanded."""

    container: Any
    event: Any
    is_list: bool
    key: Any = _NO_KEY
    key_event: Any = None
    size: int = 1
    height: int = 1
    merges: list[tuple[Any, Any]] | None = None
    places: dict[str | int, Place] = field(default_factory=dict)


class _Composer:
    def __init__(self, with_places: bool) -> None:
        from ruamel.yaml import events

        self.documents: list[ComposedDocument] = []
        self._with_places = with_places
        self._document = ComposedDocument(None, 1, 1)
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        self._nodes = 0
        self.takers: dict[type, Callable[[Any], None]] = {
            events.ScalarEvent: self._take_scalar,
            events.MappingStartEvent: self._open_mapping,
            events.MappingEndEvent: self._close_mapping,
            events.SequenceStartEvent: self._open_list,
            events.SequenceEndEvent: self._close_list,
            events.AliasEvent: self._take_alias,
            events.DocumentStartEvent: self._open_document,
            events.DocumentEndEvent: self._close_document,
        }

    def _open_document(self, event: Any) -> None:
        places: Places | None = {} if self._with_places else None
        self._document = ComposedDocument(None, 1, 1, places=places)
        self._anchors = {}
        if event.version or event.tags:
            hint = "remove the lines that begin with '%'"
            self._report(event, "yaml-directive", "YAML directives are not allowed", hint)

    def _close_document(self, event: Any) -> None:
        self.documents.append(self._document)

    def _take_scalar(self, event: Any) -> None:
        value: Any = event.value
        if not event.style:
            value = _resolve(value)
            if value is None:
                self._document.has_null = True
            elif value.__class__ is Problem:
                self._report(event, value.code, value.summary, value.hint)
                value = event.value
        elif event.style == '"' and has_control(value):
            hint = "remove the escape; only \\n, \\r and \\t are allowed"
            self._report(event, "control-character", "a control character in a string", hint)
        if event.ctag is not None:
            self._refuse_tag(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1, 0)
        # Two events of three are scalars, most of them a string's key or its value: for those this
        # is all of ``_add``, without the calls.
        if self._stack and self._nodes < MAX_NODES and not self._with_places:
            frame = self._stack[-1]
            key = frame.key
            if key is _NO_KEY:
                if not frame.is_list and type(value) is str:
                    self._nodes += 1
                    frame.size += 1
                    frame.key, frame.key_event = value, event
                    return
            elif key is not _SKIPPED and key != _MERGE and key not in frame.container:
                self._nodes += 1
                frame.size += 1
                frame.container[key] = value
                frame.key = _NO_KEY
                return
        self._add(value, event, 1)

    def _open_mapping(self, event: Any) -> None:
        self._open(_Frame({}, event, is_list=False))

    def _open_list(self, event: Any) -> None:
        self._open(_Frame([], event, is_list=True))

    def _open(self, frame: _Frame) -> None:
        event = frame.event
        if len(self._stack) >= MAX_DEPTH:
            self._stop(event, "too-deep", f"more than {MAX_DEPTH} levels of nesting")
        if event.tag is not None:
            self._refuse_tag(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (_OPEN, 0, 0)
        self._stack.append(frame)

    def _close_list(self, event: Any) -> None:
        frame = self._stack.pop()
        self._close(frame)

    def _close_mapping(self, event: Any) -> None:
        frame = self._stack.pop()
        if frame.merges:
            self._merge(frame, frame.merges)
        self._close(frame)

    def _close(self, frame: _Frame) -> None:
        if frame.event.anchor is not None:
            self._anchors[frame.event.anchor] = (frame.container, frame.size, frame.height)
        if self._document.places is not None:
            self._document.places[id(frame.container)] = frame.places
        self._add(frame.container, frame.event, frame.size, frame.height)

    def _take_alias(self, event: Any) -> None:
        value, size, height = self._anchors.get(event.anchor, (_NO_KEY, 0, 0))
        if value is _NO_KEY or value is _OPEN:
            hint = "define it with '&' above, in the same document"
            summary = "an alias refers to what is not defined"
            if value is _OPEN:
                summary, hint = "an alias refers to what contains it", "remove the alias"
            self._report(event, "yaml-alias", summary, hint)
            value, size = "", 1
        if len(self._stack) + height > MAX_DEPTH:
            self._stop(event, "too-deep", f"more than {MAX_DEPTH} levels, aliases expanded")
        # What an alias repeats was counted once where it is defined; here it counts anew.
        self._nodes += size - 1
        self._add(value, event, size, height)

    def _add(self, value: Any, event: Any, size: int, height: int = 0) -> None:
        """``size`` and ``height`` of the node with every alias expanded."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._stop(event, "too-many-nodes", f"more than {MAX_NODES} values, aliases expanded")
        if not self._stack:
            mark = event.start_mark
            self._document.value = value
            self._document.line, self._document.column = mark.line + 1, mark.column + 1
            return
        frame = self._stack[-1]
        frame.size += size
        if height >= frame.height:
            frame.height = height + 1
        if frame.is_list:
            if self._with_places:
                frame.places[len(frame.container)] = _place(event, event)
            frame.container.append(value)
        elif frame.key is _NO_KEY:
            frame.key = self._read_key(value, event)
            frame.key_event = event
        else:
            self._put(frame, value, event)
            frame.key = _NO_KEY

    def _read_key(self, value: Any, event: Any) -> Any:
        if isinstance(value, str):
            return value
        self._report(event, "wrong-key", "a key must be a string", "quote the key")
        return _SKIPPED

    def _put(self, frame: _Frame, value: Any, event: Any) -> None:
        key, key_event = frame.key, frame.key_event
        if key is _SKIPPED:
            return
        if key == _MERGE and not getattr(key_event, "style", ""):
            frame.merges = frame.merges or []
            frame.merges.append((value, event))
        elif key in frame.container:
            summary = f"duplicate key '{show_word(key)}'"
            self._report(key_event, "duplicate-key", summary, "keep one of them")
        else:
            frame.container[key] = value
            if self._with_places:
                frame.places[key] = _place(key_event, event)

    def _merge(self, frame: _Frame, merges: list[tuple[Any, Any]]) -> None:
        """Own keys win over merged ones, the first source over later ones."""
        for value, event in merges:
            sources = value if isinstance(value, list) else [value]
            if not all(isinstance(source, dict) for source in sources):
                hint = "write '<<: *anchor' or '<<: [*one, *two]'"
                summary = "'<<' takes a mapping or a list of mappings"
                self._report(event, "yaml-merge", summary, hint)
                continue
            for source in sources:
                for key, item in source.items():
                    if key not in frame.container:
                        frame.container[key] = item
                        if self._with_places:
                            frame.places[key] = _place(event, event)

    def _refuse_tag(self, event: Any) -> None:
        hint = "remove the '!'; quote a value that is meant to begin with it"
        self._report(event, "yaml-tag", "YAML tags are not allowed", hint)

    def _report(self, event: Any, code: str, summary: str, hint: str) -> None:
        if len(self._document.problems) < MAX_PROBLEMS:
            mark = event.start_mark
            line, column = mark.line + 1, mark.column + 1
            where = self._field()
            self._document.problems.append(Problem(code, summary, hint, where, line, column))

    def _field(self) -> Field:
        """The path of the node being added, from the open frames; of a key: its mapping's."""
        path: list[str | int] = []
        for frame in self._stack:
            if frame.is_list:
                path.append(len(frame.container))
            elif isinstance(frame.key, str):
                path.append(frame.key)
        return tuple(path)

    def _stop(self, event: Any, code: str, summary: str) -> None:
        mark = event.start_mark
        hint = "simplify the file, or split it"
        problem = Problem(code, summary, hint, (), mark.line + 1, mark.column + 1)
        raise SyntaxProblemError(problem)


def _place(key_event: Any, event: Any) -> Place:
    key, value = key_event.start_mark, event.start_mark
    return key.line + 1, key.column + 1, value.line + 1, value.column + 1
