"""``logs`` and ``exec``: inside one instance's replicas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain

from ctrlplane_gitops.app import App, open_plane
from ctrlplane_gitops.cli.context import Context, opened, require_plane
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.cli.history import parse_instance
from ctrlplane_gitops.errors import CtrlplaneError, ProviderError, UnreachableError, UsageError
from ctrlplane_gitops.execute.pool import merge
from ctrlplane_gitops.providers.base import LogLine, Provider
from ctrlplane_gitops.reconcile.gather import gather_documents
from ctrlplane_gitops.reconcile.observe import observe_all
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedReplica, ReplicaPhase

_Found = tuple[Provider, ObservedReplica]


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
        running = [item for item in replicas if item[1].phase is ReplicaPhase.RUNNING]
        if not running:
            raise ProviderError(f"no replica of {key} is running")
        provider, replica = running[0]
        result = provider.execute(replica.name, command, options["exec_timeout"])
    context.terminal.stream(result.output.decode("utf-8", "replace"))
    return result.exit_code


@contextmanager
def _replicas(context: Context, app: App, key: ResourceKey) -> Iterator[list[_Found]]:
    """The replicas of the instance, newest release first; the providers stay open for the block."""
    wanted = context.options["replica"]
    with ExitStack() as stack:
        spec = require_plane(context, gather_documents(app.source, app.cache))
        plane = stack.enter_context(open_plane(app, spec, is_read_only=True))
        observed = observe_all(plane.providers, app.looks, [key])
        sets = observed.by_instance().get(key, ())
        found = [
            (plane.providers[item.provider], replica)
            for item in reversed(sets)
            for replica in item.replicas
            if wanted is None or replica.index == wanted
        ]
        if not found and observed.gaps:
            gap = observed.gaps[0]
            raise UnreachableError(f"provider {gap.provider} did not answer: {gap.reason}")
        if not found:
            which = "no replica" if wanted is None else f"no replica {wanted}"
            raise ProviderError(f"there is {which} of {key}", hint="status lists what runs")
        yield found


def _print_logs(context: Context, replicas: list[_Found]) -> None:
    """Replica by replica; when following, in the order the lines arrive."""
    options = context.options
    is_merged = options["follow"] and len(replicas) > 1

    def read(provider: Provider, replica: ObservedReplica) -> Iterator[LogLine | CtrlplaneError]:
        try:
            yield from provider.read_logs(
                replica.name, tail=options["tail"], is_follow=options["follow"]
            )
        except CtrlplaneError as error:
            if not is_merged:
                raise
            yield error

    streams = [read(provider, replica) for provider, replica in replicas]
    for item in merge(streams) if is_merged else chain.from_iterable(streams):
        if isinstance(item, CtrlplaneError):
            context.terminal.fail(item)
        else:
            _print_line(context, item, is_single=len(streams) == 1)


def _print_line(context: Context, line: LogLine, *, is_single: bool) -> None:
    context.terminal.stream(f"{line.text}\n" if is_single else f"{line.replica} | {line.text}\n")
