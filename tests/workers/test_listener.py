"""What listens in this process is handed events one by one, whatever it makes of them."""

from __future__ import annotations

from ctrlplane_gitops.events.bus import Bus
from ctrlplane_gitops.state.recorded import Event
from ctrlplane_gitops.workers.listener import Listener
from ctrlplane_gitops.workers.worker import Ran
from tests.events.test_bus import logged


def test_all_that_is_queued_is_handed_over_in_order_and_once() -> None:
    bus, seen = Bus(), list[str]()
    listener = Listener(bus.subscribe("log"), lambda event: seen.append(event.id))
    assert listener.run() == Ran()
    bus.publish([logged(1), logged(2)])
    bus.publish([logged(3)])
    assert listener.run() == listener.run() == Ran()
    assert seen == ["evt_1", "evt_2", "evt_3"]


def test_one_that_cannot_be_taken_keeps_none_of_the_others_back() -> None:
    bus, seen = Bus(), list[str]()

    def take(event: Event) -> None:
        if event.id in ("evt_1", "evt_2"):
            raise BrokenPipeError("hunter2")
        seen.append(event.id)

    listener = Listener(bus.subscribe("log"), take)
    bus.publish([logged(number) for number in range(4)])
    assert listener.run() == Ran(error="unexpected BrokenPipeError")
    assert seen == ["evt_0", "evt_3"]


def test_what_came_too_quickly_is_said_once() -> None:
    bus, seen = Bus(), list[str]()
    listener = Listener(bus.subscribe("log", size=2), lambda event: seen.append(event.id))
    bus.publish([logged(number) for number in range(5)])
    assert listener.run() == Ran(error="3 events came too quickly and were left out")
    assert listener.run() == Ran()
    assert seen == ["evt_3", "evt_4"]
