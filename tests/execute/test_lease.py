"""The lease an apply works under, between real processes and with a clock of the test's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import FakeClock, SystemClock
from ctrlplane_gitops.errors import CancelledError, LockError
from ctrlplane_gitops.execute.holder import describe_holder, is_dead
from ctrlplane_gitops.execute.lease import LEASE, TTL, hold_lease
from ctrlplane_gitops.store.memory import MemoryStore
from ctrlplane_gitops.store.sqlite import SqliteStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NEVER = threading.Event()
# A process that holds the lease of a store until it is killed.
_HOLDER = """
import sys, threading
from datetime import timedelta
from pathlib import Path
from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.execute.lease import hold_lease
from ctrlplane_gitops.store.sqlite import SqliteStore

store, never = SqliteStore(Path(sys.argv[1])), threading.Event()
with hold_lease(store, SystemClock(), timedelta(0), never):
    print("held", flush=True)
    never.wait()
"""


class Beats:
    """A clock whose waits end when the test says so; time stands still otherwise."""

    def __init__(self) -> None:
        self.time = NOW
        self._gate = threading.Semaphore(0)
        self._waiting = threading.Semaphore(0)

    def now(self) -> datetime:
        return self.time

    def wait(self, event: threading.Event, timeout: timedelta) -> bool:
        self._waiting.release()
        while not self._gate.acquire(timeout=0.01):
            if event.is_set():
                return True
        self.time += timeout
        return event.is_set()

    def beat(self) -> None:
        """Let one wait pass, and be back when the next one has begun or nobody waits any more."""
        assert self._waiting.acquire(timeout=10)
        self._gate.release()

    def settle(self) -> None:
        """Until somebody waits again."""
        assert self._waiting.acquire(timeout=10)
        self._waiting.release()


@contextmanager
def other_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_lease_is_given_back_at_the_end_and_after_an_error() -> None:
    store = MemoryStore()
    with hold_lease(store, Beats(), timedelta(0), NEVER) as held:
        known = store.read_lease(LEASE)
        assert known is not None and known.holder == held.fence.holder
        assert known.expires_at == NOW + TTL
    assert store.read_lease(LEASE) is None
    with pytest.raises(KeyError), hold_lease(store, Beats(), timedelta(0), NEVER):
        raise KeyError
    assert store.read_lease(LEASE) is None


def test_a_lease_is_refreshed_well_before_it_ends() -> None:
    store, clock = MemoryStore(), Beats()
    with hold_lease(store, clock, timedelta(0), NEVER) as held:
        for _ in range(10):
            clock.beat()
        clock.settle()
        known = store.read_lease(LEASE)
        assert known is not None and known.expires_at == NOW + 40 * SECOND + TTL
        assert not held.lost.is_set()


def test_a_holder_is_told_that_its_lease_was_taken_over() -> None:
    store, clock = MemoryStore(), Beats()
    with hold_lease(store, clock, timedelta(0), NEVER) as held:
        assert store.acquire(LEASE, "them", TTL, NOW + TTL) is not None
        clock.beat()
        assert held.lost.wait(10)
    known = store.read_lease(LEASE)
    assert known is not None and known.holder == "them"


def test_a_store_that_is_away_for_three_beats_is_a_lost_lease(tmp_path: Path) -> None:
    store, clock = SqliteStore(tmp_path / "state.db"), Beats()
    with hold_lease(store, clock, timedelta(0), NEVER) as held:
        store.close()
        clock.beat()
        clock.beat()
        clock.settle()
        assert not held.lost.is_set()
        clock.beat()
        assert held.lost.wait(10)


def test_a_live_holder_is_waited_for_and_then_named(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with other_process(path) as process:
        store, clock = SqliteStore(path), FakeClock(datetime.now(UTC))
        began = clock.now()
        with (
            pytest.raises(LockError) as caught,
            hold_lease(store, clock, 3 * SECOND, NEVER),
        ):
            raise AssertionError("it was to be had")
        assert clock.now() - began == 3 * SECOND
        assert f"process {process.pid} on " in caught.value.message
        assert caught.value.hint is not None and "--lock-timeout" in caught.value.hint
        known = store.read_lease(LEASE)
        assert known is not None and f"/{process.pid}/" in known.holder
        store.close()


def test_a_dead_holder_of_this_machine_is_taken_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with other_process(path) as process:
        os.kill(process.pid, signal.SIGSTOP)
        store = SqliteStore(path)
        known = store.read_lease(LEASE)
        # Stopped is not dead: it would go on.
        assert known is not None and not is_dead(known.holder)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        assert is_dead(known.holder)
        with hold_lease(store, SystemClock(), timedelta(0), NEVER) as held:
            assert held.fence.number > known.number
        store.close()


def test_a_holder_of_another_machine_is_left_to_the_end_of_its_lease() -> None:
    store, clock = MemoryStore(), FakeClock(NOW)
    for holder in ("elsewhere/b/1/1", "what/is/this", "", "a/b/c/d/e"):
        assert not is_dead(holder)
    store.acquire(LEASE, "elsewhere/b/1/1", TTL, NOW)
    with pytest.raises(LockError, match="process 1 on elsewhere"), hold_lease(
        store, clock, TTL - SECOND, NEVER
    ):  # fmt: skip
        raise AssertionError("it was to be had")
    with hold_lease(store, SystemClock(), timedelta(0), NEVER) as held:
        assert held.fence.number == 2


def test_a_lease_that_is_given_back_while_one_waits_is_taken() -> None:
    store, clock = MemoryStore(), Beats()
    fence = store.acquire(LEASE, "elsewhere/b/1/1", TTL, NOW)
    assert fence is not None
    entered, leave = threading.Event(), threading.Event()

    def wait_for_it() -> None:
        with hold_lease(store, clock, TTL, NEVER):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=wait_for_it)
    thread.start()
    clock.beat()
    clock.settle()
    assert not entered.is_set()
    store.release(fence)
    clock.beat()
    assert entered.wait(10)
    leave.set()
    thread.join()


def test_who_is_interrupted_while_waiting_is_cancelled_not_locked_out() -> None:
    store, cancel = MemoryStore(), threading.Event()
    store.acquire(LEASE, "elsewhere/b/1/1", TTL, NOW)
    cancel.set()
    with pytest.raises(CancelledError), hold_lease(store, FakeClock(NOW), TTL, cancel):
        raise AssertionError("it was to be had")
    known = store.read_lease(LEASE)
    assert known is not None and known.number == 1


def test_two_passes_of_one_process_exclude_each_other() -> None:
    store = MemoryStore()
    with hold_lease(store, Beats(), timedelta(0), NEVER) as held:
        with pytest.raises(LockError), hold_lease(store, FakeClock(NOW), SECOND, NEVER):
            raise AssertionError("it was to be had")
        assert store.refresh(held.fence, TTL, NOW)


def test_a_process_is_told_from_a_later_one_of_the_same_number() -> None:
    ours = describe_holder()
    assert not is_dead(ours)
    host, boot, pid, start = ours.rsplit("/", 3)
    assert pid == str(os.getpid())
    ticks, mark, rest = start.partition("+")
    assert is_dead(f"{host}/{boot}/{pid}/{int(ticks) + 1}{mark}{rest}")
    assert not is_dead(f"{host}/another boot/{pid}/1")


def test_a_zombie_is_dead() -> None:
    script = "from ctrlplane_gitops.execute.holder import describe_holder; print(describe_holder())"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    holder = process.stdout.read().strip()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert Path(f"/proc/{process.pid}/stat").exists()
        assert is_dead(holder)
    finally:
        process.stdout.close()
        process.wait()
