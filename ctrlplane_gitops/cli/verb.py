"""The verbs: name, meaning, flags, arguments, and where each is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ctrlplane_gitops.cli import flags
from ctrlplane_gitops.cli.flags import Flag


class Argument(NamedTuple):
    """A positional argument. ``nargs`` is argparse's."""

    name: str
    metavar: str
    help: str
    nargs: str | None = None


class Verb(NamedTuple):
    """``home`` is ``module:function`` below ``cli``; it is imported when the verb is run, so that
    ``--help`` costs nothing."""

    name: str
    help: str
    home: str
    flags: tuple[Flag, ...] = ()
    arguments: tuple[Argument, ...] = ()

    @property
    def all_flags(self) -> tuple[Flag, ...]:
        return (*flags.COMMON, *self.flags)

    @property
    def has_command(self) -> bool:
        """Whether what stands after ``--`` is a command, dashes and all."""
        return any(item.name == "command" for item in self.arguments)


_ADDRESS = Argument("address", "ADDR", "an address such as instance/acme/web")
_LOG_ADDRESS = Argument("address", "ADDR", "only of this address, or below instance/acme/", "?")
_REPLICA = Flag("replica", "only the replica of this index", flags.parse_natural, "N")

VERBS: tuple[Verb, ...] = (
    Verb(
        "init",
        "write a small working repo into an empty folder",
        "init:run_init",
        arguments=(Argument("directory", "DIR", "the folder (default: --chdir)", "?"),),
    ),
    Verb(
        "validate", "check the specs; touches nothing else", "plan:run_validate", flags.PLAIN_FORMAT
    ),
    Verb("plan", "show what apply would do", "plan:run_plan", flags.PLAN),
    Verb(
        "apply",
        "make it so, or do exactly the plan in FILE",
        "apply:run_apply",
        flags.APPLY,
        (Argument("file", "FILE", "a plan made by plan --out FILE", "?"),),
    ),
    Verb("destroy", "remove everything", "apply:run_destroy", flags.DESTROY),
    Verb(
        "status",
        "instances with phase, replicas and endpoints",
        "status:run_status",
        flags.PLAIN_FORMAT,
    ),
    Verb(
        "get",
        "the resources Git describes",
        "status:run_get",
        flags.PLAIN_FORMAT,
        (Argument("what", "KIND|ADDR", "a kind, or an address (globs)", "?"),),
    ),
    Verb(
        "history",
        "the releases of an instance, or the audit",
        "history:run_history",
        (
            *flags.PLAIN_FORMAT,
            Flag("audit", "show who did what, from which commit"),
            *flags.LOG,
            Flag("by", "only what this user did, or system:WORKER", str, "ACTOR"),
            Flag("action", "only this action: create, update, ...", str, "ACTION"),
            Flag("outcome", "only outcomes that begin with PREFIX", str, "PREFIX"),
        ),
        (_LOG_ADDRESS,),
    ),
    Verb(
        "events",
        "what happened",
        "history:run_events",
        (
            *flags.PLAIN_FORMAT,
            *flags.LOG,
            Flag("type", "only types that begin with PREFIX", str, "PREFIX"),
        ),
        (_LOG_ADDRESS,),
    ),
    Verb(
        "logs",
        "what the replicas of an instance printed",
        "replica:run_logs",
        (
            _REPLICA,
            Flag("tail", "only the last N lines of each replica", flags.parse_natural, "N"),
            Flag("follow", "go on as lines are written", short="-f"),
        ),
        (_ADDRESS,),
    ),
    Verb(
        "exec",
        "run a command inside a replica",
        "replica:run_exec",
        (
            _REPLICA,
            Flag(
                "exec-timeout",
                "end the command after this long",
                flags.parse_time,
                "DURATION",
                "1h",
            ),
        ),
        (_ADDRESS, Argument("command", "COMMAND", "after --: what to run", "*")),
    ),
    Verb(
        "rollback",
        "run an earlier release until told otherwise",
        "rollback:run_rollback",
        (
            *flags.RUN,
            Flag("to", "the release to run (default: the one before)", str, "vN"),
            Flag("clear", "follow Git again"),
        ),
        (_ADDRESS,),
    ),
    Verb(
        "promote",
        "pass the present step of a rollout",
        "rollout:run_promote",
        (*flags.STEER, Flag("full", "pass all steps")),
        (_ADDRESS,),
    ),
    Verb("abort", "return to the release before", "rollout:run_abort", flags.STEER, (_ADDRESS,)),
    Verb(
        "pause",
        "leave a rollout where it is until resume",
        "rollout:run_pause",
        flags.STEER,
        (_ADDRESS,),
    ),
    Verb("resume", "go on with a paused rollout", "rollout:run_resume", flags.STEER, (_ADDRESS,)),
    Verb(
        "adopt",
        "describe what runs already in YAML, and take it over as it is",
        "adopt:run_adopt",
        flags.ADOPT,
        (Argument("what", "NAME", "a container, or <namespace>/<Deployment>"), _ADDRESS),
    ),
    Verb(
        "serve",
        "follow Git: apply what changes, repair what drifts",
        "serve:run_serve",
        flags.SERVE,
    ),
    Verb(
        "token",
        "make a token for the API of serve",
        "token:run_token",
        flags.TOKEN,
        (Argument("name", "NAME", "whom the audit shall name"),),
    ),
    Verb(
        "schema",
        "the JSON Schemas, for editors",
        "schema:run_schema",
        (Flag("dir", "write all schemas into DIR", str, "DIR"),),
        (Argument("kind", "KIND", "the kind (default: any document)", "?"),),
    ),
    Verb(
        "completion",
        "a completion script for bash, zsh or fish",
        "completion:run_completion",
        arguments=(Argument("shell", "SHELL", "bash, zsh or fish"),),
    ),
)


def find_home(verb: Verb) -> Callable[..., Any]:
    """The function that does the verb."""
    import importlib

    module, _, name = verb.home.partition(":")
    found: Callable[..., Any] = getattr(
        importlib.import_module(f"ctrlplane_gitops.cli.{module}"), name
    )
    return found
