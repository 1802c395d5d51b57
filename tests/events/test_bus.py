"""Listeners of one process do not know of each other."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from ctrlplane_gitops.events.bus import Bus, Subscription
from ctrlplane_gitops.state.log import EventFilter, LogFilter, LoggedEvent
from ctrlplane_gitops.state.recorded import Event, RecordBatch
from ctrlplane_gitops.store.conformance_kit import NOW, TTL
from ctrlplane_gitops.store.memory import MemoryStore


def logged(
    number: int, type: str = "moon.risen", address: str = "instance/acme/web"
) -> LoggedEvent:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return LoggedEvent(number, Event(f"evt_{number}", at, type, address, ""))


def numbers(subscription: Subscription) -> list[int]:
    return [item.number for item in subscription.take()]


def test_each_has_all_of_what_it_asks_for_from_then_on() -> None:
    bus = Bus()
    bus.publish([logged(1)])
    everything = bus.subscribe("all")
    moons = bus.subscribe("beta", EventFilter(LogFilter(tenant="beta"), "moon."))
    bus.publish([logged(2), logged(3, address="instance/beta/web")])
    bus.publish([logged(4, "sun.risen", "instance/beta/web")])
    assert (numbers(everything), numbers(moons)) == ([2, 3, 4], [3])
    assert (numbers(everything), everything.dropped) == ([], 0)
    bus.unsubscribe(everything)
    bus.publish([logged(5)])
    assert numbers(everything) == []
    assert [item.name for item in bus.subscriptions] == ["beta"]


def test_who_is_slow_loses_the_oldest_and_can_read_them_in_the_log() -> None:
    bus, store = Bus(), MemoryStore()
    store.watch_events(bus.publish)
    slow, quick = bus.subscribe("slow", size=3), bus.subscribe("quick", size=3)
    fence = store.acquire("apply", "us", TTL, NOW)
    assert fence is not None
    seen: list[int] = []
    for number in range(1, 9):
        store.record(RecordBatch(events=(logged(number).event,)), fence)
        seen += numbers(quick)
    assert (seen, quick.dropped) == (list(range(1, 9)), 0)
    queued = numbers(slow)
    assert (queued, slow.dropped) == ([6, 7, 8], 5)
    missed = [row.number for row in store.read_events_after(0) if row.number < queued[0]]
    assert missed == [1, 2, 3, 4, 5]


def test_more_at_once_than_there_is_room_for_is_counted() -> None:
    bus = Bus()
    small = bus.subscribe("small", size=2)
    bus.publish([logged(1)])
    bus.publish([logged(number) for number in range(2, 7)])
    assert (small.dropped, numbers(small)) == (4, [5, 6])


def test_who_raises_when_it_is_woken_keeps_nothing_from_anybody() -> None:
    bus, woken = Bus(), []

    def fail() -> None:
        raise OSError("gone")

    first = bus.subscribe("first", on_event=lambda: woken.append("first"))
    broken = bus.subscribe("broken", on_event=fail)
    last = bus.subscribe("last", on_event=lambda: woken.append("last"))
    bus.publish([logged(1)])
    assert woken == ["first", "last"]
    assert numbers(first) == numbers(broken) == numbers(last) == [1]


def test_nobody_is_woken_for_what_it_did_not_ask_for() -> None:
    bus, woken = Bus(), []
    suns = bus.subscribe("suns", EventFilter(type_prefix="sun."), on_event=lambda: woken.append(1))
    bus.publish([logged(1)])
    assert (woken, suns.wake.is_set()) == ([], False)
    bus.publish([logged(2, "sun.risen")])
    assert (woken, suns.wake.is_set()) == ([1], True)
    suns.take()
    assert not suns.wake.is_set()


def test_who_waits_in_a_thread_of_its_own_is_woken() -> None:
    bus = Bus()
    mine = bus.subscribe("mine")
    seen: list[int] = []

    def follow() -> None:
        while len(seen) < 200 and mine.wake.wait(10):
            seen.extend(numbers(mine))

    thread = threading.Thread(target=follow)
    thread.start()
    for number in range(200):
        bus.publish([logged(number)])
    thread.join(20)
    assert seen == list(range(200))
