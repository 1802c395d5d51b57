"""The command: arguments in, exit code out. No traceback ever reaches a user."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from ctrlplane_gitops import __version__
from ctrlplane_gitops.cli.flags import COMMON, add_flags, resolve_flags
from ctrlplane_gitops.cli.terminal import Terminal, silence
from ctrlplane_gitops.cli.verb import VERBS, Verb, find_home
from ctrlplane_gitops.errors import CtrlplaneError, UsageError

if TYPE_CHECKING:
    from ctrlplane_gitops.clock import Clock

_PROGRAM = "ctrlplane-gitops"
_BUG = 70
_INTERRUPTED = 130


def _build_formatter(prog: str) -> argparse.HelpFormatter:
    """For the formatter argparse makes with every flag it is told of: the terminal's width is not
    asked for before there is help to print, since that loads ``shutil`` with all it packs with."""
    return argparse.HelpFormatter(prog, width=80)


class _Parser(argparse.ArgumentParser):
    """argparse, with our exit code for wrong usage."""

    def __init__(self, **given: Any) -> None:
        super().__init__(formatter_class=_build_formatter, **given)

    def format_help(self) -> str:
        self.formatter_class = argparse.HelpFormatter
        return super().format_help()

    def format_usage(self) -> str:
        self.formatter_class = argparse.HelpFormatter
        return super().format_usage()

    def error(self, message: str) -> Any:
        raise UsageError(message, hint=f"{self.prog} --help")


def main(
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    out: TextIO | None = None,
    err: TextIO | None = None,
    clock: Clock | None = None,
    on_effect: Callable[[str], None] = lambda effect: None,
    built: list[object] | None = None,
) -> int:
    """Run one command and return its exit code. Everything it takes from the process (arguments,
    environment, streams, time) can be given instead; ``on_effect`` sees every mutating call.
    ``built`` is handed what the command has built, by whoever does not want it taken apart."""
    environ = os.environ if environ is None else environ
    # A stream that was closed before we began is None.
    out, err = out or sys.stdout or io.StringIO(), err or sys.stderr or io.StringIO()
    arguments = list(sys.argv[1:] if argv is None else argv)
    is_interactive = err.isatty() and sys.stdin is not None and sys.stdin.isatty()
    may_color = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    terminal = Terminal(
        out, err, is_interactive, may_color and out.isatty(), may_color and err.isatty()
    )
    try:
        verb, options = parse_arguments(arguments, environ)
        if options.get("no_color"):
            terminal = Terminal(out, err, is_interactive)
        return _run(verb, options, environ, terminal, clock, on_effect, built)
    except CtrlplaneError as error:
        terminal.fail(error)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of a stream went away (`logs -f | head`): what was asked for has been read.
        silence(out)
        return 0
    except SystemExit as ended:  # argparse printed help or the version
        terminal.print_raw("")
        return ended.code if isinstance(ended.code, int) else 0
    except Exception as bug:
        return _report_bug(bug, terminal, environ)


def parse_arguments(
    arguments: Sequence[str], environ: Mapping[str, str]
) -> tuple[Verb, dict[str, Any]]:
    """The verb and the value of each of its flags and arguments; UsageError when there is none.
    A flag means the same before the verb as after it."""
    place = _find_verb(arguments)
    if place is None:
        build_parser().parse_args(arguments)
        raise UsageError("no verb is given", hint=f"{_PROGRAM} --help lists them")
    verb = _choose_verb(arguments[place])
    rest, command = [*arguments[:place], *arguments[place + 1 :]], []
    if verb.has_command and "--" in rest:
        cut = rest.index("--")
        rest, command = rest[:cut], rest[cut + 1 :]
    parsed, unknown = build_verb_parser(verb).parse_known_args(rest)
    if unknown:
        raise _refuse(verb, unknown[0])
    given = vars(parsed)
    options = resolve_flags(given, verb.all_flags, environ)
    for item in verb.arguments:
        options[item.name] = given.get(item.name)
        if options[item.name] == "":
            raise UsageError(f"{item.metavar} is empty", hint=f"{_PROGRAM} {verb.name} --help")
    if verb.has_command:
        options["command"] = [*options["command"], *command]
    return verb, options


def _find_verb(arguments: Sequence[str]) -> int | None:
    """Where the verb stands; None when there is none, or help was asked for before it."""
    known = {name: flag for verb in VERBS for flag in verb.all_flags for name in flag.names}
    place = 0
    while place < len(arguments):
        name, equals, _ = arguments[place].partition("=")
        if not name.startswith("-"):
            return place
        if name in ("-h", "--help", "--version"):
            return None
        if name not in known:
            raise UsageError(f"there is no flag {name}", hint=_suggest(name, known))
        place += 1 if equals or known[name].parse is None else 2
    return None


def _choose_verb(word: str) -> Verb:
    for verb in VERBS:
        if verb.name == word:
            return verb
    raise UsageError(
        f"there is no verb {word!r}", hint=_suggest(word, [item.name for item in VERBS])
    )


def _refuse(verb: Verb, word: str) -> UsageError:
    """The error for what the verb does not take."""
    if verb.has_command:
        hint = f"write what to run after --: {_PROGRAM} {verb.name} ADDR -- COMMAND"
        return UsageError(f"{verb.name} does not take {word!r}", hint=hint)
    if not word.startswith("-"):
        hint = f"{_PROGRAM} {verb.name} --help"
        return UsageError(f"{verb.name} does not take the argument {word!r}", hint=hint)
    name = word.partition("=")[0]
    known = [name for flag in verb.all_flags for name in flag.names]
    return UsageError(f"{verb.name} has no flag {name}", hint=_suggest(name, known, verb.name))


def _suggest(word: str, known: Iterable[str], *verb: str) -> str:
    """The closest known word, or where they are listed. ``-out`` is Terraform's ``--out``."""
    from ctrlplane_gitops.diagnostics import did_you_mean

    full = f"-{word}" if word.startswith("-") and not word.startswith("--") else word
    begun = [name for name in sorted(known) if len(full) > 3 and name.startswith(full)]
    close = did_you_mean(full, begun[:1] or sorted(known))
    if close.startswith("did"):
        return close
    return (
        f"did you mean {begun[0]!r}?"
        if begun
        else f"{' '.join((_PROGRAM, *verb))} --help lists them"
    )


