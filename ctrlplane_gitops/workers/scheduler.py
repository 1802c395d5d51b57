"""The threads of the workers: one that decides whose turn it is, and one per run."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from ctrlplane_gitops.clock import Clock, monotonic_s
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.value import replace
from ctrlplane_gitops.workers.worker import (
    Ran,
    Worker,
    WorkerState,
    begin_run,
    due_at,
    end_run,
    overdue_at,
)

_LONGEST = timedelta(seconds=60)


class Scheduler:
    """Runs each worker on its interval, never two runs of one worker at a time; all are due at
    once when it starts. ``on_run`` is told of every run when it has ended, ``on_overdue`` once of
    a run that takes longer than its worker's limit, with how long it has been going on."""

    def __init__(
        self,
        workers: Iterable[Worker],
        clock: Clock,
        on_run: Callable[[str, Ran], None] = lambda name, ran: None,
        on_overdue: Callable[[str, timedelta], None] = lambda name, duration: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._workers = {worker.name: worker for worker in workers}
        self._clock = clock
        self._on_run = on_run
        self._on_overdue = on_overdue
        self._chance = chance
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_stopping = False
        now = clock.now()
        self._states = {name: WorkerState(now) for name in self._workers}
        self._threads: dict[str, threading.Thread] = {}
        self._dispatcher: threading.Thread | None = None

    @property
    def workers(self) -> Mapping[str, Worker]:
        return self._workers

    def states(self) -> dict[str, WorkerState]:
        """What is known of each worker at this moment."""
        with self._lock:
            return dict(self._states)

    def run_now(self, name: str) -> None:
        """Let it run as soon as it can: at once, or again after the run under way, or when its
        spacing is over. However often it is asked meanwhile, that is one run. KeyError for a name
        that is nobody's."""
        with self._lock:
            if self._states[name].is_asked:
                # Whoever asked before has said it: a storm must not keep the dispatcher busy.
                return
            self._states[name] = replace(self._states[name], is_asked=True)
        self._wake.set()

    def turn(self) -> timedelta:
        """Start whoever is due and report whoever takes too long; how long until the next turn."""
        now = self._clock.now()
        late: list[tuple[str, timedelta]] = []
        with self._lock:
            if self._is_stopping:
                return timedelta()
            for name, worker in self._workers.items():
                state = self._states[name]
                begins, due = due_at(worker, state), overdue_at(worker, state)
                if begins is not None and now >= begins:
                    self._states[name] = begin_run(state, now)
                    self._start(worker)
                elif due is not None and now >= due and state.started_at is not None:
                    self._states[name] = replace(state, is_overdue=True)
                    late.append((name, now - state.started_at))
            times = [at for name in self._workers if (at := self._next_of(name)) is not None]
        for name, duration in late:
            self._on_overdue(name, duration)
        return max(timedelta(), min([_LONGEST, *(at - now for at in times)]))

    def start(self) -> None:
        """Take turns in a thread until ``stop``."""
        self._dispatcher = threading.Thread(target=self._dispatch, name="scheduler", daemon=True)
        self._dispatcher.start()

    def stop(self, within: timedelta) -> tuple[str, ...]:
        """Start nothing any more and wait for what runs; the names of those still running when
        the time is over. What a run waits for has to be told to stop by whoever made it."""
        deadline = monotonic_s() + within.total_seconds()
        with self._lock:
            self._is_stopping = True
            threads = dict(self._threads)
        self._wake.set()
        for thread in (*threads.values(), *((self._dispatcher,) if self._dispatcher else ())):
            thread.join(max(0.0, deadline - monotonic_s()))
        return tuple(sorted(name for name, thread in threads.items() if thread.is_alive()))

    def _dispatch(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            self._clock.wait(self._wake, self.turn())

    def _next_of(self, name: str) -> datetime | None:
        worker, state = self._workers[name], self._states[name]
        return due_at(worker, state) or overdue_at(worker, state)

    def _start(self, worker: Worker) -> None:
        thread = threading.Thread(target=self._run, args=(worker,), name=worker.name, daemon=True)
        self._threads[worker.name] = thread
        thread.start()

    def _run(self, worker: Worker) -> None:
        try:
            ran = worker.run()
        except CtrlplaneError as error:
            ran = Ran(error=error.message)
        except Exception as bug:
            # Its message may show what must not be shown.
            ran = Ran(error=f"a bug: unexpected {type(bug).__name__}")
        with self._lock:
            state = self._states[worker.name]
            self._states[worker.name] = end_run(
                worker, state, ran, self._clock.now(), self._chance()
            )
        self._on_run(worker.name, ran)
        self._wake.set()
