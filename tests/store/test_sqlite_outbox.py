"""The outbox in a file: what a message costs, and who may read it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.state.notification import Attempt, MessageState
from ctrlplane_gitops.store.conformance_kit import NOW, SECOND
from ctrlplane_gitops.store.conformance_outbox import make_message
from ctrlplane_gitops.store.outbox import MessageFilter, Reading
from ctrlplane_gitops.store.sqlite import SqliteStore
from ctrlplane_gitops.value import replace

MESSAGES = 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def journalled_per_message(path: Path, sent: int) -> float:
    """Bytes written to the journal to write a message down, claim it and end it, on the average,
    when so many were sent before."""
    with closing(SqliteStore(path)) as store:
        done = [
            replace(make_message(n), state=MessageState.DELIVERED, next_at=None, ended_at=NOW)
            for n in range(sent)
        ]
        store.outbox.read_on(Reading(None, 1, messages=tuple(done)))
    with closing(SqliteStore(path)) as store:
        box, journal = store.outbox, path.with_name(f"{path.name}-wal")
        box.read_on(Reading(1, 2))
        before = journal.stat().st_size
        for number in range(MESSAGES):
            message = replace(make_message(sent + number), next_at=NOW)
            assert box.read_on(Reading(number + 2, number + 3, messages=(message,)))
            claimed = box.claim("ops", NOW, NOW + SECOND)
            assert claimed is not None and claimed.id == message.id
            assert box.end_attempt(message.id, Attempt(MessageState.DELIVERED, 200), NOW)
        grown = journal.stat().st_size - before
        assert grown < 1000 * 4096, "the journal was begun anew, so its growth says nothing"
        return grown / MESSAGES


def test_what_a_message_writes_does_not_grow_with_what_was_sent(tmp_path: Path) -> None:
    small = journalled_per_message(tmp_path / "small.db", 100)
    large = journalled_per_message(tmp_path / "large.db", 4_000)
    assert large / small <= 1.1, (small, large)


def test_who_only_reads_sees_what_is_written_and_writes_nothing(path: Path) -> None:
    with closing(SqliteStore(path, is_read_only=True)) as reader:
        assert reader.outbox.read_messages(MessageFilter()) == []
        with closing(SqliteStore(path)) as store:
            store.outbox.read_on(Reading(None, 1, messages=(make_message(1),)))
            (row,) = reader.outbox.read_messages(MessageFilter())
            assert row.id == "msg_00001"
            with pytest.raises(StoreError, match="reading only"):
                reader.outbox.claim("ops", NOW, NOW)


def test_a_file_of_an_older_program_has_no_outbox(path: Path) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE outbox")
        connection.execute("PRAGMA user_version = 3")
        connection.commit()
    with closing(SqliteStore(path, is_read_only=True)) as reader:
        assert reader.outbox.read_messages(MessageFilter()) == []
        assert reader.outbox.read_cursor() is None


def test_a_closed_store_has_no_outbox(path: Path) -> None:
    store = SqliteStore(path)
    box = store.outbox
    assert box.find_due() == {}
    store.close()
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        box.find_due()
    with pytest.raises(StoreError, match="is closed"):
        store.outbox.find_due()
