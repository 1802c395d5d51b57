"""What every store must do about leases; see ``conformance.py``."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import LockError
from ctrlplane_gitops.state.recorded import (
    RecordBatch,
)
from ctrlplane_gitops.store.base import Fence, LeaseInfo, Store
from ctrlplane_gitops.store.conformance_kit import (
    FULL_BATCH,
    NOW,
    SECOND,
    TTL,
    StoreKit,
    make_event,
)


class LeaseClaims(StoreKit):
    """One holder at a time, whose number tells its writes from those of every earlier one."""

    def test_a_lease_is_held_until_it_expires(self, store: Store) -> None:
        fence = self.take(store, "us")
        assert (fence.lease, fence.holder) == ("apply", "us")
        assert store.read_lease("apply") == LeaseInfo("apply", "us", fence.number, NOW + TTL)
        assert store.acquire("apply", "them", TTL, NOW + TTL - SECOND / 1000) is None
        taken = store.acquire("apply", "them", TTL, NOW + TTL)
        assert taken is not None and taken.number > fence.number
        assert store.read_lease("apply") == LeaseInfo("apply", "them", taken.number, NOW + 2 * TTL)

    def test_a_refresh_puts_the_end_off(self, store: Store) -> None:
        fence = self.take(store, "us")
        assert store.refresh(fence, TTL, NOW + 10 * SECOND)
        assert store.acquire("apply", "them", TTL, NOW + TTL) is None
        assert store.acquire("apply", "them", TTL, NOW + TTL + 10 * SECOND) is not None

    def test_a_lease_that_was_taken_over_cannot_be_refreshed(self, store: Store) -> None:
        fence = self.take(store, "us")
        self.take(store, "them", NOW + TTL)
        before = store.read_lease("apply")
        assert not store.refresh(fence, 10 * TTL, NOW + TTL)
        assert store.read_lease("apply") == before
        assert not store.refresh(Fence("other", "us", 1), TTL, NOW)

    def test_expiry_alone_takes_nothing_away(self, store: Store, fence: Fence) -> None:
        """A holder that slept goes on where nobody else came."""
        assert store.refresh(fence, TTL, NOW + 10 * TTL)
        assert store.acquire("apply", "them", TTL, NOW + 10 * TTL + SECOND) is None
        store.record(FULL_BATCH, fence)
        assert store.load_state().plane_id == "pla_1"

    def test_a_released_lease_is_free_at_once(self, store: Store) -> None:
        fence = self.take(store, "us")
        store.release(fence)
        assert store.read_lease("apply") is None
        assert self.take(store, "them").number > fence.number

    def test_only_the_holder_can_release(self, store: Store) -> None:
        stale = self.take(store, "us")
        current = self.take(store, "them", NOW + TTL)
        later = replace(current, number=current.number + 1)
        for fence in (stale, replace(current, holder="us"), replace(stale, holder="them"), later):
            store.release(fence)
        assert store.acquire("apply", "us", TTL, NOW + TTL) is None

    def test_a_lease_is_broken_only_by_the_number_that_was_seen(self, store: Store) -> None:
        fence = self.take(store, "us")
        assert not store.break_lease("apply", fence.number + 1)
        assert not store.break_lease("other", fence.number)
        assert store.read_lease("apply") is not None
        assert store.break_lease("apply", fence.number)
        assert store.read_lease("apply") is None
        assert not store.refresh(fence, TTL, NOW)
        assert self.take(store, "them").number > fence.number

    def test_the_same_holder_takes_its_lease_again(self, store: Store) -> None:
        first = self.take(store, "us")
        second = self.take(store, "us")
        assert second.number > first.number
        assert not store.refresh(first, TTL, NOW)
        with pytest.raises(LockError):
            store.record(FULL_BATCH, first)

    def test_the_number_only_grows(self, store: Store, root: Path) -> None:
        numbers = []
        for turn in range(3):
            numbers.append(self.take(store, "us", NOW + turn * TTL).number)
            fence = self.take(store, "us", NOW + turn * TTL)
            numbers.append(fence.number)
            store.release(fence)
            store = self.reopen(store, root)
            fence = self.take(store, "them", NOW + turn * TTL)
            numbers.append(fence.number)
            store.break_lease("apply", fence.number)
        store.close()
        assert numbers == sorted(set(numbers))

    def test_leases_are_independent_of_each_other(self, store: Store) -> None:
        ours, theirs = self.take(store, "us"), self.take(store, "them", lease="other")
        store.release(theirs)
        assert store.refresh(ours, TTL, NOW)

    def test_a_write_without_the_current_fence_is_refused_and_writes_nothing(
        self, store: Store
    ) -> None:
        stale = self.take(store, "us")
        released = self.take(store, "us")
        store.release(released)
        broken = self.take(store, "us")
        store.break_lease("apply", broken.number)
        current = self.take(store, "them")
        store.record(RecordBatch(events=(make_event(1),)), current)
        before = self.contents(store)
        forged = (
            replace(current, holder="us"),
            replace(current, number=current.number + 1),
            replace(current, lease="other"),
        )
        for fence in (stale, released, broken, *forged):
            with pytest.raises(LockError, match="lost"):
                store.record(FULL_BATCH, fence)
            assert self.contents(store) == before
        store.record(FULL_BATCH, current)
        assert self.contents(store) != before

    def test_of_many_that_want_a_lease_at_once_one_gets_it(self, store: Store, root: Path) -> None:
        count, rounds = 6, 10
        stores = [self.open_store(root) for _ in range(count)]
        barrier = threading.Barrier(count)

        def compete(place: int) -> list[Fence | None]:
            found = []
            for turn in range(rounds):
                barrier.wait(30)
                found.append(stores[place].acquire(f"lease-{turn}", f"p{place}", TTL, NOW))
            return found

        with ThreadPoolExecutor(count) as pool:
            results = list(pool.map(compete, range(count)))
        for opened in stores:
            opened.close()
        for turn in range(rounds):
            winners = [found[turn] for found in results if found[turn] is not None]
            assert len(winners) == 1
            known = store.read_lease(f"lease-{turn}")
            assert known is not None and known.holder == winners[0].holder  # type: ignore[union-attr]