def build_parser() -> argparse.ArgumentParser:
    """What is there without a verb: help that lists the verbs, and the version."""
    parser = _Parser(
        prog=_PROGRAM,
        description="Makes what runs equal to what Git says, one instance per customer.",
        epilog="Every flag can be set in the environment as CTRLPLANE_<FLAG>, "
        "and may stand before the verb or after it.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    add_flags(parser, COMMON)
    verbs = parser.add_subparsers(metavar="VERB")
    for verb in VERBS:
        verbs.add_parser(verb.name, help=verb.help)
    return parser


def build_verb_parser(verb: Verb) -> argparse.ArgumentParser:
    """One verb with all its flags and arguments."""
    parser = _Parser(prog=f"{_PROGRAM} {verb.name}", description=verb.help, allow_abbrev=False)
    add_flags(parser, verb.all_flags)
    for item in verb.arguments:
        parser.add_argument(item.name, metavar=item.metavar, help=item.help, nargs=item.nargs)
    return parser


def _run(
    verb: Verb,
    options: Mapping[str, Any],
    environ: Mapping[str, str],
    terminal: Terminal,
    clock: Clock | None,
    on_effect: Callable[[str], None],
    built: list[object] | None,
) -> int:
    import threading

    from ctrlplane_gitops.cli.context import Context
    from ctrlplane_gitops.clock import SystemClock

    context = Context(
        options,
        environ,
        terminal,
        clock or SystemClock(),
        threading.Event(),
        on_effect,
        [] if built is None else built,
    )
    return int(find_home(verb)(context))


def _report_bug(bug: Exception, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Say what is needed to report it: which error, and where. Its message and the traceback only
    when they were asked for, since they may show what must not be shown."""
    import traceback

    if environ.get("CTRLPLANE_DEBUG") == "1":
        terminal.note("".join(traceback.format_exception(bug)))
    frames = traceback.extract_tb(bug.__traceback__)
    ours = [item for item in frames if __package__.partition(".")[0] in item.filename]
    place = f"{ours[-1].filename.rpartition('/')[2]}:{ours[-1].lineno}"
    terminal.note(f"error: this is a bug in {_PROGRAM}: {type(bug).__name__} at {place}")
    terminal.note("    run it again with CTRLPLANE_DEBUG=1 and report what it prints")
    return _BUG
