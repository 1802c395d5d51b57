"""Every flag, once: its names, its meaning, and its form in the environment."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ctrlplane_gitops.errors import UsageError

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


# Named tuples, here and in `verb`: importing `dataclasses` costs as much as argparse.
class Flag(NamedTuple):
    """``name`` is the long form without dashes. ``parse`` None: a switch. ``is_list``: may be
    given several times (in the variable: separated by commas)."""

    name: str
    help: str
    parse: Callable[[str], Any] | None = None
    metavar: str = ""
    default: Any = None
    is_list: bool = False
    choices: tuple[str, ...] = ()
    short: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (f"--{self.name}", *((self.short,) if self.short else ()))

    @property
    def dest(self) -> str:
        return self.name.replace("-", "_")

    @property
    def help_text(self) -> str:
        """With the default, where that says something."""
        return f"{self.help} (default: {self.default})" if self.default else self.help

    @property
    def variable(self) -> str:
        return f"CTRLPLANE_{self.dest.upper()}"


def parse_time(text: str) -> Any:
    """A timedelta; ValueError for what is no duration."""
    from ctrlplane_gitops.units import parse_duration

    return parse_duration(text)


def parse_natural(text: str) -> int:
    """A whole number from 0 on; ValueError for anything else."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def parse_moment(text: str) -> Any:
    """How long ago, as a timedelta (``1h``, ``7d``), or a time with its offset (RFC 3339);
    ValueError for anything else."""
    from datetime import timedelta

    from ctrlplane_gitops.clock import parse_rfc3339
    from ctrlplane_gitops.units import parse_duration

    try:
        if text[:-1].isdecimal() and text[-1] == "d":
            return timedelta(days=int(text[:-1]))
        return parse_rfc3339(text) if "T" in text else parse_duration(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is neither '1h' or '7d' nor '2026-01-31T12:00:00Z'") from None


COMMON = (
    Flag("chdir", "read the specs from DIR", str, "DIR", "."),
    Flag("repo", "read the specs from a Git repository, a path or a URL", str, "LOCATION"),
    Flag("ref", "read the specs from this branch, tag or commit, not the work tree", str, "GITREF"),
    Flag("no-color", "plain text even on a terminal (NO_COLOR does the same)"),
)

_FORMATS = ("text", "json", "markdown")
JSON = Flag("json", "short for --format json")
FORMAT = (Flag("format", "how to print", str, "|".join(_FORMATS), "text", choices=_FORMATS), JSON)
PLAIN_FORMAT = (
    Flag("format", "how to print", str, "text|json", "text", choices=_FORMATS[:2]),
    JSON,
)

TARGET = Flag("target", "only addresses like this glob (repeatable)", str, "ADDR", (), is_list=True)
MAX_DELETE = Flag(
    "max-delete", "allow N removals, instead of spec.prune.maxDelete", parse_natural, "N"
)
_POLICY = (
    TARGET,
    MAX_DELETE,
    Flag("allow-empty", "allow an empty set of specs to remove everything"),
    Flag("allow-recreate", "allow recreating what a provider suddenly no longer shows"),
    Flag("retry-failed", "try releases again that are known to have failed"),
    Flag("no-prune", "remove nothing"),
)

PLAN = (
    *FORMAT,
    *_POLICY,
    Flag("detailed-exitcode", "exit 2 when there are changes"),
    Flag("destroy", "plan the removal of everything"),
    Flag("out", "write the plan to FILE for apply FILE", str, "FILE"),
)

_WAIT = (
    Flag("lock-timeout", "how long to wait for another apply", parse_time, "DURATION", "30s"),
    Flag("timeout", "stop waiting after this long (exit 9)", parse_time, "DURATION"),
)

RUN = (
    *FORMAT,
    *_WAIT,
    Flag("auto-approve", "do not ask", short="-y"),
    Flag("detach", "start rollouts and leave them to the next pass"),
)

STEER = (
    *PLAIN_FORMAT,
    *_WAIT,
    Flag("detach", "only say it; the next apply follows it"),
)

APPLY = (
    *RUN,
    *_POLICY,
    Flag("keep-going", "apply the sound tenants although others have errors (exit 3)"),
)

LOG = (
    Flag("limit", "at most N entries", parse_natural, "N", 100),
    Flag("tenant", "only what belongs to this tenant", str, "TENANT"),
    Flag("since", "only since then: 1h or 7d ago, or a time", parse_moment, "WHEN"),
    Flag("until", "only before then", parse_moment, "WHEN"),
)

DESTROY = (*RUN, TARGET, MAX_DELETE)

SERVE = (
    Flag("source", "follow this directory or Git repository, a path or a URL", str, "LOCATION"),
    Flag("listen", "answer HTTP at this address", str, "HOST:PORT", "127.0.0.1:8321"),
    Flag("interval", "hold everything against what runs this often", parse_time, "DURATION", "60s"),
    Flag("poll", "look for new commits this often", parse_time, "DURATION", "60s"),
    Flag("gc-interval", "clear away what is old this often", parse_time, "DURATION", "5m"),
    Flag("public-url", "where people look at this service, for links to it", str, "URL"),
    Flag(
        "health-interval", "look for what is to be probed this often", parse_time, "DURATION", "30s"
    ),
    Flag(
        "telemetry-interval", "measure what replicas use this often", parse_time, "DURATION", "10s"
    ),
    Flag("insecure", "let in whoever reaches the address while no tokens are declared"),
)

ADOPT = (
    Flag("provider", "where it runs (default: defaultProvider)", str, "ALIAS"),
    Flag("file", "write the YAML into FILE, below --chdir", str, "FILE"),
    Flag("print", "print the YAML; write and take over nothing"),
    _WAIT[0],
)

_ROLES = ("viewer", "operator", "admin")
TOKEN = (
    Flag("role", "what it may do", str, "ROLE", "viewer", choices=_ROLES),
    Flag("tenant", "only this tenant (repeatable)", str, "NAME", (), is_list=True),
    Flag("expires", "stop taking it after this long, such as 720h", parse_time, "DURATION"),
)


def add_flags(parser: argparse.ArgumentParser, flags: tuple[Flag, ...]) -> None:
    """Add the flags without defaults, so that what was given can be told from what was not."""
    for flag in flags:
        if flag.parse is None:
            parser.add_argument(
                *flag.names, dest=flag.dest, action="store_true", help=flag.help,
                default=argparse.SUPPRESS,
            )  # fmt: skip
        else:
            parser.add_argument(
                *flag.names, dest=flag.dest, help=flag.help_text, metavar=flag.metavar,
                action="append" if flag.is_list else "store", default=argparse.SUPPRESS,
            )  # fmt: skip


def resolve_flags(
    given: Mapping[str, Any], flags: tuple[Flag, ...], environ: Mapping[str, str]
) -> dict[str, Any]:
    """The value of each flag by ``dest``: the command line, else the environment, else the
    default. UsageError naming the flag or the variable for a value that is none."""
    found = {}
    for flag in flags:
        if flag.dest in given:
            source, raw = flag.names[0], given[flag.dest]
        elif environ.get(flag.variable):
            source, raw = flag.variable, environ[flag.variable]
            raw = [item.strip() for item in raw.split(",")] if flag.is_list else raw
        else:
            source, raw = "", flag.default
        found[flag.dest] = _parse(flag, source, raw)
    if "format" in given and "json" in given:
        raise UsageError("--format and --json exclude each other")
    if "format" in given:  # the command line wins over CTRLPLANE_JSON
        found["json"] = False
    return found


def _parse(flag: Flag, source: str, raw: Any) -> Any:
    if flag.parse is None:
        if raw is None or isinstance(raw, bool):
            return bool(raw)
        if raw.lower() not in _TRUE | _FALSE:
            raise UsageError(f"{source}: {raw!r} is neither true nor false")
        return raw.lower() in _TRUE
    if raw == "" or (flag.is_list and "" in raw):
        hint = "leave it out, or set the variable its value comes from"
        raise UsageError(f"{source}: the value is empty", hint=hint)
    if flag.is_list:
        return tuple(raw)
    if raw is None or not isinstance(raw, str):
        return raw
    if flag.choices and raw not in flag.choices:
        raise UsageError(f"{source}: {raw!r} is not one of {', '.join(flag.choices)}")
    try:
        return flag.parse(raw)
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from None
