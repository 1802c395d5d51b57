"""The parts of ``serve``, put together: who works, who is told, and what is answered."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from typing import Any

from ctrlplane_gitops.api.application import Views
from ctrlplane_gitops.api.metrics import Metrics
from ctrlplane_gitops.app import App, Plane, open_plane
from ctrlplane_gitops.cli.context import Context
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.cli.progress import event_printer, wait_printer
from ctrlplane_gitops.clock import Clock, rfc3339
from ctrlplane_gitops.errors import CtrlplaneError, SourceError, StoreError, UnreachableError
from ctrlplane_gitops.execute.holder import describe_holder
from ctrlplane_gitops.execute.lease import LEASE
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.counted import CountedProvider
from ctrlplane_gitops.reconcile.follow import Follower
from ctrlplane_gitops.reconcile.observe import observe_all
from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.reconcile.run import PassParts
from ctrlplane_gitops.redact import one_line
from ctrlplane_gitops.source.latest import LatestSource
from ctrlplane_gitops.state.desired import ControlPlane
from ctrlplane_gitops.status.read import read_status
from ctrlplane_gitops.status.render import status_as_json
from ctrlplane_gitops.status.view import StatusDocument
from ctrlplane_gitops.workers.poller import Poller
from ctrlplane_gitops.workers.reconciler import Reconciler
from ctrlplane_gitops.workers.scheduler import Scheduler
from ctrlplane_gitops.workers.worker import Ran, Worker, worker_as_json

_SOURCE, _RECONCILER, _STATUS = "source", "reconciler", "status"
# Longer than git is given for a fetch.
_LOOK_LIMIT = timedelta(minutes=6)
# A rollout has ten minutes to progress by default; what takes longer is worth a look.
_PASS_LIMIT = timedelta(minutes=15)
_STATUS_INTERVAL, _STATUS_LIMIT = timedelta(seconds=30), timedelta(minutes=1)
# Several who ask at the same time are one look.
_STATUS_AGE = timedelta(seconds=1)
_STATUS_CLIENTS = 16


class Serving:
    """One ``serve``. ``scheduler`` has the workers, ``views`` what HTTP shows of them."""

    def __init__(self, context: Context, app: App) -> None:
        options, clock = context.options, context.clock
        self._context, self._clock, self._poll = context, clock, options["poll"]
        self._terminal = context.terminal._replace(is_interactive=False)
        self._metrics = Metrics()
        self._planes = _Planes(context, app, self._metrics.count_call)
        self._told = _Told()
        source = LatestSource(app.source)
        self._reconciler = Reconciler(
            source,
            Follower(source, app.cache, app.backends),
            self._planes.open_parts,
            clock,
            context.cancel,
            options["interval"],
            self._take_pass,
        )
        poller = Poller(source, self._take_snapshot, self._take_look)
        self._status = _StatusReader(app, self._reconciler, clock)
        self.scheduler = Scheduler(
            [
                Worker(_SOURCE, options["poll"], poller.run, _LOOK_LIMIT),
                Worker(_RECONCILER, options["interval"], self._reconciler.run, _PASS_LIMIT),
                Worker(_STATUS, _STATUS_INTERVAL, self._run_status, _STATUS_LIMIT),
            ],
            clock,
            self._take_run,
            self._take_overdue,
        )
        self.views = Views(
            read_status=lambda: status_as_json(self._status.read(_STATUS_AGE)),
            read_workers=self._read_workers,
            find_unready=self._find_unready,
            render_metrics=self._metrics.render,
            on_bug=lambda bug: self.log(f"error: a bug: unexpected {type(bug).__name__} in HTTP"),
        )

    def log(self, text: str) -> None:
        """One line, with the time before it."""
        self._terminal.note(one_line(f"{rfc3339(self._clock.now())} {text}"))

    def wake(self) -> None:
        """The source may have changed: look at once."""
        self.scheduler.run_now(_SOURCE)

    def close(self) -> None:
        """Only when no worker runs any more."""
        self._planes.close()
        self._status.close()

    def give_up(self) -> None:
        """End the process although something is still in flight: it was written down before it was
        begun, and the next pass finds out what came of it, as after a crash."""
        self._planes.break_lease()
        self.log("stopped with something in flight; the next pass goes on from there")
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(ExitCode.OK)

    def _run_status(self) -> Ran:
        if self._reconciler.desired is None:
            return Ran(after=timedelta(seconds=1))
        document = self._status.read(timedelta())
        self._metrics.set_instances(Counter(item.phase for item in document.instances))
        return Ran()

    def _take_pass(self, report: PassReport) -> None:
        self._metrics.count_pass(report)
        is_known = (report.outcome, report.notes) == self._told.last_pass
        if report.outcome is not PassOutcome.UNCHANGED or not is_known:
            scope = "everything" if report.is_whole else "what changed"
            commit = report.commit[:12] or "no commit"
            seconds = report.duration.total_seconds()
            self.log(
                f"pass {report.outcome}: {commit}, {scope}, {report.effects} effects "
                f"in {seconds:.1f}s"
            )
        if not is_known:
            for text in report.notes:
                self.log(f"note {text}")
        self._told.last_pass = (report.outcome, report.notes)
        self._told.has_completed |= report.is_complete
        if report.effects and not self._context.cancel.is_set():
            self.scheduler.run_now(_STATUS)

    def _take_snapshot(self) -> timedelta | None:
        """Where it is new, a pass is made of it: after the one under way, which is given up for it
        when it has had its time."""
        if self._reconciler.is_behind():
            self.scheduler.run_now(_RECONCILER)
        left = self._reconciler.yield_to_news()
        return None if left is None else min(left, self._poll)

    def _take_look(self, error: str) -> None:
        self._metrics.count_look(error)
        if error and error != self._told.source_error:
            self.log(f"source: {error}; what it said last stays in force")
        elif self._told.source_error and not error:
            self.log("source: it answers again")
        self._told.source_error = error

    def _take_run(self, name: str, ran: Ran) -> None:
        self._metrics.count_run(name, bool(ran.error))
        # What passes and looks came to is told by them; what nobody expected is told here.
        is_told = name != _STATUS and not ran.error.startswith("a bug")
        if ran.error and not is_told and ran.error != self._told.run_errors.get(name):
            self.log(f"worker {name}: {ran.error}")
        self._told.run_errors[name] = ran.error

    def _take_overdue(self, name: str, duration: timedelta) -> None:
        self._metrics.count_overdue(name)
        self.log(f"worker {name}: has been at it for {int(duration.total_seconds())}s")

    def _read_workers(self) -> list[Any]:
        states = self.scheduler.states()
        workers = self.scheduler.workers
        return [worker_as_json(workers[name], state) for name, state in sorted(states.items())]

    def _find_unready(self) -> str:
        told = self._told
        if not told.has_completed:
            outcome, notes = told.last_pass
            if outcome is None:
                return f"the first pass has not ended yet{_because(told.source_error)}"
            return f"no pass has succeeded yet; the last one: {outcome}{_because(*notes[:1])}"
        try:
            self._planes.check_store()
        except StoreError as error:
            return f"the store does not answer: {error.message}"
        return ""


def _because(*reasons: str) -> str:
    return "".join(f": {reason}" for reason in reasons if reason)


class _Told:
    """What was said last, so that it is not said again."""

    def __init__(self) -> None:
        self.last_pass: tuple[PassOutcome | None, tuple[str, ...]] = (None, ())
        self.has_completed = False
        self.source_error = ""
        self.run_errors: dict[str, str] = {}


class _Planes:
    """The control plane that passes work with, opened anew when its own spec has changed."""

    def __init__(self, context: Context, app: App, on_call: Callable[[str, str], None]) -> None:
        self._context, self._app, self._on_call = context, app, on_call
        self._stack = ExitStack()
        self._plane: Plane | None = None

    def open_parts(self, spec: ControlPlane, stop: threading.Event) -> PassParts:
        """For the thread that makes the passes."""
        if self._plane is None or self._plane.spec != spec:
            self.close()
            self._plane = self._stack.enter_context(open_plane(self._app, spec, is_read_only=False))
        return self._build_parts(self._plane, stop)

    def check_store(self) -> None:
        """StoreError when it does not answer."""
        plane = self._plane
        if plane is None:
            raise StoreError("it is not open")
        plane.store.read_lease(LEASE)

    def break_lease(self) -> None:
        """Give back what a pass that will never end holds."""
        plane = self._plane
        if plane is None:
            return
        with suppress(CtrlplaneError):
            known = plane.store.read_lease(LEASE)
            ours = describe_holder().rpartition("+")[0]
            if known is not None and known.holder.rpartition("+")[0] == ours:
                plane.store.break_lease(LEASE, known.number)

    def close(self) -> None:
        self._plane = None
        self._stack.close()

    def _build_parts(self, plane: Plane, stop: threading.Event) -> PassParts:
        app, context = self._app, self._context
        terminal = context.terminal._replace(is_interactive=False)
        return PassParts(
            store=plane.store,
            providers={
                name: CountedProvider(item, self._on_call) for name, item in plane.providers.items()
            },
            router=plane.router,
            analyses=app.analyses,
            clock=context.clock,
            actions=app.actions,
            looks=app.looks,
            probes=app.probes,
            cancel=stop,
            actor=app.settings.actor,
            on_event=event_printer(terminal, context.clock),
            on_wait=wait_printer(terminal, context.clock),
        )


class _StatusReader:
    """What ``status`` shows, for whoever asks: with parts of its own, so that nobody who asks
    holds up a pass."""

    def __init__(self, app: App, reconciler: Reconciler, clock: Clock) -> None:
        self._app, self._reconciler, self._clock = app, reconciler, clock
        self._looks, self._probes = Pool(4, "status-look"), Pool(16, "status-probe")
        self._lock, self._asking = threading.Lock(), threading.Semaphore(_STATUS_CLIENTS)
        self._last: tuple[datetime, StatusDocument] | None = None

    def read(self, age: timedelta) -> StatusDocument:
        """Probed now, or at most ``age`` ago. CtrlplaneError when it cannot be told, or too many
        ask already: a provider that hangs must not use up the threads that answer."""
        if not self._asking.acquire(blocking=False):
            raise UnreachableError("many are waiting for the status already; ask again later")
        try:
            return self._read_once(age)
        finally:
            self._asking.release()

    def _read_once(self, age: timedelta) -> StatusDocument:
        with self._lock:
            now = self._clock.now()
            if self._last is not None and now - self._last[0] < age:
                return self._last[1]
            document = self._read(now)
            # Kept for those who ask at the same time, and no longer than until the worker's turn.
            self._last = (self._clock.now(), document) if age else None
            return document

    def close(self) -> None:
        self._looks.close()
        self._probes.close()

    def _read(self, now: datetime) -> StatusDocument:
        desired, commit = self._reconciler.desired, self._reconciler.commit
        if desired is None:
            raise SourceError("the specs have not been read yet", is_retryable=True)
        with open_plane(self._app, desired.plane, is_read_only=True) as plane:
            observed = observe_all(plane.providers, self._looks, router=plane.router)
            return read_status(
                plane.spec.name, commit, desired, plane.store.load_state(),
                observed, plane.providers, self._probes, now,
            )  # fmt: skip
