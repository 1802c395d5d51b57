"""``logs`` and ``exec``: inside one instance's replicas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain

from ctrlplane_gitops.app import App, open_plane
from ctrlplane_gitops.cli.context import Context, opened, require_plane
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.cli.history import parse_instance
from ctrlplane_gitops.errors import CtrlplaneError, UsageError
from ctrlplane_gitops.execute.pool import merge
from ctrlplane_gitops.providers.base import LogLine
from ctrlplane_gitops.reconcile.gather import gather_documents
from ctrlplane_gitops.reconcile.inside import Found, choose_running, find_replicas, open_logs
from ctrlplane_gitops.state.key import ResourceKey


def run_logs(context: Context) -> ExitCode:
    """What the replicas printed; each line names its replica when there are several."""
    options = context.options
    key = parse_instance(options["address"])
    # Interrupting is how following is ended.
    with (
        opened(context) as app,
        _replicas(context, app, key) as replicas,
        suppress(KeyboardInterrupt),
    ):
        _print_logs(context, replicas)
    return ExitCode.OK


def run_exec(context: Context) -> ExitCode | int:
    """Run a command inside a replica; exits with the command's own code."""
    options = context.options
    key = parse_instance(options["address"])
    command = [item for place, item in enumerate(options["command"]) if place or item != "--"]
    if not command:
        raise UsageError("exec needs a command", hint="exec ADDRESS -- COMMAND [ARGUMENTS]")
    with opened(context) as app, _replicas(context, app, key) as replicas:
        chosen = choose_running(replicas, key)
        result = chosen.provider.execute(chosen.replica.name, command, options["exec_timeout"])
    context.terminal.stream(result.output.decode("utf-8", "replace"))
    return result.exit_code


@contextmanager
def _replicas(context: Context, app: App, key: ResourceKey) -> Iterator[list[Found]]:
    """The replicas of the instance, newest release first; the providers stay open for the block."""
    with ExitStack() as stack:
        spec = require_plane(context, gather_documents(app.source, app.cache))
        plane = stack.enter_context(open_plane(app, spec, is_read_only=True))
        yield find_replicas(plane.providers, app.looks, key, context.options["replica"])


def _print_logs(context: Context, replicas: list[Found]) -> None:
    """Replica by replica; when following, in the order the lines arrive."""
    options = context.options
    is_merged = options["follow"] and len(replicas) > 1
    streams = open_logs(
        replicas, tail=options["tail"], is_follow=options["follow"], is_merged=is_merged
    )
    for item in merge(streams) if is_merged else chain.from_iterable(streams):
        if isinstance(item, CtrlplaneError):
            context.terminal.fail(item)
        else:
            _print_line(context, item, is_single=len(streams) == 1)


def _print_line(context: Context, line: LogLine, *, is_single: bool) -> None:
    context.terminal.stream(f"{line.text}\n" if is_single else f"{line.replica} | {line.text}\n")
