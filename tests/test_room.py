"""One at a time, but for those who take long."""

from __future__ import annotations

import threading

import pytest

from ctrlplane_gitops.clock import sleep
from ctrlplane_gitops.room import Room


def test_one_at_a_time() -> None:
    room, order = Room(60), list[str]()
    waits = threading.Event()

    def come_second() -> None:
        waits.set()
        with room.entered():
            order.append("second")

    thread = threading.Thread(target=come_second)
    with room.entered():
        thread.start()
        waits.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_who_stays_is_not_waited_for_and_who_did_not_wait_lets_nobody_in() -> None:
    room = Room(0.01)
    with room.entered():
        with room.entered():
            pass
        with room.entered():
            pass


def test_a_failure_leaves_it() -> None:
    room = Room(0.01)
    for _ in range(2):
        with pytest.raises(ValueError), room.entered():
            raise ValueError
    assert room.is_free


def test_what_takes_longer_is_waited_for_longer_and_that_is_forgotten() -> None:
    room = Room(0.01, 60)
    with room.entered():
        sleep(0.05)
    longest = room.patience_s
    assert longest > 0.05
    for _ in range(20):
        with room.entered():
            pass
    assert room.patience_s < longest
    # Who stays for longer than anybody may waits for something that hangs.
    bounded = Room(0.01, 0.02)
    with bounded.entered():
        sleep(0.05)
    assert bounded.patience_s == 0.01
