"""What one flush writes, and what it leaves for the next."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.errors import LockError
from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.redact import MASK, Redactor, SecretValue
from ctrlplane_gitops.state.recorded import Event, RecordBatch, RecordedInstance, RecordedState
from ctrlplane_gitops.store.base import Fence
from ctrlplane_gitops.store.conformance_kit import (
    DB,
    FULL_RESOURCE,
    FULL_STATUS,
    TTL,
    WEB,
    make_release,
)
from ctrlplane_gitops.store.memory import MemoryStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Desk:
    """A journal over a store that counts its writes."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        fence = self.store.acquire("apply", "us", TTL, NOW)
        assert fence is not None
        self.fence, self.told, self.batches = fence, list[Event](), list[RecordBatch]()
        self.journal = Journal(
            self, fence, FakeClock(NOW), "user:us",  # type: ignore[arg-type]
            Redactor([SecretValue(b"hunter22")]), self.told.append,
        )  # fmt: skip

    def record(self, batch: RecordBatch, fence: Fence) -> None:
        self.batches.append(batch)
        self.store.record(batch, fence)


@pytest.fixture
def desk() -> Iterator[Desk]:
    return Desk()


def test_nothing_gathered_writes_nothing(desk: Desk) -> None:
    desk.journal.flush()
    desk.journal.put(resources=(), instances=(), releases=(), blobs={})
    desk.journal.remove()
    desk.journal.flush()
    assert desk.batches == []


def test_everything_gathered_is_one_transaction_and_written_once(desk: Desk) -> None:
    desk.journal.put_plane("pla_1")
    desk.journal.put(resources=(FULL_RESOURCE,), releases=(make_release(1),), blobs={"a": b"a"})
    desk.journal.tell(EventType.APPLY_STARTED, "", "begun")
    desk.journal.audit("update", WEB.address, "done", "c0ffee")
    assert desk.told == []
    desk.journal.flush()
    desk.journal.flush()
    assert len(desk.batches) == 1
    assert [item.message for item in desk.told] == ["begun"]
    (entry,) = (row.entry for row in desk.store.read_audit())
    assert (entry.actor, entry.action, entry.commit) == ("user:us", "update", "c0ffee")


def test_of_a_put_and_a_removal_the_later_one_counts(desk: Desk) -> None:
    web, db = RecordedInstance(WEB, "local"), RecordedInstance(DB, "local")
    desk.journal.put(instances=(web,), releases=(make_release(1), make_release(2)))
    desk.journal.remove(instances=(WEB, DB), releases=[(WEB, 1)])
    desk.journal.put(instances=(db,))
    desk.journal.flush()
    assert desk.store.load_state() == RecordedState(None, {}, {DB: db}, {WEB: (make_release(2),)})


def test_what_could_not_be_written_is_told_to_nobody_and_not_lost(desk: Desk) -> None:
    desk.journal.tell(EventType.APPLY_STARTED, "", "begun")
    desk.store.break_lease("apply", desk.fence.number)
    for _ in range(2):
        with pytest.raises(LockError):
            desk.journal.flush()
    assert desk.told == [] and len(desk.batches) == 2
    assert [item.message for item in desk.batches[1].events] == ["begun"]


def test_every_text_is_scrubbed_on_its_way_in(desk: Desk) -> None:
    bad = "hunter22 \udcff"
    desk.journal.tell(EventType.ACTION_FAILED, "", bad)
    desk.journal.audit("update", "", bad, "c0ffee")
    rollout = FULL_STATUS.__class__(message=bad, started_at=NOW + timedelta(seconds=1))
    desk.journal.put(instances=(RecordedInstance(WEB, "local", rollout=rollout),))
    desk.journal.flush()
    clean = f"{MASK} \\udcff"
    assert [item.message for item in desk.told] == [clean]
    assert [row.entry.outcome for row in desk.store.read_audit()] == [clean]
    assert desk.store.load_state().instances[WEB].rollout.message == clean
