"""The ledger of deliveries in a file: what a kill leaves, who waits for whom, what it costs."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.state.delivery import DeliveryOutcome
from ctrlplane_gitops.store.conformance_delivery import EVERYTHING, make_delivery
from ctrlplane_gitops.store.connection import writing_to
from ctrlplane_gitops.store.delivery import KEPT
from ctrlplane_gitops.store.sqlite import SqliteStore
from ctrlplane_gitops.value import replace
from tests.e2e.plane import wait_until
from tests.store.sqlite_kit import end_of, fork


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


def test_what_was_accepted_survives_a_kill(path: Path) -> None:
    def deliver_and_die() -> None:
        SqliteStore(path).deliveries.accept(make_delivery(1))
        os.kill(os.getpid(), signal.SIGKILL)

    assert end_of(fork(deliver_and_die)) == -signal.SIGKILL
    store = SqliteStore(path)
    assert [item.id for item in store.deliveries.read_open()] == ["dlv_001"]
    copied = store.deliveries.accept(make_delivery(1))
    assert copied.outcome is DeliveryOutcome.DUPLICATE
    store.close()


def test_a_closed_store_takes_no_delivery(store: SqliteStore) -> None:
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.deliveries.accept(make_delivery(1))
    with pytest.raises(StoreError, match="closed"):
        store.deliveries.read(EVERYTHING)


def test_a_store_open_for_reading_reads_and_writes_nothing(store: SqliteStore, path: Path) -> None:
    reader = SqliteStore(path, is_read_only=True)
    with closing(reader):
        assert reader.deliveries.read(EVERYTHING) == []
        written = store.deliveries.accept(make_delivery(1))
        assert reader.deliveries.read(EVERYTHING) == [written]
        with pytest.raises(StoreError, match="reading only"):
            reader.deliveries.accept(make_delivery(2))


def test_a_file_of_an_older_program_has_no_deliveries(store: SqliteStore, path: Path) -> None:
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE deliveries")
        connection.execute("PRAGMA user_version = 2")
        connection.commit()
    with closing(SqliteStore(path, is_read_only=True)) as reader:
        assert reader.deliveries.read(EVERYTHING) == []
        assert reader.deliveries.read_open() == []


def test_who_delivers_does_not_wait_for_a_state_that_is_being_read(store: SqliteStore) -> None:
    with store._reading():
        pool = ThreadPoolExecutor(1)
        written = pool.submit(store.deliveries.accept, make_delivery(1)).result(5)
        pool.shutdown()
    assert written.number == 1


def test_threads_take_turns_before_the_file_is_asked_for(store: SqliteStore, path: Path) -> None:
    """The file itself is free here: who waits, waits for the thread whose turn it is."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as elsewhere:
        pool = ThreadPoolExecutor(1)
        with writing_to(path, elsewhere):
            writing = pool.submit(store.deliveries.accept, make_delivery(1))
            with pytest.raises(TimeoutError):
                writing.result(0.3)
        assert writing.result(5).number == 1
        pool.shutdown()


def test_deliveries_that_come_while_one_is_written_are_one_transaction(store: SqliteStore) -> None:
    store.deliveries.accept(make_delivery(0))
    connection = store.deliveries._beside._connection
    assert connection is not None
    begun: list[str] = []
    connection.set_trace_callback(lambda text: begun.append(text) if "BEGIN" in text else None)
    with ThreadPoolExecutor(20) as pool:
        with store.deliveries._beside.lock:
            waiting = [
                pool.submit(store.deliveries.accept, make_delivery(number))
                for number in range(1, 21)
            ]
            # The first one is held up with what it had seen until then.
            wait_until(lambda: len(store.deliveries._waiting) >= 10)
        numbers = [item.result(10).number for item in waiting]
    assert sorted(numbers) == list(range(2, 22))
    assert len(begun) <= 11


def test_of_several_that_are_written_together_all_are_or_none(
    store: SqliteStore, path: Path
) -> None:
    store.deliveries.accept(make_delivery(0))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON deliveries WHEN NEW.id = 'dlv_003' "
            "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    with pytest.raises(StoreError, match="full"):
        store.deliveries.accept_all([make_delivery(number) for number in (1, 2, 3)])
    assert [item.id for item in store.deliveries.read(EVERYTHING)] == ["dlv_000"]
    assert [item.number for item in store.deliveries.accept_all([make_delivery(1)])] == [2]


def test_what_deliveries_left_in_the_log_is_brought_into_the_file_by_their_outcomes(
    store: SqliteStore, path: Path
) -> None:
    first = store.deliveries.accept(make_delivery(0))
    before = path.stat().st_size
    for number in range(1, 400):
        store.deliveries.accept(make_delivery(number))
    # Some thousand pages are in the log, and whoever delivers next does not have to wait for them.
    assert path.stat().st_size == before
    store.deliveries.end([replace(first, outcome=DeliveryOutcome.APPLIED)])
    assert path.stat().st_size > before
    assert len(store.deliveries.read_open()) == 399


def test_nobody_is_forgotten_however_they_come(store: SqliteStore) -> None:
    count, rounds = 12, 40

    def deliver(place: int) -> list[int]:
        return [
            store.deliveries.accept(make_delivery(place * rounds + turn)).number
            for turn in range(rounds)
        ]

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(deliver, place) for place in range(count)]
        numbers = [number for item in futures for number in item.result(60)]
    assert sorted(numbers) == list(range(1, count * rounds + 1))
    assert not store.deliveries._is_writing and not store.deliveries._waiting


def test_a_store_that_cannot_be_written_refuses_all_who_wait(store: SqliteStore) -> None:
    store.deliveries.accept(make_delivery(0))
    connection = store.deliveries._beside._connection
    assert connection is not None
    connection.execute("PRAGMA query_only = ON")
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(store.deliveries.accept, make_delivery(n)) for n in range(1, 5)]
        assert all(isinstance(item.exception(), StoreError) for item in waiting)
    connection.execute("PRAGMA query_only = OFF")
    assert store.deliveries.accept(make_delivery(1)).number == 2


def test_old_deliveries_go_but_for_those_without_an_outcome(store: SqliteStore, path: Path) -> None:
    first = store.deliveries.accept(make_delivery(1))
    store.deliveries.accept(make_delivery(2))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE deliveries SET outcome = 'applied' WHERE number = 2")
        # As if as many had come since.
        connection.execute(
            f"INSERT INTO deliveries SELECT {KEPT} + number, id || 'x', at, sender, 'applied', "
            "'', '', event, ref, announced, commit_id, ended_at, message, reason, '', count, '' "
            "FROM deliveries"
        )
        connection.commit()
    store.close()
    again = SqliteStore(path)
    with closing(again):
        again.deliveries.accept(make_delivery(3))
        rows = again.deliveries.read(EVERYTHING)
        assert [item.number for item in rows] == [KEPT + 3, KEPT + 2, KEPT + 1, 1]
        assert again.deliveries.read_open() == [first, rows[0]]
