"""The command: arguments in, exit code out. No traceback ever reaches a user."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from ctrlplane_gitops import __version__
from ctrlplane_gitops.cli.flags import COMMON, Flag, add_flags, resolve_flags
from ctrlplane_gitops.cli.terminal import Terminal
from ctrlplane_gitops.cli.verb import VERBS, Verb, find_home
from ctrlplane_gitops.errors import CtrlplaneError, UsageError

if TYPE_CHECKING:
    from ctrlplane_gitops.clock import Clock

_BUG = 70
_INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """argparse, with our exit code for wrong usage."""

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
) -> int:
    """Run one command and return its exit code. Everything it takes from the process (arguments,
    environment, streams, time) can be given instead; ``on_effect`` sees every mutating call."""
    environ = os.environ if environ is None else environ
    out, err = out or sys.stdout, err or sys.stderr
    arguments = list(sys.argv[1:] if argv is None else argv)
    is_interactive = err.isatty() and sys.stdin is not None and sys.stdin.isatty()
    is_color = out.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    terminal = Terminal(out, err, is_interactive, is_color)
    try:
        verb, options = parse_arguments(arguments, environ)
        if options.get("no_color"):
            terminal = Terminal(out, err, is_interactive)
        return _run(verb, options, environ, terminal, clock, on_effect)
    except CtrlplaneError as error:
        terminal.fail(error)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`| head`): what was asked for has been read.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except Exception as bug:
        return _report_bug(bug, terminal, environ)


def parse_arguments(
    arguments: Sequence[str], environ: Mapping[str, str]
) -> tuple[Verb, dict[str, Any]]:
    """The verb and the value of each of its flags and arguments; UsageError when there is none."""
    given = vars(build_parser().parse_args(arguments))
    name = given.get("verb")
    if name is None:
        raise UsageError("no verb is given", hint="ctrlplane-gitops --help lists them")
    verb = next(item for item in VERBS if item.name == name)
    options = resolve_flags(given, flags_of(verb), environ)
    options.update({item.name: given.get(item.name) for item in verb.arguments})
    return verb, options


def flags_of(verb: Verb) -> tuple[Flag, ...]:
    return (*COMMON, *verb.flags)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line. Common flags are taken before and after the verb."""
    parser = _Parser(
        prog="ctrlplane-gitops",
        description="Makes what runs equal to what Git says, one instance per customer.",
        epilog="Every flag can be set in the environment as CTRLPLANE_<FLAG>.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ctrlplane-gitops {__version__}")
    add_flags(parser, COMMON)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_VerbParser)
    for verb in VERBS:
        below = verbs.add_parser(
            verb.name, help=verb.help, description=verb.help, allow_abbrev=False
        )
        add_flags(below, flags_of(verb))
        for item in verb.arguments:
            below.add_argument(item.name, metavar=item.metavar, help=item.help, nargs=item.nargs)
    return parser


class _VerbParser(_Parser):
    """A verb's parser, which suggests flags."""

    def error(self, message: str) -> Any:
        from ctrlplane_gitops.diagnostics import did_you_mean

        words = message.removeprefix("unrecognized arguments: ").split()
        known = [name for action in self._actions for name in action.option_strings]
        hint = did_you_mean(words[0], known) if words and words[0].startswith("-") else ""
        raise UsageError(message, hint=hint or f"{self.prog} --help")


def _run(
    verb: Verb,
    options: Mapping[str, Any],
    environ: Mapping[str, str],
    terminal: Terminal,
    clock: Clock | None,
    on_effect: Callable[[str], None],
) -> int:
    import threading

    from ctrlplane_gitops.cli.context import Context
    from ctrlplane_gitops.clock import SystemClock

    context = Context(
        options, environ, terminal, clock or SystemClock(), threading.Event(), on_effect
    )
    return int(find_home(verb)(context))


def _report_bug(bug: Exception, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Say what is needed to report it; the traceback only when it was asked for, since a frame
    may show what a message must not."""
    if environ.get("CTRLPLANE_DEBUG") == "1":
        import traceback

        terminal.note("".join(traceback.format_exception(bug)))
    terminal.note(f"error: this is a bug in ctrlplane-gitops: {type(bug).__name__}: {bug}")
    terminal.note("    run it again with CTRLPLANE_DEBUG=1 and report what it prints")
    return _BUG
