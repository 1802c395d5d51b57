"""What every store must do about what is to be told to others; see ``conformance.py``."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from ctrlplane_gitops.state.notification import Attempt, Closed, Message, MessageState, Notice
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.conformance_kit import NOW, SECOND, TEXT, StoreKit, find_defaults
from ctrlplane_gitops.store.outbox import (
    GIVEN_UP_AFTER,
    KEPT,
    KEPT_FOR,
    MAX_PENDING,
    MessageFilter,
    Reading,
)
from ctrlplane_gitops.value import replace

ALL = MessageFilter()
FULL_NOTICE = Notice(
    "ops", "instance/acme/web", "rollout", TEXT, 7, NOW, NOW + SECOND, "evt_1", TEXT
)
FULL_MESSAGE = Message(
    "msg_full", "ops", "evt_1", "rollout.failed", "instance/acme/web", NOW, TEXT,
    MessageState.FAILED, 3, NOW + SECOND, 500, TEXT, NOW + 2 * SECOND, 1,
)  # fmt: skip
DELIVERED = Attempt(MessageState.DELIVERED, 204)
CLAIM = timedelta(minutes=2)


def make_message(number: int, subscription: str = "ops") -> Message:
    """Due at once."""
    return Message(
        f"msg_{number:05d}", subscription, f"evt_{number}", "rollout.failed", "instance/acme/web",
        NOW + number * SECOND, "{}", next_at=NOW + number * SECOND,
    )  # fmt: skip


class OutboxClaims(StoreKit):
    """Written down once, sent at least once, ended once."""

    def put(self, store: Store, *messages: Message) -> None:
        cursor = store.outbox.read_cursor()
        reading = Reading(cursor, (cursor or 0) + 1, messages=messages)
        assert store.outbox.read_on(reading)

    def ids(self, messages: Sequence[Message]) -> list[int]:
        return [int(item.id[4:]) for item in messages]

    def test_a_new_outbox_is_empty(self, store: Store) -> None:
        box = store.outbox
        assert (box.read_cursor(), box.find_due(), box.read_closed()) == (None, {}, {})
        assert not box.read_notices() and not box.read_messages(ALL)
        assert list(box.read_subscriptions()) == []
        assert box.claim("ops", NOW, NOW + CLAIM) is None

    def test_every_field_of_what_was_noticed_and_written_survives(
        self, store: Store, root: Path
    ) -> None:
        assert find_defaults(FULL_MESSAGE) == []
        reading = Reading(None, 12, (), (FULL_NOTICE,), (FULL_MESSAGE, make_message(2)))
        assert store.outbox.read_on(reading)
        store.outbox.close_subscription(Closed("dev", "sha", NOW))
        after = self.reopen(store, root)
        box = after.outbox
        assert box.read_cursor() == 12
        assert list(box.read_notices()) == [FULL_NOTICE]
        assert list(box.read_messages(ALL)) == [replace(make_message(2), number=2), FULL_MESSAGE]
        assert box.read_closed() == {"dev": Closed("dev", "sha", NOW)}
        assert sorted(box.read_subscriptions()) == ["dev", "ops"]
        after.close()

    def test_who_reads_on_from_where_somebody_else_has_read_writes_nothing(
        self, store: Store
    ) -> None:
        box = store.outbox
        assert box.read_on(Reading(None, 5, messages=(make_message(1),)))
        for before in (None, 4, 6):
            reading = Reading(before, 9, (), (FULL_NOTICE,), (make_message(2),))
            assert not box.read_on(reading)
        assert (box.read_cursor(), self.ids(box.read_messages(ALL))) == (5, [1])
        assert list(box.read_notices()) == []
        other = replace(FULL_NOTICE, identity="other")
        assert box.read_on(Reading(5, 6, (), (FULL_NOTICE, other)))
        changed = replace(FULL_NOTICE, count=8)
        assert box.read_on(Reading(6, 6, (FULL_NOTICE, other), (changed,)))
        assert list(box.read_notices()) == [changed]
        for gone in (FULL_NOTICE, other, replace(changed, event="evt_9")):
            assert not box.read_on(Reading(6, 7, (changed, gone), (), (make_message(9),)))
        assert (box.read_cursor(), list(box.read_notices())) == (6, [changed])
        assert self.ids(box.read_messages(ALL)) == [1]
        assert box.read_on(Reading(6, None)) and box.read_cursor() is None
        assert box.read_on(Reading(None, 7)) and box.read_cursor() == 7

    def test_of_many_that_read_on_at_once_one_does(self, store: Store, root: Path) -> None:
        stores = [self.open_store(root) for _ in range(4)]

        def read_on(place: int) -> bool:
            return stores[place].outbox.read_on(Reading(None, 1, messages=(make_message(place),)))

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(read_on, range(4))) == [False, False, False, True]
        for opened in stores:
            opened.close()
        assert len(store.outbox.read_messages(ALL)) == 1

    def test_a_claim_is_of_the_oldest_due_one_of_a_subscription(self, store: Store) -> None:
        box = store.outbox
        self.put(store, make_message(3), make_message(1), make_message(2, "dev"))
        assert box.find_due() == {"ops": NOW + SECOND, "dev": NOW + 2 * SECOND}
        assert box.claim("ops", NOW, NOW + CLAIM) is None
        later = NOW + 5 * SECOND
        claimed = [box.claim("ops", later, later + CLAIM) for _ in range(3)]
        assert [item and item.id for item in claimed] == ["msg_00003", "msg_00001", None]
        assert claimed[0] is not None and claimed[0].next_at == later + CLAIM
        assert box.find_due() == {"ops": later + CLAIM, "dev": NOW + 2 * SECOND}

    def test_what_was_claimed_and_never_ended_is_claimed_again_as_it_was(
        self, store: Store, root: Path
    ) -> None:
        self.put(store, make_message(1))
        first = store.outbox.claim("ops", NOW + SECOND, NOW + CLAIM)
        after = self.reopen(store, root)
        assert after.outbox.claim("ops", NOW + CLAIM - SECOND, NOW + 2 * CLAIM) is None
        second = after.outbox.claim("ops", NOW + CLAIM, NOW + 2 * CLAIM)
        assert first is not None and second is not None
        assert (second.id, second.body, second.attempts) == (first.id, first.body, 0)
        after.close()

    def test_a_message_is_claimed_by_one_of_many(self, store: Store, root: Path) -> None:
        self.put(store, *(make_message(number) for number in range(8)))
        stores = [self.open_store(root) for _ in range(4)]
        now = NOW + 60 * SECOND

        def claim(place: int) -> list[str]:
            box, found = stores[place].outbox, []
            while (item := box.claim("ops", now, now + CLAIM)) is not None:
                found.append(item.id)
            return found

        with ThreadPoolExecutor(4) as pool:
            taken = [id for found in pool.map(claim, range(4)) for id in found]
        for opened in stores:
            opened.close()
        assert sorted(taken) == [f"msg_{number:05d}" for number in range(8)]

    def test_an_attempt_counts_and_an_outcome_stays(self, store: Store) -> None:
        box = store.outbox
        self.put(store, make_message(1))
        again = Attempt(MessageState.PENDING, 503, "status 503", NOW + 9 * SECOND)
        assert box.end_attempt("msg_00001", again, NOW + SECOND)
        (row,) = box.read_messages(ALL)
        assert (row.attempts, row.status, row.error, row.ended_at) == (1, 503, "status 503", None)
        assert (row.state, row.next_at) == (MessageState.PENDING, NOW + 9 * SECOND)
        assert box.end_attempt("msg_00001", DELIVERED, NOW + 2 * SECOND)
        (row,) = rows = box.read_messages(ALL)
        assert (row.state, row.attempts, row.status, row.error, row.next_at, row.ended_at) == (
            MessageState.DELIVERED, 2, 204, "", None, NOW + 2 * SECOND,
        )  # fmt: skip
        for late in (again, DELIVERED, Attempt(MessageState.FAILED, None, "late")):
            assert not box.end_attempt("msg_00001", late, NOW + 3 * SECOND)
        assert not box.end_attempt("msg_nobody", DELIVERED, NOW)
        assert list(box.read_messages(ALL)) == list(rows)
        assert box.find_due() == {}

    def test_who_is_given_up_has_nothing_pending_and_nothing_noticed(self, store: Store) -> None:
        box = store.outbox
        done = replace(make_message(1), state=MessageState.DELIVERED, next_at=None, ended_at=NOW)
        rows = (done, make_message(2), make_message(3), make_message(4, "dev"))
        other = replace(FULL_NOTICE, subscription="dev")
        assert box.read_on(Reading(None, 1, (), (FULL_NOTICE, other), rows))
        assert box.give_up("ops", "gone", NOW + 9 * SECOND) == 2
        assert box.give_up("ops", "gone", NOW + 9 * SECOND) == 0
        failed = box.read_messages(MessageFilter(state=MessageState.FAILED))
        assert [(item.id, item.error, item.ended_at, item.next_at) for item in failed] == [
            (f"msg_0000{number}", "gone", NOW + 9 * SECOND, None) for number in (3, 2)
        ]
        assert list(box.read_notices()) == [other]
        assert list(box.read_subscriptions()) == ["dev"]

    def test_a_subscription_is_closed_until_it_is_opened(self, store: Store) -> None:
        box = store.outbox
        for target in ("one", "two"):
            box.close_subscription(Closed("ops", target, NOW))
        assert box.read_closed() == {"ops": Closed("ops", "two", NOW)}
        box.open_subscription("ops")
        box.open_subscription("ops")
        assert box.read_closed() == {}

    def test_messages_are_read_newest_first_with_filters_and_pages(self, store: Store) -> None:
        box = store.outbox
        self.put(store, *(make_message(n, "ops" if n % 2 else "dev") for n in range(1, 7)))
        box.end_attempt("msg_00003", DELIVERED, NOW)

        def read(where: MessageFilter, before: int | None = None, limit: int = 100) -> list[int]:
            return self.ids(box.read_messages(where, before=before, limit=limit))

        assert read(ALL) == [6, 5, 4, 3, 2, 1]
        assert read(ALL, limit=0) == []
        assert read(MessageFilter("ops")) == [5, 3, 1]
        assert read(MessageFilter("ops", MessageState.PENDING)) == [5, 1]
        assert read(MessageFilter(address="instance/acme/web"), before=3, limit=1) == [2]
        assert read(MessageFilter(address="instance/acme")) == []

    def test_what_is_too_old_is_given_up_or_dropped(self, store: Store) -> None:
        box = store.outbox
        self.put(store, *(make_message(number) for number in range(1, 5)))
        box.end_attempt("msg_00001", DELIVERED, NOW)
        box.end_attempt("msg_00002", DELIVERED, NOW + KEPT_FOR)
        box.prune(NOW + GIVEN_UP_AFTER + 4 * SECOND)
        waiting = box.read_messages(MessageFilter(state=MessageState.PENDING))
        assert self.ids(waiting) == [4]
        (given_up,) = box.read_messages(MessageFilter(state=MessageState.FAILED))
        assert (given_up.id, given_up.error) == ("msg_00003", "nobody took it in time")
        box.prune(NOW + KEPT_FOR + SECOND)
        assert self.ids(box.read_messages(ALL)) == [4, 3, 2]

    def test_what_is_too_much_is_given_up_or_dropped(self, store: Store) -> None:
        box = store.outbox
        others = [make_message(n, "dev") for n in range(3)]
        many = [make_message(100 + n) for n in range(MAX_PENDING + 2)]
        self.put(store, *others, *(replace(item, created_at=NOW) for item in many))
        box.prune(NOW + SECOND)
        failed = box.read_messages(MessageFilter(state=MessageState.FAILED))
        # They have their outcome, and newer rows than are kept of such come after them.
        assert list(failed) == []
        waiting = box.read_messages(
            MessageFilter(state=MessageState.PENDING), limit=MAX_PENDING * 2
        )
        assert len(waiting) == MAX_PENDING + 3
        assert self.ids(waiting[-4:]) == [102, 2, 1, 0]
        assert box.give_up("ops", "gone", NOW) == MAX_PENDING
        box.prune(NOW + SECOND)
        assert len(box.read_messages(MessageFilter("ops"), limit=MAX_PENDING)) == KEPT
