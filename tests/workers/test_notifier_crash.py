"""Several who notify, receivers that hang, and kills at the worst moment."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.pool import Begun
from ctrlplane_gitops.http.fetch import Reply, post
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.sqlite import SqliteStore
from ctrlplane_gitops.workers.sender import CLAIM
from tests.e2e.plane import wait_until
from tests.http.receiver import HANG, Receiver, receiving
from tests.store.sqlite_kit import end_of, fork
from tests.workers.notifier_kit import SECOND, Scene, subscription

FAILED, COMPLETED = EventType.ROLLOUT_FAILED, EventType.ROLLOUT_COMPLETED
PAUSED = EventType.ROLLOUT_PAUSED


def test_a_receiver_that_hangs_delays_nobody_else(store: Store, clock: FakeClock) -> None:
    with receiving(clock.now) as hanging, receiving(clock.now) as good:
        hanging.otherwise = HANG
        names = [subscription(hanging.url, f"hangs-{n}") for n in range(15)]
        patient = Scene(store, *names, subscription(good.url, "good"), clock=clock, begin=Begun)
        patient.turn()
        for _ in range(20):
            patient.tell(PAUSED)
        patient.turn()
        wait_until(lambda: len(good.ids) == 20 and len(hanging.ids) == 15)
        wait_until(lambda: patient.turn() > timedelta() and len(patient.attempts) >= 20)
        assert len(patient.attempts) == 20
        assert {name for name, _ in patient.attempts} == {"good"}
        hanging.over.set()
        for _ in range(16):
            assert patient.idle.acquire(timeout=20)
    assert len(hanging.ids) < 15 * 4


def test_two_that_notify_for_one_store_tell_everything_once(
    tmp_path: Path, receiver: Receiver, clock: FakeClock
) -> None:
    stores = [SqliteStore(tmp_path / "state.db") for _ in range(2)]
    one, two = (Scene(item, subscription(receiver.url), clock=clock) for item in stores)
    one.turn()
    for number in range(30):
        one.tell(PAUSED, text=str(number))
        running = [Begun(one.notifier.run), Begun(two.notifier.run)]
        for item in running:
            item.result()
    assert len(receiver.ids) == len(set(receiver.ids)) == 30
    assert {item[0] for item in one.states()} == {"delivered"}
    for store in stores:
        store.close()


def test_a_kill_between_sending_and_writing_it_down_sends_it_again_with_the_same_id(
    tmp_path: Path, receiver: Receiver, clock: FakeClock
) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    scene = Scene(store, subscription(receiver.url), clock=clock)
    scene.turn()
    scene.tell(FAILED, text="once", release="v2")
    store.close()

    def send_and_die(*given: object) -> Reply:
        post(*given)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def run() -> None:
        opened = SqliteStore(path)
        Scene(opened, subscription(receiver.url), clock=clock, post=send_and_die).turn()

    assert end_of(fork(run)) == -signal.SIGKILL
    wait_until(lambda: len(receiver.ids) == 1)
    after = Scene(SqliteStore(path), subscription(receiver.url), clock=clock)
    after.turn()
    assert len(receiver.ids) == 1
    after.turn(CLAIM)
    assert len(receiver.ids) == 2 and len(set(receiver.ids)) == 1
    assert receiver.bodies[0] == receiver.bodies[1]
    assert after.states() == [("delivered", 1, 204)]
    after.store.close()


def test_a_kill_before_anything_was_written_down_tells_it_once(
    tmp_path: Path, receiver: Receiver, clock: FakeClock
) -> None:
    """The log was not read on, so it is read again."""
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    scene = Scene(store, subscription(receiver.url), clock=clock)
    scene.turn()
    scene.tell(FAILED, release="v2")
    store.close()

    def run() -> None:
        opened = SqliteStore(path)
        opened.outbox.read_on = lambda reading: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,assignment]
        Scene(opened, subscription(receiver.url), clock=clock).turn()

    assert end_of(fork(run)) == -signal.SIGKILL
    after = Scene(SqliteStore(path), subscription(receiver.url), clock=clock)
    after.turn()
    after.turn(CLAIM)
    assert receiver.types() == ["rollout.failed"]
    after.store.close()


def test_who_serves_an_older_commit_takes_nothing_from_who_serves_the_newer(
    tmp_path: Path, receiver: Receiver, clock: FakeClock
) -> None:
    stores = [SqliteStore(tmp_path / "state.db") for _ in range(2)]
    old, new = (
        Scene(stores[0], clock=clock),
        Scene(stores[1], subscription(receiver.url), clock=clock),
    )
    receiver.answers = [(500, {})]
    for number in range(5):
        old.tell(PAUSED, text=str(number))
        for scene in (old, new, old):
            scene.turn(10 * SECOND)
    assert [item["data"]["message"] for item in receiver.bodies] == ["0", "0", "1", "2", "3", "4"]
    assert {item[0] for item in new.states()} == {"delivered"}
    for store in stores:
        store.close()
