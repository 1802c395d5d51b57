"""What every store must do about the ledger of deliveries; see ``conformance.py``."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.state.delivery import DeliveryOutcome, DeliveryRecord
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.conformance_kit import NOW, SECOND, TEXT, StoreKit, find_defaults
from ctrlplane_gitops.store.delivery import KEPT_REJECTIONS, DeliveryFilter
from ctrlplane_gitops.value import replace

EVERYTHING = DeliveryFilter()
FULL = DeliveryRecord(
    id="dlv_1",
    at=NOW,
    sender="github",
    outcome=DeliveryOutcome.FAILED,
    given_id="f6266f16",
    digest="sha256:aa",
    event="push",
    ref="refs/heads/über",
    announced="a" * 40,
    commit="b" * 40,
    ended_at=NOW + SECOND,
    message=TEXT,
    reason="signature",
    original="dlv_0",
    count=7,
    number=1,
)


def make_delivery(number: int, sender: str = "github") -> DeliveryRecord:
    """The ``number``-th delivery, accepted."""
    return DeliveryRecord(
        f"dlv_{number:03d}",
        NOW + number * SECOND,
        sender,
        DeliveryOutcome.ACCEPTED,
        f"id-{number}",
        f"sha256:{number}",
        "push",
        "refs/heads/main",
        f"{number:040x}",
    )


def make_rejection(at: timedelta = SECOND, count: int = 1) -> DeliveryRecord:
    return DeliveryRecord(
        "dlv_r", NOW, "github", DeliveryOutcome.REJECTED, ended_at=NOW + at,
        message="the signature does not match", reason="signature", count=count,
    )  # fmt: skip


def ended(record: DeliveryRecord, outcome: DeliveryOutcome, message: str = "") -> DeliveryRecord:
    return replace(record, outcome=outcome, commit="c" * 40, ended_at=NOW, message=message)


class DeliveryClaims(StoreKit):
    """Every delivery is written down once and gets one outcome."""

    def test_every_field_of_a_delivery_survives(self, store: Store, root: Path) -> None:
        assert find_defaults(FULL) == []
        assert store.deliveries.accept(replace(FULL, number=0)) == FULL
        again = self.reopen(store, root)
        assert again.deliveries.read(EVERYTHING) == [FULL]
        again.close()

    def test_a_delivery_is_open_until_it_has_its_outcome_and_keeps_that(
        self, store: Store, root: Path
    ) -> None:
        first, second = (store.deliveries.accept(make_delivery(number)) for number in (1, 2))
        again = self.reopen(store, root)
        assert again.deliveries.read_open() == [first, second]
        applied = ended(first, DeliveryOutcome.APPLIED, TEXT)
        again.deliveries.end([applied])
        again.deliveries.end([ended(first, DeliveryOutcome.FAILED)])
        assert again.deliveries.read_open() == [second]
        assert again.deliveries.read(EVERYTHING) == [second, applied]
        again.close()

    @pytest.mark.parametrize(
        ("sender", "given_id", "digest"),
        [
            ("github", "id-1", "sha256:1"),
            ("github", "id-9", "sha256:1"),
            ("github", "id-1", "sha256:9"),
            ("gitea", "id-9", "sha256:1"),
        ],
        ids=["the same", "another id", "another body", "another sender"],
    )
    def test_a_copy_is_recognised_by_id_or_digest_by_whoever_opens_the_store_next(
        self, store: Store, root: Path, sender: str, given_id: str, digest: str
    ) -> None:
        known = store.deliveries.accept(make_delivery(1))
        store = self.reopen(store, root)
        for count in (1, 2, 3):
            made = make_delivery(1, sender)
            made = replace(made, id=f"dlv_c{count}", given_id=given_id, digest=digest)
            copied = store.deliveries.accept(made)
            assert (copied.outcome, copied.original) == (DeliveryOutcome.DUPLICATE, "dlv_001")
            assert (copied.id, copied.count) == ("dlv_c1", count)
        assert [item.id for item in store.deliveries.read(EVERYTHING)] == ["dlv_c1", "dlv_001"]
        assert store.deliveries.read_open() == [known]
        store.close()

    def test_several_are_written_in_their_order_and_a_copy_may_be_among_them(
        self, store: Store
    ) -> None:
        again = replace(make_delivery(1), id="dlv_c1")
        given = [make_delivery(1), make_delivery(2), again, make_delivery(3), again]
        rows = store.deliveries.accept_all(given)
        assert [item.id for item in rows] == ["dlv_001", "dlv_002", "dlv_c1", "dlv_003", "dlv_c1"]
        assert [item.count for item in rows] == [1, 1, 1, 1, 2]
        copies = [item.original for item in rows if item.outcome is DeliveryOutcome.DUPLICATE]
        assert copies == ["dlv_001", "dlv_001"]
        assert store.deliveries.read_open() == [rows[0], rows[1], rows[3]]

    def test_another_sender_may_use_the_same_id(self, store: Store) -> None:
        store.deliveries.accept(make_delivery(1))
        other = replace(make_delivery(2, "gitlab"), given_id="id-1")
        assert store.deliveries.accept(other).outcome is DeliveryOutcome.ACCEPTED

    def test_what_has_neither_id_nor_digest_is_never_a_copy(self, store: Store) -> None:
        look = replace(make_delivery(1, "poll"), given_id="", digest="")
        assert [store.deliveries.accept(look).number for _ in range(3)] == [1, 2, 3]

    def test_a_tally_is_one_row_that_counts(self, store: Store, root: Path) -> None:
        store.deliveries.tally("a", make_rejection())
        store = self.reopen(store, root)
        store.deliveries.tally("b", make_rejection())
        store.deliveries.tally("a", make_rejection(9 * SECOND, 41))
        other, row = store.deliveries.read(EVERYTHING)
        assert (other.count, row.count) == (1, 42)
        assert (row.at, row.ended_at) == (NOW, NOW + 9 * SECOND)
        store.close()

    def test_reading_is_newest_first_filtered_and_paged(self, store: Store) -> None:
        for number in range(1, 8):
            sender = "gitlab" if number % 2 else "github"
            row = store.deliveries.accept(make_delivery(number, sender))
            if number > 4:
                store.deliveries.end([ended(row, DeliveryOutcome.APPLIED)])

        def numbers(where: DeliveryFilter = EVERYTHING, **page: int) -> list[int]:
            return [item.number for item in store.deliveries.read(where, **page)]

        assert numbers() == [7, 6, 5, 4, 3, 2, 1]
        assert numbers(limit=2) == [7, 6] and numbers(limit=0) == []
        assert numbers(before=6, limit=2) == [5, 4]
        gitlab = DeliveryFilter("gitlab")
        assert numbers(gitlab) == [7, 5, 3, 1] and numbers(gitlab, before=5) == [3, 1]
        assert numbers(DeliveryFilter(outcome=DeliveryOutcome.ACCEPTED)) == [4, 3, 2, 1]
        assert numbers(DeliveryFilter("gitlab", DeliveryOutcome.APPLIED)) == [7, 5]
        assert numbers(DeliveryFilter("azure")) == []

    def test_rejections_cannot_fill_the_store(self, store: Store) -> None:
        accepted = store.deliveries.accept(make_delivery(1))
        for number in range(KEPT_REJECTIONS + 600):
            store.deliveries.tally(f"key {number}", make_rejection())
        rejected = DeliveryFilter(outcome=DeliveryOutcome.REJECTED)
        found = store.deliveries.read(rejected, limit=10 * KEPT_REJECTIONS)
        # Too many may stay for a while.
        assert KEPT_REJECTIONS <= len(found) <= KEPT_REJECTIONS + 300
        assert found[0].number == KEPT_REJECTIONS + 601
        assert store.deliveries.read_open() == [accepted]

    def test_of_copies_that_come_at_once_one_is_accepted(self, store: Store) -> None:
        count, rounds = 8, 20
        barrier = threading.Barrier(count)

        def deliver(place: int) -> list[DeliveryOutcome]:
            found = []
            for turn in range(rounds):
                barrier.wait(30)
                made = replace(make_delivery(turn), id=f"dlv_{turn}_{place}")
                found.append(store.deliveries.accept(made).outcome)
            return found

        with ThreadPoolExecutor(count) as pool:
            results = list(pool.map(deliver, range(count)))
        for turn in range(rounds):
            words = [found[turn] for found in results]
            assert words.count(DeliveryOutcome.ACCEPTED) == 1
            assert words.count(DeliveryOutcome.DUPLICATE) == count - 1
        copies = store.deliveries.read(DeliveryFilter(outcome=DeliveryOutcome.DUPLICATE))
        assert [item.count for item in copies] == [count - 1] * rounds
