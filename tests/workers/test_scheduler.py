"""Workers on a clock that only moves when told to; the runs are in real threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ctrlplane_gitops.clock import FakeClock, SystemClock
from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.status.shown import as_json
from ctrlplane_gitops.workers.scheduler import Scheduler
from ctrlplane_gitops.workers.worker import Ran, Worker, WorkerState, worker_row
from tests.e2e.plane import wait_until

MINUTE = timedelta(minutes=1)
LIMIT = timedelta(minutes=5)


class Job:
    """Counts its runs; each lasts until ``let_go``. ``most`` is how many ran at a time."""

    def __init__(self, after: timedelta | None = None) -> None:
        self.after = after
        self.runs = self.now = self.most = 0
        self.error: Exception | None = None
        self._gate = threading.Semaphore(0)
        self._lock = threading.Lock()

    def run(self) -> Ran:
        with self._lock:
            self.runs += 1
            self.now += 1
            self.most = max(self.most, self.now)
        self._gate.acquire()
        with self._lock:
            self.now -= 1
        if self.error is not None:
            raise self.error
        return Ran(self.after)

    def let_go(self, count: int = 1) -> None:
        self._gate.release(count)


class Scene:
    """One worker, no jitter, and turns that the test takes."""

    def __init__(
        self,
        after: timedelta | None = None,
        chance: float = 0,
        spacing: timedelta = timedelta(),
    ) -> None:
        self.clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.job = Job(after)
        self.overdue: list[tuple[str, timedelta]] = []
        self.ran: list[Ran] = []
        self.scheduler = Scheduler(
            [Worker("job", MINUTE, self.job.run, LIMIT, spacing)],
            self.clock,
            on_run=lambda name, ran: self.ran.append(ran),
            on_overdue=lambda name, duration: self.overdue.append((name, duration)),
            chance=lambda: chance,
        )

    @property
    def state(self) -> WorkerState:
        return self.scheduler.states()["job"]

    def end(self) -> None:
        """Let the run under way end, and wait until that is known."""
        seen = len(self.ran)
        self.job.let_go()
        wait_until(lambda: len(self.ran) > seen)

    def turn(self, after: timedelta = timedelta()) -> timedelta:
        self.clock.advance(after)
        return self.scheduler.turn()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_worker_runs_at_once_and_then_on_its_interval(scene: Scene) -> None:
    scene.turn()
    scene.end()
    assert scene.turn() == MINUTE
    assert scene.turn(MINUTE - timedelta(seconds=1)) == timedelta(seconds=1)
    assert scene.job.runs == 1
    scene.turn(timedelta(seconds=1))
    scene.end()
    assert scene.job.runs == 2


def test_the_interval_counts_from_the_end_of_a_run(scene: Scene) -> None:
    scene.turn()
    scene.clock.advance(timedelta(seconds=90))
    scene.end()
    assert scene.state.last_duration == timedelta(seconds=90)
    assert scene.turn() == MINUTE


def test_jitter_only_makes_an_interval_shorter() -> None:
    scene = Scene(chance=1)
    scene.turn()
    scene.end()
    assert scene.turn() == MINUTE * 0.9


def test_a_worker_says_itself_when_it_is_due_again() -> None:
    scene = Scene(after=timedelta(seconds=7))
    scene.turn()
    scene.end()
    assert scene.turn() == timedelta(seconds=7)


def test_a_worker_never_overlaps_itself(scene: Scene) -> None:
    scene.turn()
    for _ in range(5):
        scene.scheduler.run_now("job")
        scene.turn(MINUTE)
    scene.end()
    assert (scene.job.runs, scene.job.most) == (1, 1)


def test_however_often_it_is_asked_meanwhile_it_runs_once_more(scene: Scene) -> None:
    scene.turn()
    for _ in range(1000):
        scene.scheduler.run_now("job")
    scene.end()
    assert scene.turn() == MINUTE  # until the second run is to be reported, or the next turn
    scene.end()
    assert scene.turn() == MINUTE
    assert (scene.job.runs, scene.job.most) == (2, 1)


def test_run_now_does_not_wait_for_the_interval(scene: Scene) -> None:
    scene.turn()
    scene.end()
    scene.scheduler.run_now("job")
    scene.turn()
    scene.end()
    assert scene.job.runs == 2


def test_nobody_can_ask_for_a_worker_that_is_not_there(scene: Scene) -> None:
    with pytest.raises(KeyError):
        scene.scheduler.run_now("nobody")


def test_the_watchdog_reports_a_long_run_once(scene: Scene) -> None:
    scene.turn()
    scene.turn(LIMIT - timedelta(seconds=1))
    assert scene.overdue == [] and not scene.state.is_overdue
    scene.turn(timedelta(seconds=1))
    scene.turn(MINUTE)
    assert scene.overdue == [("job", LIMIT)] and scene.state.is_overdue
    scene.end()
    assert not scene.state.is_overdue


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StoreError("the store is gone"), "the store is gone"),
        (ValueError("s3cret"), "a bug: unexpected ValueError"),
    ],
)
def test_an_error_is_counted_and_the_worker_goes_on(
    scene: Scene, error: Exception, said: str
) -> None:
    scene.job.error = error
    scene.turn()
    scene.end()
    assert (scene.state.runs, scene.state.errors, scene.state.last_error) == (1, 1, said)
    scene.job.error = None
    scene.turn(MINUTE)
    scene.end()
    assert (scene.state.runs, scene.state.errors, scene.state.last_error) == (2, 1, "")


def test_what_is_known_of_a_worker_is_plain_json(scene: Scene) -> None:
    scene.turn()
    running = as_json(worker_row(scene.scheduler.workers["job"], scene.state))
    assert running["is_running"] and running["next_at"] is None
    scene.clock.advance(timedelta(seconds=2))
    scene.end()
    rested = as_json(worker_row(scene.scheduler.workers["job"], scene.state))
    assert rested["next_at"] == "2026-01-01T00:01:02.000Z"
    assert rested["last_run_at"] == "2026-01-01T00:00:00.000Z"
    assert (rested["last_duration_s"], rested["runs"], rested["last_error"]) == (2.0, 1, None)


def test_stop_waits_for_the_run_under_way_and_starts_nothing_more(scene: Scene) -> None:
    scene.turn()
    assert scene.scheduler.stop(timedelta(milliseconds=50)) == ("job",)
    scene.job.let_go()
    assert scene.scheduler.stop(timedelta(seconds=5)) == ()
    scene.scheduler.run_now("job")
    scene.turn(MINUTE)
    assert scene.job.runs == 1


def started(run: Callable[[], Ran]) -> Scheduler:
    scheduler = Scheduler([Worker("job", MINUTE, run, LIMIT)], SystemClock())
    scheduler.start()
    return scheduler


def test_turns_are_taken_by_a_thread_that_is_woken() -> None:
    job = Job()
    job.let_go(100)
    scheduler = started(job.run)
    wait_until(lambda: job.runs == 1)
    scheduler.run_now("job")
    wait_until(lambda: job.runs == 2)
    assert scheduler.stop(timedelta(seconds=5)) == ()


def test_runs_that_are_asked_for_keep_their_distance() -> None:
    second = timedelta(seconds=1)
    scene = Scene(spacing=second)
    scene.turn()
    scene.end()
    for _ in range(1000):
        scene.scheduler.run_now("job")
    assert scene.turn(second / 4) == second * 3 / 4
    assert scene.job.runs == 1
    scene.turn(second * 3 / 4)
    wait_until(lambda: scene.job.runs == 2)
    # However long one takes, the next begins no sooner after it than it has to.
    scene.scheduler.run_now("job")
    scene.clock.advance(second * 5)
    scene.end()
    scene.turn()
    wait_until(lambda: scene.job.runs == 3)
    scene.end()
