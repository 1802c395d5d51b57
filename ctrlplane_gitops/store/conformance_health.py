"""What every store must do about health; a store's tests subclass it as they do ``conformance``."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ctrlplane_gitops.state.health import WHOLE, Health, HealthSpan
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.conformance_kit import (
    DB,
    FULL_EVENT,
    NOW,
    SECOND,
    TEXT,
    WEB,
    StoreKit,
    find_defaults,
    make_event,
)
from ctrlplane_gitops.store.health import HealthBatch
from ctrlplane_gitops.value import replace

FULL_SPAN = HealthSpan(WEB, "ready", Health.DEGRADED, NOW, NOW + SECOND, 2, 3, TEXT)


def span(
    second: int, health: Health = Health.HEALTHY, key: ResourceKey = WEB, check: str = WHOLE
) -> HealthSpan:
    """One that begins in that second."""
    return HealthSpan(key, check, health, NOW + second * SECOND, None, 1, 1)


class HealthClaims(StoreKit):
    """One verdict on each subject at a time, without overlap, and none that nobody looked for."""

    def begin(self, store: Store, *spans: HealthSpan) -> None:
        """Each in a batch of its own, as time goes."""
        for item in spans:
            store.health.record(HealthBatch(item.began_at, (item,)))

    def read(self, store: Store, *keys: ResourceKey, since: int = -1000) -> list[HealthSpan]:
        return list(store.health.read_spans(keys or (WEB,), NOW + since * SECOND))

    def test_a_new_store_knows_nothing(self, store: Store) -> None:
        assert store.health.read_seen_at() is None
        assert not store.health.read_open()
        assert not self.read(store)
        assert store.health.resume() == {}
        assert store.health.prune(NOW) == 0

    def test_every_field_of_every_span_survives(self, store: Store, root: Path) -> None:
        assert find_defaults(FULL_SPAN) == []
        open_one = replace(FULL_SPAN, ended_at=None)
        store.health.record(HealthBatch(NOW + 5 * SECOND, (open_one,), events=(FULL_EVENT,)))
        after = self.reopen(store, root)
        assert self.read(after) == [open_one]
        assert list(after.health.read_open()) == [open_one]
        assert after.health.read_seen_at() == NOW + 5 * SECOND
        assert [row.event for row in after.read_events()] == [FULL_EVENT]
        after.health.record(HealthBatch(NOW + SECOND, ended=(open_one.subject,)))
        assert self.read(after) == [FULL_SPAN]
        after.close()

    @pytest.mark.parametrize("health", set(Health) - {Health.UNKNOWN})
    def test_every_verdict_survives(self, store: Store, root: Path, health: Health) -> None:
        self.begin(store, span(0, health))
        after = self.reopen(store, root)
        assert [item.health for item in after.health.read_open()] == [health]
        after.close()

    def test_what_begins_ends_what_was_before_it(self, store: Store) -> None:
        first, second = span(0), span(9, Health.UNHEALTHY)
        self.begin(store, first, second)
        assert self.read(store) == [replace(first, ended_at=second.began_at), second]
        assert list(store.health.read_open()) == [second]

    def test_each_check_of_each_instance_is_a_subject_of_its_own(self, store: Store) -> None:
        spans = [span(0), span(1, check="ready"), span(2, key=DB), span(3, key=DB, check="ready")]
        self.begin(store, *spans)
        assert list(store.health.read_open()) == spans
        assert self.read(store, DB) == spans[2:]
        assert self.read(store, WEB, DB) == spans

    def test_after_an_end_nothing_is_held(self, store: Store) -> None:
        self.begin(store, span(0), span(1, check="ready"))
        store.health.record(HealthBatch(NOW + 7 * SECOND, ended=((WEB, WHOLE), (DB, WHOLE))))
        assert [item.check for item in store.health.read_open()] == ["ready"]
        assert self.read(store)[0].ended_at == NOW + 7 * SECOND

    def test_nothing_ends_before_it_began(self, store: Store) -> None:
        """A clock that was set back."""
        self.begin(store, span(60), span(5, Health.UNHEALTHY))
        assert self.read(store)[0].ended_at == NOW + 60 * SECOND

    def test_what_was_held_ends_when_somebody_last_looked(self, store: Store, root: Path) -> None:
        self.begin(store, span(0), span(1, check="ready"))
        store.health.record(HealthBatch(NOW + 90 * SECOND))
        after = self.reopen(store, root)
        assert after.health.resume() == {WEB: Health.HEALTHY}
        assert not after.health.read_open()
        assert {item.ended_at for item in self.read(after)} == {NOW + 90 * SECOND}
        after.close()

    def test_the_last_verdict_is_told_however_long_nobody_looked(
        self, store: Store, root: Path
    ) -> None:
        self.begin(store, span(0), span(5, Health.UNHEALTHY), span(2, Health.DEGRADED, DB))
        store.health.record(HealthBatch(NOW + 9 * SECOND, ended=((WEB, WHOLE),)))
        known = {WEB: Health.UNHEALTHY, DB: Health.DEGRADED}
        assert store.health.resume() == known
        after = self.reopen(store, root)
        assert after.health.resume() == known
        after.close()

    def test_spans_are_read_from_a_time_on(self, store: Store) -> None:
        self.begin(store, span(0), span(10, Health.DEGRADED), span(20))
        assert [item.began_at for item in self.read(store, since=10)] == [
            NOW + 10 * SECOND,
            NOW + 20 * SECOND,
        ]
        assert len(self.read(store, since=9)) == 3
        assert len(self.read(store, since=99)) == 1

    def test_what_ended_long_ago_is_forgotten_and_what_holds_is_not(self, store: Store) -> None:
        self.begin(store, span(0), span(10, Health.DEGRADED), span(20))
        assert store.health.prune(NOW + 10 * SECOND) == 0
        assert store.health.prune(NOW + 15 * SECOND) == 1
        assert store.health.prune(NOW + 999 * SECOND) == 1
        assert store.health.prune(NOW + 999 * SECOND) == 0
        assert self.read(store) == [span(20)]

    def test_many_write_at_once(self, store: Store) -> None:
        keys = [instance_key("acme", f"i{number}") for number in range(4)]

        def work(key: ResourceKey) -> None:
            for second in range(10):
                health = Health.HEALTHY if second % 2 else Health.UNHEALTHY
                self.begin(store, span(second, health, key))

        threads = [threading.Thread(target=work, args=(key,)) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.health.read_open()) == 4
        assert len(self.read(store, *keys)) == 40

    def test_events_stand_among_the_others_and_are_told(self, store: Store) -> None:
        event = make_event(1, "health.failed", WEB.address)
        told: list[str] = []
        store.watch_events(lambda rows: told.extend(row.event.id for row in rows))
        store.health.record(HealthBatch(NOW, events=(event,)))
        assert [row.event for row in store.read_events()] == [event]
        assert told == [event.id]
