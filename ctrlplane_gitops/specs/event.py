"""The events of a YAML text, from libyaml where it is installed and from Python where not.

Only events are taken from ruamel.yaml: its constructors recurse, expand aliases and merge keys
without any limit, and raise half a dozen exception types without a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

from ctrlplane_gitops.specs.problem import Problem
from ctrlplane_gitops.specs.text import LINE_END

Events = Callable[[str], Iterator[Any]]

_HINTS = (
    ("mapping values are not allowed", "quote a value that contains ': ', or mend the indentation"),
    (
        "found character that cannot start",
        "quote a value that begins with @, ` or %",
    ),
    ("could not find expected ':'", "a key needs ': ' and a value"),
    ("did not find expected key", "check the indentation and the quotes of this line"),
    ("did not find expected '-'", "a list and a mapping cannot be mixed at one indentation"),
    ("found unexpected end of stream", "close the quote"),
    ("did not find expected ',' or", "close the bracket, or put a comma"),
    ("found unexpected ':'", "quote a value that contains ':' between brackets"),
    ("expected the node content", "quote a value that begins with a sign such as ':'"),
    ("did not find expected node content", "quote a value that begins with a sign such as ':'"),
    ("found unknown escape", "use 'single quotes' where a backslash is meant"),
    (
        "did not find expected <document start>",
        "start another document with a line of three dashes",
    ),
)
_BATCH = 256
_BAD_START = "found character"
# libyaml points past the end for these; where the construct began is what a reader looks for.
_AT_CONTEXT = ("could not find expected ':'", "found unexpected end of stream")


class SyntaxProblemError(Exception):
    """The text is not YAML; ``problem`` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.summary)
        self.problem = problem


def is_c_parser() -> bool:
    """Whether libyaml is installed: 20 to 50 times as fast as the parser in Python."""
    return _c_parser() is not None


def read_events(text: str) -> Iterator[Any]:
    """Events of ruamel.yaml; SyntaxProblemError for every failure of the parser."""
    parser = _c_parser()
    return (
        read_events_in_python(text)
        if parser is None
        else _guard(text, lambda: _c_events(parser, text))
    )


def read_events_in_python(text: str) -> Iterator[Any]:
    """The same from the parser written in Python: slow but right."""
    from ruamel.yaml import YAML

    return _guard(text, lambda: iter(YAML(typ="safe", pure=True).parse(text)))


def _c_parser() -> Any:
    try:
        from ruamel.yaml import cyaml
    except ImportError:
        return None
    return cyaml.CParser  # type: ignore[attr-defined]


def _c_events(parser: Any, text: str) -> Iterator[Any]:
    return iter(parser(text).get_event, None)


def _guard(text: str, start: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    return chain.from_iterable(_batches(text, start))


def _batches(text: str, start: Callable[[], Iterator[Any]]) -> Iterator[list[Any]]:
    """Only the parser's own steps are guarded, so that a bug of ours is not called a syntax error.
    Many at a time, for waking a generator takes as long as a step; what came before a failure is
    handed on before it is raised."""
    last: Any = None
    failure: Exception | None = None
    events: Iterator[Any] | None = None
    while failure is None:
        batch: list[Any] = []
        try:
            events = events or start()
            batch.extend(islice(events, _BATCH))
        except Exception as caught:
            # ruamel raises ValueError, KeyError, AttributeError and RecursionError on some texts.
            failure = caught
        if batch:
            last = batch[-1]
            yield batch
        elif failure is None:
            return
    raise SyntaxProblemError(_explain(failure, last, text)) from None


def _explain(failure: Exception, last: Any, content: str) -> Problem:
    """``last`` is the event before the failure, for those that do not say where."""
    line, column = (last.start_mark.line + 1, last.start_mark.column + 1) if last else (1, 1)
    text = str(getattr(failure, "problem", None) or "the parser cannot read this")
    mark = getattr(failure, "problem_mark", None)
    context = getattr(failure, "context_mark", None)
    if context is not None and (mark is None or text.startswith(_AT_CONTEXT)):
        mark = context
    if mark is not None:
        line, column = mark.line + 1, mark.column + 1
    if text.startswith(_BAD_START) and _is_tab(content, line, column):
        return Problem("yaml-syntax", "not YAML: a tab", "indent with spaces", (), line, column)
    hint = next((hint for start, hint in _HINTS if text.startswith(start)), "")
    if context is not None and context.line + 1 < line:
        began = f"what it belongs to began at line {context.line + 1}"
        hint = f"{hint}; {began}" if hint else began
    # A parser's text may quote the input; what stands in quotes of its own is dropped.
    return Problem("yaml-syntax", f"not YAML: {_without_input(text)}", hint, (), line, column)


def _is_tab(content: str, line: int, column: int) -> bool:
    lines = LINE_END.split(content, maxsplit=line)
    return line <= len(lines) and lines[line - 1][column - 1 : column] == "\t"


def _without_input(text: str) -> str:
    known = any(text.startswith(start) for start, _ in _HINTS)
    first = text.splitlines()[0] if text else text
    return first if known or "'" not in first else first.split("'")[0].rstrip() + " ..."
