"""What clearing away by age promises, whichever store it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import LockError
from ctrlplane_gitops.state.delivery import DeliveryOutcome
from ctrlplane_gitops.state.key import instance_key, tenant_key
from ctrlplane_gitops.state.log import Page
from ctrlplane_gitops.state.recorded import AuditEntry, Event, Intent, RecordBatch, RecordedInstance
from ctrlplane_gitops.state.template import FileMount, ReleaseTemplate
from ctrlplane_gitops.store.base import Fence, Store
from ctrlplane_gitops.store.conformance_delivery import make_delivery
from ctrlplane_gitops.store.conformance_kit import (
    FULL_RESOURCE,
    NOW,
    SECOND,
    WEB,
    StoreKit,
    make_event,
    make_release,
)
from ctrlplane_gitops.store.delivery import DeliveryFilter
from ctrlplane_gitops.store.retained import BATCH, Prunable

_DAY = timedelta(days=1)


def prune_all(part: Prunable, before: datetime) -> list[int]:
    """What each call removed, the 0 at the end included."""
    counts = [part.prune(before)]
    while counts[-1]:
        counts.append(part.prune(before))
    return counts


def _events_of(store: Store) -> list[Event]:
    return [row.event for row in store.read_events(None, Page(is_oldest_first=True))]


def _audit(number: int, at: datetime) -> AuditEntry:
    return AuditEntry(f"aud_{number:04d}", at, "user:us", "update", WEB.address, "c0ffee", "done")


class RetainedClaims(StoreKit):
    """Events, audit, closed intents and contents."""

    def test_what_is_older_goes_and_what_is_as_old_stays(self, store: Store, fence: Fence) -> None:
        events = tuple(make_event(n) for n in range(4))
        store.record(RecordBatch(events=events), fence)
        last = store.last_event()
        assert prune_all(store.retained.events, events[2].at) == [2, 0]
        assert store.last_event() == last == store.read_events()[0].number
        assert _events_of(store) == list(events[2:])

    def test_the_audit_has_an_age_of_its_own(self, store: Store, fence: Fence) -> None:
        audit = (_audit(1, NOW - 2 * _DAY), _audit(2, NOW))
        store.record(RecordBatch(events=(make_event(-3600),), audit=audit), fence)
        assert prune_all(store.retained.audit, NOW - _DAY) == [1, 0]
        assert [row.entry for row in store.read_audit()] == [audit[1]]
        assert len(store.read_events()) == 1

    def test_an_open_intent_is_never_too_old(self, store: Store, fence: Fence) -> None:
        opened = Intent("int_1", NOW - 400 * _DAY, WEB.address, "scale")
        closed = Intent("int_2", NOW - 3 * _DAY, WEB.address, "scale", NOW - 2 * _DAY, "ok")
        late = Intent("int_3", NOW - 3 * _DAY, WEB.address, "scale", NOW, "ok")
        store.record(RecordBatch(intents=(opened, closed, late)), fence)
        assert prune_all(store.retained.intents, NOW - _DAY) == [1, 0]
        assert list(store.read_open_intents()) == [opened]

    def test_a_call_takes_no_more_than_a_batch(self, store: Store, fence: Fence) -> None:
        events = tuple(make_event(n) for n in range(BATCH + 3))
        store.record(RecordBatch(events=events), fence)
        assert prune_all(store.retained.events, NOW + _DAY) == [BATCH, 2, 0]

    def test_the_newest_stays_so_that_no_number_is_given_twice(
        self, store: Store, fence: Fence
    ) -> None:
        store.record(RecordBatch(events=(make_event(1), make_event(2))), fence)
        assert prune_all(store.retained.events, NOW + _DAY) == [1, 0]
        store.record(RecordBatch(events=(make_event(3),)), fence)
        rows = store.read_events_after(2)
        assert [(row.number, row.event) for row in rows] == [(3, make_event(3))]

    def test_times_that_are_out_of_order_hold_up_nothing(self, store: Store, fence: Fence) -> None:
        at = [5, 1, 9, 2]
        store.record(RecordBatch(events=tuple(map(make_event, at))), fence)
        assert prune_all(store.retained.events, NOW + 3 * SECOND) == [1, 0]
        assert [item.id for item in _events_of(store)] == ["evt_005", "evt_009", "evt_002"]

    def test_clearing_away_needs_no_lease(self, store: Store, fence: Fence) -> None:
        store.record(RecordBatch(events=(make_event(1), make_event(2))), fence)
        store.release(fence)
        self.take(store, "somebody else")
        assert prune_all(store.retained.events, NOW + _DAY) == [1, 0]

    def test_deliveries_without_an_outcome_stay(self, store: Store) -> None:
        for number in range(4):
            store.deliveries.accept(make_delivery(number))
        found = store.deliveries.read(DeliveryFilter())
        closed = [replace(row, outcome=DeliveryOutcome.FAILED, ended_at=NOW) for row in found]
        store.deliveries.end([row for row in closed if row.id != "dlv_001"])
        assert prune_all(store.deliveries, NOW + 3 * SECOND) == [2, 0]
        left = [row.id for row in store.deliveries.read(DeliveryFilter())]
        assert left == ["dlv_003", "dlv_001"]
        # What is gone is not recognised any more.
        assert store.deliveries.accept(make_delivery(0)).original == ""

    def test_events_are_added_without_a_lease_and_told_of(self, store: Store) -> None:
        """What workers see needs no lease, and comes in the order of all others."""
        told: list[str] = []
        stop = store.watch_events(lambda rows: told.extend(row.event.id for row in rows))
        self.take(store, "somebody else")
        store.add_events([make_event(1), make_event(2)])
        store.add_events([])
        stop()
        assert [item.id for item in _events_of(store)] == told == ["evt_001", "evt_002"]

    def test_releases_are_counted_and_who_has_no_resource_is_found(
        self, store: Store, fence: Fence
    ) -> None:
        tally = store.retained.tally
        assert (dict(tally.count_releases()), list(tally.find_unlisted())) == ({}, [])
        ghost, other = instance_key("acme", "ghost"), instance_key("beta", "other")
        batch = RecordBatch(
            resources=(FULL_RESOURCE, replace(FULL_RESOURCE, key=tenant_key("acme"))),
            instances=(RecordedInstance(WEB, "here"), RecordedInstance(other, "here")),
            releases=(make_release(1), make_release(2), make_release(7, ghost)),
        )
        store.record(batch, fence)
        assert dict(tally.count_releases()) == {WEB: 2, ghost: 1}
        assert list(tally.find_unlisted()) == [ghost, other]

    def test_contents_that_no_release_uses_go(self, store: Store, fence: Fence) -> None:
        template = ReleaseTemplate("a", files=(FileMount("/a", "aa"),))
        release = replace(make_release(1), template=template)
        contents = {"aa": b"a", "bb": b"b", "cc": b"c"}
        store.record(RecordBatch(plane_id="pla_1"), fence)  # The first one trims by itself.
        store.record(RecordBatch(releases=(release,), blobs=contents), fence)
        assert store.retained.contents.has_unused()
        assert store.retained.contents.drop_unused(fence) == 2
        assert store.retained.contents.drop_unused(fence) == 0
        assert not store.retained.contents.has_unused()
        assert (store.read_blob("aa"), store.read_blob("bb")) == (b"a", None)

    def test_contents_go_under_the_lease_only(self, store: Store, fence: Fence) -> None:
        store.record(RecordBatch(plane_id="pla_1"), fence)
        store.record(RecordBatch(blobs={"aa": b"a"}), fence)
        store.release(fence)
        self.take(store, "somebody else")
        with pytest.raises(LockError):
            store.retained.contents.drop_unused(fence)
        assert store.read_blob("aa") == b"a"

    def test_an_empty_store_has_nothing_to_clear_away(self, store: Store, root: Path) -> None:
        parts: tuple[Callable[[datetime], int], ...] = (
            store.retained.events.prune,
            store.retained.audit.prune,
            store.retained.intents.prune,
        )
        assert [prune(NOW) for prune in parts] == [0, 0, 0]
