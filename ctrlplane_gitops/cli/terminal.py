"""Where a verb prints, and what may be printed there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from ctrlplane_gitops.errors import CtrlplaneError

if TYPE_CHECKING:
    from ctrlplane_gitops.diagnostics import Diagnostic

_RED, _YELLOW, _BOLD, _RESET = "\033[31m", "\033[33m", "\033[1m", "\033[0m"


class Terminal(NamedTuple):
    """Results go to ``out``; progress, diagnostics and errors to ``err``. ``is_interactive``: a
    person is there to be asked."""

    out: TextIO
    err: TextIO
    is_interactive: bool = False
    is_color: bool = False

    def print(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()

    def print_json(self, value: Any) -> None:
        import json

        self.print(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def note(self, text: str) -> None:
        self.err.write(text + "\n")
        self.err.flush()

    def diagnose(self, diagnostics: Iterable[Diagnostic]) -> None:
        for item in diagnostics:
            color = _RED if item.is_error else _YELLOW
            self.note(self._paint(item.render(), color))

    def fail(self, error: CtrlplaneError) -> None:
        """The error in one line, the way out below it."""
        self.note(self._paint(f"error: {error.message}", _RED))
        if error.hint:
            self.note(f"    {error.hint}")

    def ask(self, question: str) -> bool:
        """Whether the person says yes, in so many letters."""
        self.err.write(self._paint(question, _BOLD))
        self.err.flush()
        try:
            return input().strip() == "yes"
        except EOFError:
            return False

    def _paint(self, text: str, color: str) -> str:
        return f"{color}{text}{_RESET}" if self.is_color else text


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
