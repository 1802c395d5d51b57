"""``serve``: the loop that keeps Git true, until it is told to stop."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from ctrlplane_gitops.api.application import build_application
from ctrlplane_gitops.api.guard import Access
from ctrlplane_gitops.api.hook import answer_posts
from ctrlplane_gitops.api.lane import Lane
from ctrlplane_gitops.api.server import Server, bind, is_loopback, parse_listen, url_of
from ctrlplane_gitops.app import App
from ctrlplane_gitops.cli.context import Context, opened
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.cli.interpreter import serving_interpreter
from ctrlplane_gitops.cli.progress import event_printer, wait_printer
from ctrlplane_gitops.cli.stopping import stopping
from ctrlplane_gitops.clock import rfc3339
from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.execute.pool import Begun
from ctrlplane_gitops.redact import one_line
from ctrlplane_gitops.serving.following import load_followed
from ctrlplane_gitops.serving.output import Output
from ctrlplane_gitops.serving.service import Intervals, Service
from ctrlplane_gitops.source.directory import DirectorySource
from ctrlplane_gitops.workers.watcher import watch_folder

# From the signal to the end are ten seconds: what is in flight has most of them, who is being
# answered the next, and the rest is for ending.
_GRACE = timedelta(seconds=7.5)
_ANSWERING = timedelta(seconds=1)
_LATE_S = 9.5
# The kernel may hand a signal to any thread, but Python heeds it in the main one alone, which must
# not sleep through it.
_NAP = timedelta(milliseconds=200)
_SHORTEST = timedelta(seconds=1)
# In the order of ``Intervals``.
_INTERVALS = ("poll", "interval", "gc-interval", "health-interval", "telemetry-interval")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def run_serve(context: Context) -> ExitCode:
    """Serve until the first signal; what is in flight ends or stays written down, exit 0."""
    options, note = context.options, context.terminal.note
    place = _find_place(context)
    for name in _INTERVALS:
        if options[name.replace("-", "_")] < _SHORTEST:
            raise UsageError(f"--{name}: the shortest is 1s")
    followed = load_followed(context.environ, place, options["public_url"] or "")
    host, port = parse_listen(options["listen"])
    listening = bind(host, port)
    is_open = is_loopback(listening) or options["insecure"]
    if not is_open:
        note("whoever comes in here needs one of the tokens of spec.access; see the verb token")
    if options["insecure"]:
        note(
            "warning: --insecure: while the control plane declares no tokens, whoever reaches this "
            "address can read the state of every tenant and steer its rollouts"
        )
    # Whoever listens for others does so under names that are not known here.
    is_local = is_loopback(listening) and not options["insecure"]
    hosts = tuple(dict.fromkeys((*_LOOPBACK, host))) if is_local else ()
    with (
        listening,
        stopping(context.cancel),
        serving_interpreter() as tend,
        opened(context, repo=place) as app,
    ):
        _require_folder(app, place)
        output = _build_output(context)
        intervals = Intervals(*(options[name.replace("-", "_")] for name in _INTERVALS))
        service = Service(app, context.cancel, intervals, output, followed)
        access = Access(service.read_tokens, is_open, context.clock)
        server = _build_server(service, access, hosts, listening)
        with _ending(context.cancel, lambda: _give_up(service, output)):
            _watch(context, app, place, service, output)
            server.start()
            note(f"listening on {url_of(listening)}")
            service.scheduler.start()
            try:
                while not context.clock.wait(context.cancel, _NAP):
                    if service.is_ready:
                        tend()
            finally:
                _stop(context, service, server, output)
    return ExitCode.OK


def _build_server(
    service: Service, access: Access, hosts: tuple[str, ...], listening: socket.socket
) -> Server:
    receiver = service.views.receiver

    def make_lane(threads: int) -> Lane:
        assert receiver is not None
        return Lane(lambda posts: answer_posts(receiver, posts), hosts, threads)

    application = build_application(service.views, access, hosts)
    return Server(application, listening, None if receiver is None else make_lane)


def _build_output(context: Context) -> Output:
    terminal = context.terminal._replace(is_interactive=False)
    clock = context.clock

    def log(text: str) -> None:
        terminal.note(one_line(f"{rfc3339(clock.now())} {text}"))

    return Output(log, event_printer(terminal, clock), wait_printer(terminal, clock))


def _find_place(context: Context) -> str:
    """The path or URL of what is followed."""
    options = context.options
    if options["source"] and options["repo"]:
        raise UsageError("--source and --repo say the same; give one of them")
    return str(options["source"] or options["repo"] or options["chdir"])


def _require_folder(app: App, place: str) -> None:
    """UsageError where a directory is to be followed that is not there."""
    if isinstance(app.source, DirectorySource) and not Path(place).is_dir():
        raise UsageError(f"{place} is not a directory", hint="check --source and --chdir")


def _watch(context: Context, app: App, place: str, service: Service, output: Output) -> None:
    """A directory tells of its changes itself."""
    if not isinstance(app.source, DirectorySource):
        return

    def complain(reason: str) -> None:
        output.log(f"warning: changes of files are not watched, only polled for: {reason}")

    watch_folder(Path(place), context.cancel, service.wake, complain)


def _stop(context: Context, service: Service, server: Server, output: Output) -> None:
    context.cancel.set()
    output.log("stopping")
    has_ended = service.stop(_GRACE)
    server.stop(_ANSWERING)
    if not has_ended:
        _give_up(service, output)
    service.close()


def _give_up(service: Service, output: Output) -> None:
    """End the process although something is still in flight: it was written down before it was
    begun, and the next pass finds out what came of it, as after a crash."""
    service.break_lease()
    output.log("stopped with something in flight; the next pass goes on from there")
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(ExitCode.OK)


@contextmanager
def _ending(cancel: threading.Event, give_up: Callable[[], None]) -> Iterator[None]:
    """The block must be over soon after ``cancel`` is set; else the process is."""
    over = threading.Event()

    def watch() -> None:
        cancel.wait()
        if not over.wait(_LATE_S):
            give_up()

    Begun(watch)
    try:
        yield
    finally:
        cancel.set()
        over.set()
