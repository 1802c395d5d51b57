"""Where a verb prints, and what may be printed there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from ctrlplane_gitops.errors import CtrlplaneError

if TYPE_CHECKING:
    from ctrlplane_gitops.diagnostics import Diagnostic

_RED, _YELLOW, _BOLD, _RESET = "\033[31m", "\033[33m", "\033[1m", "\033[0m"


class Terminal(NamedTuple):
    """Results go to ``out``; progress, diagnostics and errors to ``err``. ``is_interactive``: a
    person is there to be asked. ``is_color`` and ``is_err_color``: of the one and the other."""

    out: TextIO
    err: TextIO
    is_interactive: bool = False
    is_color: bool = False
    is_err_color: bool = False

    def print(self, text: str) -> None:
        """A result; no character of it steers the terminal."""
        from ctrlplane_gitops.redact import printable

        self.print_raw(printable(text))

    def print_raw(self, text: str) -> None:
        """The same as it is: what is coloured already, scripts."""
        _put(self.out, text, is_needed=True)

    def print_json(self, value: Any) -> None:
        import json

        text = json.dumps(value, indent=2, ensure_ascii=False)
        lines = (line if line.isprintable() else _escape(line) for line in text.split("\n"))
        self.print_raw("\n".join(lines) + "\n")

    def stream(self, text: str) -> None:
        """What a replica printed, as it is; BrokenPipeError ends what would never end by itself."""
        self.out.write(text)
        self.out.flush()

    def note(self, text: str) -> None:
        self._note(text, "")

    def diagnose(self, diagnostics: Iterable[Diagnostic]) -> None:
        for item in diagnostics:
            self._note(item.render(), _RED if item.is_error else _YELLOW)

    def fail(self, error: CtrlplaneError) -> None:
        """The error in one line, the way out below it."""
        from ctrlplane_gitops.redact import one_line

        self._note(f"error: {one_line(error.message)}", _RED)
        if error.hint:
            self._note(f"    {one_line(error.hint)}", "")

    def ask(self, question: str) -> bool:
        """Whether the person says yes, in so many letters."""
        _put(self.err, self._paint(question, _BOLD))
        try:
            _wait_for_line()
            return input().strip() == "yes"
        except (EOFError, KeyboardInterrupt) as ended:
            _put(self.err, "\n")
            if isinstance(ended, KeyboardInterrupt):
                raise
            return False

    def _note(self, text: str, color: str) -> None:
        from ctrlplane_gitops.redact import printable

        _put(self.err, self._paint(printable(text), color) + "\n")

    def _paint(self, text: str, color: str) -> str:
        return f"{color}{text}{_RESET}" if color and self.is_err_color else text


def _wait_for_line() -> None:
    """Until somebody has typed. Not by ``input`` alone: a signal that comes just before it begins
    to wait would be heeded only after the next line."""
    import select
    import sys

    while not select.select([sys.stdin], [], [], 0.2)[0]:
        pass


def _put(stream: TextIO, text: str, *, is_needed: bool = False) -> None:
    """Where the reader went away (`| head`) nothing more is printed, but what is under way goes
    on: an apply is not over because nobody watches it, and its exit code has to be true.
    What ``is_needed`` and cannot be written (a full disk) is a CtrlplaneError."""
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        silence(stream)
        if is_needed and not isinstance(error, BrokenPipeError):
            reason = (error.strerror or "error").lower()
            raise CtrlplaneError(f"cannot print: {reason}") from None


def silence(stream: TextIO) -> None:
    """Let the stream go nowhere, also what it still holds."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _escape(line: str) -> str:
    """A line of JSON with what is not printable as JSON escapes: the same value."""
    import json

    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


def diagnostics_as_json(diagnostics: Iterable[Diagnostic]) -> list[Mapping[str, Any]]:
    """The shape of Terraform's ``validate -json``, with our code, address and hint."""
    return [
        {
            "severity": item.severity.value,
            "code": item.code,
            "summary": item.summary,
            "detail": item.hint,
            "address": item.address,
            "range": None
            if item.origin is None
            else {
                "filename": item.origin.path,
                "start": {"line": item.origin.line, "column": item.origin.column},
            },
        }
        for item in diagnostics
    ]
