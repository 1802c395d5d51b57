"""What every store must do with events and the audit; a part of ``StoreConformance``."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import LockError
from ctrlplane_gitops.state.log import AuditFilter, EventFilter, LogFilter, LoggedEvent, Page
from ctrlplane_gitops.state.recorded import AuditEntry, Order, RecordBatch
from ctrlplane_gitops.store.base import Fence, Store
from ctrlplane_gitops.store.conformance_kit import (
    FULL_AUDIT,
    FULL_EVENT,
    NOW,
    SECOND,
    WEB,
    StoreKit,
    make_event,
)
from ctrlplane_gitops.value import replace

ADDRESSES = (
    "instance/acme/web",
    "instance/acme/web2",
    "deployment/acme/web",
    "instance/acme2/web",
    "tenant/acme",
    "controlplane/acme",
    "",
    "acme",
    "instance/acme",
)


class LogClaims(StoreKit):
    """Rows have numbers that grow; a reader goes on from any of them."""

    def test_events_are_in_the_order_they_were_written_either_way_round(
        self, store: Store, fence: Fence, root: Path
    ) -> None:
        events = tuple(make_event(number) for number in (3, 1, 4, 2))
        store.record(RecordBatch(events=events[:2]), fence)
        store.record(RecordBatch(events=events[2:]), fence)
        after = self.reopen(store, root)
        rows = list(after.read_events())
        assert [row.event for row in rows] == [*reversed(events)]
        assert list(after.read_events(page=Page(is_oldest_first=True))) == rows[::-1]
        assert list(after.read_events(page=Page(2))) == rows[:2]
        assert list(after.read_events(page=Page(2, is_oldest_first=True))) == rows[:1:-1]
        assert list(after.read_events(page=Page(0))) == []
        assert after.last_event() == rows[0].number
        after.close()

    def test_an_entry_of_the_audit_needs_no_lease(self, store: Store, root: Path) -> None:
        store.write_audit(FULL_AUDIT)
        after = self.reopen(store, root)
        assert [row.entry for row in after.read_audit()] == [FULL_AUDIT]
        after.close()

    def test_a_follower_misses_nothing_and_sees_nothing_twice(
        self, store: Store, fence: Fence
    ) -> None:
        assert (store.last_event(), list(store.read_events_after(0))) == (0, [])
        seen: list[LoggedEvent] = []
        for number in range(12):
            store.record(RecordBatch(events=(make_event(number), make_event(100 + number))), fence)
            cursor = seen[-1].number if seen else 0
            seen += store.read_events_after(cursor, limit=1 + number % 3)
        while found := store.read_events_after(seen[-1].number, limit=2):
            seen += found
        assert [row.event for row in seen] == self.events(store)
        assert len({row.number for row in seen}) == 24
        only = EventFilter(LogFilter(address="nobody"))
        assert list(store.read_events_after(0, where=only)) == []

    def test_pages_stay_the_same_while_events_are_written(self, store: Store, fence: Fence) -> None:
        before = [make_event(number) for number in range(7)]
        store.record(RecordBatch(events=tuple(before)), fence)
        pages: list[Sequence[LoggedEvent]] = [store.read_events(page=Page(3))]
        while pages[-1]:
            store.record(RecordBatch(events=(make_event(50 + len(pages)),)), fence)
            pages.append(store.read_events(page=Page(3, before=pages[-1][-1].number)))
        assert [len(page) for page in pages] == [3, 3, 1, 0]
        assert [row.event for page in pages for row in page] == before[::-1]

    def test_a_page_may_end_at_a_number(self, store: Store, fence: Fence) -> None:
        store.record(RecordBatch(events=tuple(map(make_event, range(5)))), fence)
        numbers = [row.number for row in store.read_events(page=Page(is_oldest_first=True))]
        for is_oldest_first in (False, True):
            page = Page(9, numbers[4], numbers[0], is_oldest_first)
            found = [row.number for row in store.read_events(page=page)]
            assert sorted(found) == numbers[1:4]

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            (LogFilter(), range(9)),
            (LogFilter(tenant="acme"), (0, 1, 2, 4, 8)),
            (LogFilter(tenant="acme2"), (3,)),
            (LogFilter(tenant="acm"), ()),
            (LogFilter(kind="instance"), (0, 1, 3, 8)),
            (LogFilter(kind="controlplane"), (5,)),
            (LogFilter(kind="inst"), ()),
            (LogFilter(address="instance/acme/web"), (0,)),
            (LogFilter(address=""), (6,)),
            (LogFilter(below="instance/acme/"), (0, 1)),
            (LogFilter(below="instance/acme/w%"), ()),
            (LogFilter(tenant="acme", kind="instance", below="instance/acme/web2"), (1,)),
            (LogFilter(since=NOW + 2 * SECOND), range(2, 9)),
            (LogFilter(until=NOW + 2 * SECOND), (0, 1)),
            (LogFilter(since=NOW + SECOND, until=NOW + 3 * SECOND, tenant="acme"), (1, 2)),
        ],
    )
    def test_both_logs_are_filtered_by_tenant_kind_address_and_time(
        self, store: Store, fence: Fence, where: LogFilter, expected: Sequence[int]
    ) -> None:
        events = [
            replace(make_event(n, "x", address), at=NOW + n * SECOND)
            for n, address in enumerate(ADDRESSES)
        ]
        audit = [
            AuditEntry(f"aud_{n}", NOW + n * SECOND, "user:a", "update", address, "c", "done")
            for n, address in enumerate(ADDRESSES)
        ]
        store.record(RecordBatch(events=tuple(events), audit=tuple(audit)), fence)
        found = [row.event for row in store.read_events(EventFilter(where))]
        assert found == [events[n] for n in reversed(expected)]
        entries = [row.entry for row in store.read_audit(AuditFilter(where))]
        assert entries == [audit[n] for n in reversed(expected)]

    def test_events_are_filtered_by_how_their_type_begins(self, store: Store, fence: Fence) -> None:
        kinds = ("rollout.started", "rollout_failed", "Rollout.done", "rollout.failed")
        events = [make_event(n, kind, "instance/a/web") for n, kind in enumerate(kinds)]
        store.record(RecordBatch(events=(*events, make_event(9, kinds[0], ""))), fence)

        def read(prefix: str, address: str | None = None) -> list[int]:
            where = EventFilter(LogFilter(address=address), prefix)
            rows = store.read_events(where, Page(2, is_oldest_first=True))
            return [int(row.event.id[4:]) for row in rows]

        assert read("rollout.") == [0, 3]
        assert read("rollout.", "instance/a/web") == [0, 3]
        assert read("rollout_") == [1]
        assert read("rollout.started") == [0, 9]
        assert read("%") == read("*") == read("ollout") == []

    def test_the_audit_is_filtered_by_actor_action_and_outcome(
        self, store: Store, fence: Fence
    ) -> None:
        rows = [
            ("user:ann", "create", "done"),
            ("user:ann", "update", "failed: no image"),
            ("system:reconciler", "update", "done"),
            ("user:anna", "update", "done"),
        ]
        audit = [
            replace(FULL_AUDIT, id=f"aud_{n}", actor=actor, action=action, outcome=outcome)
            for n, (actor, action, outcome) in enumerate(rows)
        ]
        store.record(RecordBatch(audit=tuple(audit)), fence)

        def read(where: AuditFilter, page: Page | None = None) -> list[AuditEntry]:
            return [row.entry for row in store.read_audit(where, page)]

        assert read(AuditFilter()) == audit[::-1]
        assert read(AuditFilter(actor="user:ann")) == [audit[1], audit[0]]
        assert read(AuditFilter(action="update"), Page(1)) == [audit[3]]
        assert read(AuditFilter(action="update", actor="user:ann")) == [audit[1]]
        assert read(AuditFilter(outcome="failed")) == [audit[1]]
        assert read(AuditFilter(commit=FULL_AUDIT.commit)) == audit[::-1]
        assert read(AuditFilter(commit=FULL_AUDIT.commit[:3])) == []
        first = store.read_audit(page=Page(1, is_oldest_first=True))[0]
        later = Page(1, after=first.number, is_oldest_first=True)
        assert read(AuditFilter(), later) == [audit[1]]

    def test_who_watches_is_told_after_the_writing_until_it_stops(
        self, store: Store, fence: Fence
    ) -> None:
        told: list[LoggedEvent] = []
        read: list[LoggedEvent] = []

        def watch(events: Sequence[LoggedEvent]) -> None:
            told.extend(events)
            read.extend(store.read_events_after(events[0].number - 1))

        stop = store.watch_events(watch)
        store.record(RecordBatch(events=(make_event(1), make_event(2))), fence)
        store.record(RecordBatch(plane_id="pla_1"), fence)
        store.give_order(Order(WEB, 3), FULL_EVENT, FULL_AUDIT)
        assert told == read == list(store.read_events(page=Page(is_oldest_first=True)))
        assert len(told) == 3
        stop()
        store.record(RecordBatch(events=(make_event(4),)), fence)
        assert len(told) == 3

    def test_nobody_is_told_of_what_was_not_written(self, store: Store, fence: Fence) -> None:
        told: list[object] = []
        store.watch_events(told.extend)
        with pytest.raises(LockError):
            store.record(RecordBatch(events=(make_event(1),)), replace(fence, number=99))
        assert told == self.events(store) == []

    def test_one_watch_that_raises_is_no_matter_to_the_others_or_the_writer(
        self, store: Store, fence: Fence
    ) -> None:
        told: list[object] = []
        store.watch_events(lambda events: told.append(events[99]))
        store.watch_events(told.extend)
        store.record(RecordBatch(events=(make_event(1),)), fence)
        assert told == list(store.read_events())

    def test_events_of_many_threads_are_told_in_the_order_of_their_numbers(
        self, store: Store, fence: Fence
    ) -> None:
        told: list[LoggedEvent] = []
        store.watch_events(told.extend)
        barrier = threading.Barrier(4)

        def write(place: int) -> None:
            barrier.wait(30)
            for turn in range(15):
                batch = RecordBatch(events=(make_event(place * 100 + turn), make_event(turn)))
                store.record(batch, fence)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))
        assert told == list(store.read_events(page=Page(200, is_oldest_first=True)))
        assert [row.number for row in told] == sorted({row.number for row in told})
        assert len(told) == 120
