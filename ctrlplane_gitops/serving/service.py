"""The service: its workers, and what HTTP shows of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection
from datetime import timedelta

from ctrlplane_gitops.api.application import Views
from ctrlplane_gitops.api.metrics import Metrics
from ctrlplane_gitops.app import App, certifier
from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.reconcile.follow import Follower
from ctrlplane_gitops.reconcile.look import Look
from ctrlplane_gitops.reconcile.report import PassReport
from ctrlplane_gitops.reconcile.run import Amendment
from ctrlplane_gitops.room import Room
from ctrlplane_gitops.serving.acting import Acting, Wishes
from ctrlplane_gitops.serving.collecting import build_collector
from ctrlplane_gitops.serving.following import Followed, Following
from ctrlplane_gitops.serving.narrator import Narrator
from ctrlplane_gitops.serving.output import Output
from ctrlplane_gitops.serving.page_reading import PageReading
from ctrlplane_gitops.serving.planes import Planes
from ctrlplane_gitops.serving.reading import ReadingStores
from ctrlplane_gitops.serving.renewing import build_renewer
from ctrlplane_gitops.serving.status_reader import StatusReader
from ctrlplane_gitops.serving.telling import Telling
from ctrlplane_gitops.serving.vitals import Pace, Vitals
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.source.latest import LatestSource
from ctrlplane_gitops.state.access import AccessToken
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.status.board import Board, Sources
from ctrlplane_gitops.status.passing import Plans
from ctrlplane_gitops.status.row import WorkerRow
from ctrlplane_gitops.status.view import InstancePhase
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import struct
from ctrlplane_gitops.workers import cert_renewer, garbage_collector
from ctrlplane_gitops.workers.fleet import Looks, Seen
from ctrlplane_gitops.workers.garbage_collector import GarbageCollector
from ctrlplane_gitops.workers.poller import Poller
from ctrlplane_gitops.workers.reconciler import Reconciler, Told
from ctrlplane_gitops.workers.scheduler import Scheduler
from ctrlplane_gitops.workers.worker import Ran, Worker, worker_row

_SOURCE, _RECONCILER, _STATUS = "source", "reconciler", "status"
_RENEW_INTERVAL = timedelta(hours=1)
# Longer than git is given for a fetch.
_LOOK_LIMIT = timedelta(minutes=6)
# A rollout has ten minutes to progress by default; what takes longer is worth a look.
_PASS_LIMIT = timedelta(minutes=15)
_STATUS_INTERVAL, _STATUS_LIMIT = timedelta(seconds=30), timedelta(minutes=1)
_STATUS_SOON = timedelta(seconds=5)
_MOVING = frozenset({InstancePhase.PROGRESSING, InstancePhase.ROLLING_BACK})
_COLLECT_LIMIT = timedelta(minutes=5)
# Several who ask at the same time are one look.
_STATUS_AGE = timedelta(seconds=1)
# Nobody asked for it, and nothing moves: what others have seen is good enough.
_LOOK_AGE = timedelta(seconds=5)
# More than there are providers in most control planes, each of which is waited for.
_LOOKS = 8
# Deliveries that come closer together than this share a look.
_LOOK_SPACING = timedelta(seconds=1)


@struct
class Intervals:
    """How often the source is looked at (``poll``), everything held against what runs, and what is
    old or nobody's cleared away (``collect``); how often those who probe look for what there is
    (``health``), and what replicas use is measured (``telemetry``)."""

    poll: timedelta = timedelta(seconds=60)
    reconcile: timedelta = timedelta(seconds=60)
    collect: timedelta = timedelta(minutes=5)
    health: timedelta = timedelta(seconds=30)
    telemetry: timedelta = timedelta(seconds=10)


class Service:
    """``scheduler`` has the workers, ``views`` what HTTP shows. ``cancel`` ends what is under way
    for good."""

    def __init__(
        self,
        app: App,
        cancel: threading.Event,
        intervals: Intervals,
        output: Output,
        followed: Followed,
    ) -> None:
        clock = app.clock
        self._cancel, self._poll, self._output = cancel, intervals.poll, output
        self._clock, self._plans, self._look_age = clock, Plans(), _LOOK_AGE
        self._metrics = Metrics()
        self._telling = Telling(app, output, self._metrics, cancel, self._run_now)
        self._planes = self._build_planes(app)
        self._narrator = Narrator(output, self._metrics, frozenset({_SOURCE, _RECONCILER}))
        self._source = source = LatestSource(app.source)
        self._following = Following(
            app, output, self._metrics, followed, source,
            lambda: self._reconciler.plane, self.wake, self._run_now,
        )  # fmt: skip
        self._reconciler = Reconciler(
            source,
            Follower(source, app.cache, app.backends, certifier(app, is_renewing=False)),
            self._planes.open_parts,
            clock,
            cancel,
            intervals.reconcile,
            self._build_told(),
        )
        poller = self._build_poller(source)
        self._renewer_planes = Planes(app, output, self._metrics.count_call, self._telling.watch)
        self._renewer = build_renewer(app, self._renewer_planes, source, self._reconciler, cancel)
        self._room = Room()
        self._look_pool = Pool(_LOOKS, "look")
        self._looks = Looks(self._look_pool, clock)
        self._status = self._build_status(app)
        self._reading = ReadingStores(app, self._planes)
        self._pages = self._build_pages(app)
        self._acting = self._build_acting(app)
        self._collector_planes = Planes(app, output, self._metrics.count_call, self._telling.watch)
        collector = build_collector(app, self._collector_planes, source, self._reconciler, cancel)
        self._vitals = self._build_vitals(app, Pace(intervals.health, intervals.telemetry))
        workers = self._build_workers(intervals, poller, collector)
        self.scheduler = Scheduler(workers, clock, self._take_run, self._narrator.take_overdue)
        self.views = self._build_views()

    def _build_told(self) -> Told:
        return Told(
            on_look=self._take_look,
            on_begin=self._narrator.take_beginning,
            on_pass=self._take_pass,
            on_due=lambda: self._run_now(_RECONCILER),
            on_end=self._settle,
        )

    def _build_planes(self, app: App) -> Planes:
        """Those of passes, which what changes at a provider brings about as well."""
        return Planes(
            app,
            self._output,
            self._metrics.count_call,
            self._take_store,
            lambda keys: self._reconciler.stir(keys),
        )

    def _build_status(self, app: App) -> StatusReader:
        return StatusReader(
            app, self._reconciler, self._clock, self._looks, lambda: self._renewer.ends,
            lambda name, call: self._vitals.count_call(name, call), self._room,
            self._planes.find_watched,
        )  # fmt: skip

    def _build_vitals(self, app: App, pace: Pace) -> Vitals:
        return Vitals(
            app, self._planes, self._read_desired, self._cancel, pace, self._metrics, self._looks
        )

    def _build_poller(self, source: LatestSource) -> Poller:
        begin_look = self._following.ledger.begin_look
        return Poller(source, self._take_snapshot, self._end_look, on_begin=begin_look)

    def _build_workers(
        self, intervals: Intervals, poller: Poller, collector: GarbageCollector
    ) -> list[Worker]:
        return [
            Worker(_SOURCE, intervals.poll, poller.run, _LOOK_LIMIT, _LOOK_SPACING),
            Worker(_RECONCILER, intervals.reconcile, self._run_pass, _PASS_LIMIT),
            Worker(_STATUS, _STATUS_INTERVAL, self._run_status, _STATUS_LIMIT),
            Worker(garbage_collector.NAME, intervals.collect, collector.run, _COLLECT_LIMIT),
            Worker(cert_renewer.NAME, _RENEW_INTERVAL, self._renewer.run, _COLLECT_LIMIT),
            *self._vitals.workers,
            *self._telling.build_workers(lambda: self._reconciler.plane),
            *self._following.build_workers(),
        ]

    def _read_desired(self) -> DesiredState | None:
        return self._reconciler.desired

    def _run_now(self, name: str) -> None:
        self.scheduler.run_now(name)

    def _build_acting(self, app: App) -> Acting:
        return Acting(
            app,
            lambda: self._reconciler.desired,
            lambda: self._planes.plane.store,
            Wishes(self._ask, self._amend, self._run_worker),
        )

    def _ask(self, keys: Collection[ResourceKey] | None) -> None:
        self._reconciler.ask(keys)
        self._run_now(_RECONCILER)

    def _amend(self, key: ResourceKey, amendment: Amendment) -> None:
        self._reconciler.amend(key, amendment)
        self._run_now(_RECONCILER)

    def _run_worker(self, name: str) -> bool:
        if name not in self.scheduler.workers:
            return False
        if name == _RECONCILER:
            # It would find that nothing is due.
            self._reconciler.ask()
        self._run_now(name)
        return True

    def _build_pages(self, app: App) -> PageReading:
        return PageReading(
            app,
            self._reconciler,
            self._reading,
            lambda: self._status.live,
            self._find_unready,
            lambda key, window: self._vitals.read_series(key, window),
        )

    def _build_views(self) -> Views:
        sources = Sources(
            read_desired=self._read_desired,
            read_live=lambda: self._status.live,
            read_store=self._reading.read_store,
            now=self._clock.now,
            read_plan=self._plans.read,
            read_workers=self._read_workers,
            read_health=self._vitals.health.read_one,
            read_series=self._vitals.read_series,
        )
        return Views(
            board=Board(sources),
            pages=self._pages.build_views(),
            actions=self._acting.actions,
            stop=self._cancel,
            read_status=lambda: self._status.read(_STATUS_AGE).document,
            find_unready=self._find_unready,
            render_metrics=self._metrics.render,
            on_bug=self._take_bug,
            receiver=self._following.receiver,
        )

    def read_tokens(self) -> tuple[AccessToken, ...] | None:
        """Those that Git declares; None while the specs are not known."""
        plane = self._reconciler.plane
        return None if plane is None else plane.tokens

    @property
    def is_ready(self) -> bool:
        """Whether what is followed has been read, and everything looked at, once."""
        return not self._narrator.find_unready()

    def wake(self) -> None:
        """The source may have changed: look at once."""
        self.scheduler.run_now(_SOURCE)

    def stop(self, within: timedelta) -> bool:
        """Once ``cancel`` is set: let what is in flight end; False where it takes longer."""
        began = monotonic_s()
        left = self.scheduler.stop(within)
        rest = within - timedelta(seconds=monotonic_s() - began)
        return not left and self._reconciler.wait(max(timedelta(), rest))

    def close(self) -> None:
        """Only when no worker runs any more."""
        self._reading.close()
        self._following.close()
        self._vitals.close()
        self._planes.close()
        self._collector_planes.close()
        self._renewer_planes.close()
        self._status.close()
        self._look_pool.close()
        self._acting.close()
        self._telling.close()

    def break_lease(self) -> None:
        """Give back what a pass that will never end holds."""
        self._planes.break_lease()

    def _run_pass(self) -> Ran:
        with self._room.entered():
            return self._reconciler.run()

    def _run_status(self) -> Ran:
        if self._reconciler.desired is None:
            return Ran(after=timedelta(seconds=1))
        began = monotonic_s()
        document = self._status.read(timedelta(), self._look_age).document
        phases = Counter(item.phase for item in document.instances)
        self._metrics.set_instances(phases)
        is_moving = bool(phases.keys() & _MOVING)
        self._look_age = timedelta() if is_moving else _LOOK_AGE
        if not is_moving:
            return Ran()
        # Somebody may be watching a rollout; a tenth of the time is enough for them.
        took = timedelta(seconds=monotonic_s() - began)
        return Ran(after=min(_STATUS_INTERVAL, max(_STATUS_SOON, 10 * took)))

    def _take_look(self, seen: Look) -> None:
        part = seen.wanted.part
        tenants = None if part is None else part.tenants
        if part is None:
            self._looks.take(Seen(seen.at, seen.observed))
        self._plans.take(seen.plan, tenants, self._clock.now())
        self._following.begin_pass(seen.wanted.snapshot)

    def _take_pass(self, report: PassReport, snapshot: Snapshot | None) -> None:
        self._pages.take_pass(report)
        self._plans.end(report.outcome.value)
        self._narrator.take_pass(report)
        self._following.end_pass(report, snapshot)
        if report.effects:
            self._looks.forget()
            if not self._cancel.is_set():
                self.scheduler.run_now(_STATUS)

    def _take_snapshot(self) -> timedelta | None:
        """Where it is new, a pass is made of it. How soon to look again, None: on the interval."""
        snapshot = self._source.snapshot
        lag = None if snapshot is None else self._following.ledger.end_look(snapshot)
        if self._reconciler.is_behind():
            self.scheduler.run_now(_RECONCILER)
        else:
            self._settle()
        return None if lag is None else min(lag, self._poll)

    def _end_look(self, error: str) -> None:
        self._narrator.take_look(error)
        self._pages.take_look(error)
        if error:
            self._following.ledger.fail_look(error)

    def _take_run(self, name: str, ran: Ran) -> None:
        self._narrator.take_run(name, ran)
        if name == _RECONCILER:
            self._settle()

    def _settle(self) -> None:
        """End what waits for a pass where none is under way and none is to come."""
        snapshot, tried = self._source.snapshot, self._reconciler.tried
        is_behind = self._reconciler.is_behind()
        # Last, for it says so as soon as it begins: else what it has begun with in between would
        # look like what it has ended.
        state = self.scheduler.states()[_RECONCILER]
        if state.started_at is not None or state.is_asked or is_behind:
            return
        if tried is not self._reconciler.tried:
            # One has begun and ended in between; whoever ran it comes here after it.
            return
        if snapshot is not None and tried is not None and not self._reconciler.is_pending(tried):
            self._following.settle(snapshot, tried)

    def _take_store(self, store: Store) -> None:
        self._telling.take_store(store)
        self._following.take_store(store)

    def _take_bug(self, bug: Exception) -> None:
        self._output.log(f"error: a bug: unexpected {type(bug).__name__} in HTTP")

    def _read_workers(self) -> list[WorkerRow]:
        states = self.scheduler.states()
        workers = self.scheduler.workers
        return [worker_row(workers[name], state) for name, state in sorted(states.items())]

    def _find_unready(self) -> str:
        reason = self._narrator.find_unready()
        if reason:
            return reason
        try:
            self._planes.check_store()
        except StoreError as error:
            return f"the store does not answer: {error.message}"
        return ""
