"""Streams: what they say, how they go on, and that they end."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ctrlplane_gitops.api.stream import MOST
from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.events.event import EventType, make_event
from ctrlplane_gitops.state.access import Role
from ctrlplane_gitops.state.recorded import (
    RecordBatch,
    RecordedInstance,
    RolloutPhase,
    RolloutStatus,
)
from tests.api.scene import Scene, bearer, check_problem
from tests.status.board_kit import DB, NOW, OTHER, WEB

EVENTS = "/api/v1/events/stream"
ROLLOUT = "/api/v1/instances/acme/web/rollout/stream"


class MovingClock(FakeClock):
    """Something happens whenever somebody waits."""

    move: Callable[[], None]

    def wait(self, event: threading.Event, timeout: timedelta) -> bool:
        self.move()
        return super().wait(event, timeout)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def read(text: str) -> list[dict[str, Any]]:
    """Messages by their fields, and comments as ``{"": text}``."""
    found = []
    for block in text.split("\n\n"):
        if block:
            found.append(dict(line.split(": ", 1) for line in block.split("\n")))
    return found


def addresses(text: str) -> list[str]:
    return [json.loads(item["data"])["address"] for item in read(text) if "data" in item]


def test_who_comes_back_goes_on_after_what_was_seen_last(scene: Scene) -> None:
    client = scene.client()
    everything = [DB.address, WEB.address, OTHER.address, ""]
    for query, headers, found in (
        ("?after=0", {}, everything),
        ("?after=2", {}, everything[2:]),
        ("", {"Last-Event-ID": "1"}, everything[1:]),
        ("", {"Last-Event-ID": "nonsense"}, []),
        ("", {}, []),
        ("?after=0&tenant=beta", {}, [OTHER.address]),
        ("?after=0&type=apply.", {}, [""]),
    ):
        answer = client.get(EVENTS + query, headers=headers)
        assert answer.mimetype == "text/event-stream"
        # The clock is moved by who waits on it, so a stream has ended before one looks.
        assert addresses(answer.get_data(as_text=True)) == found
    found = read(client.get(f"{EVENTS}?after=0").get_data(as_text=True))
    assert [item["id"] for item in found if "id" in item] == ["1", "2", "3", "4"]


def test_a_stream_that_has_nothing_to_say_says_so_until_it_ends(scene: Scene) -> None:
    began = scene.clock.now()
    text = scene.client().get(EVENTS).get_data(as_text=True)
    assert text.startswith("retry: 2000\n\n")
    assert text.count(": keep-alive\n\n") == 19
    assert scene.clock.now() - began == timedelta(minutes=5)


def test_a_token_of_one_tenant_follows_that_tenant_alone(scene: Scene) -> None:
    headers, client = bearer(scene.declare(Role.VIEWER, "acme")), scene.client()
    text = client.get(f"{EVENTS}?after=0", headers=headers).get_data(as_text=True)
    assert addresses(text) == [DB.address, WEB.address]
    other = ROLLOUT.replace("acme", "beta")
    check_problem(client.get(other, headers=headers), 404, "not-found")


def test_a_stream_ends_when_it_is_told_to(scene: Scene) -> None:
    scene.stop.set()
    text = scene.client().get(EVENTS).get_data(as_text=True)
    assert text == "retry: 2000\n\n"


def test_there_are_no_more_streams_than_threads_can_be_spared_for(scene: Scene) -> None:
    client = scene.client()
    held = [client.get(EVENTS) for _ in range(MOST)]
    answer = client.get(EVENTS)
    check_problem(answer, 503, "too-many-streams")
    assert answer.headers["Retry-After"] == "5"
    # One that nobody has begun to read counts as well, and is given back like any other.
    held[0].close()
    assert client.get(EVENTS).status_code == 200


def test_who_only_looks_at_the_head_of_a_stream_holds_none(scene: Scene) -> None:
    client = scene.client()
    for _ in range(MOST + 1):
        assert client.head(EVENTS).status_code == 200
    gone = "/api/v1/instances/acme/nobody/logs/stream"
    for _ in range(MOST + 1):
        assert client.get(gone).status_code == 404
    assert client.get(EVENTS).status_code == 200


def test_logs_come_as_they_are_printed_until_the_replicas_end(scene: Scene) -> None:
    path = "/api/v1/instances/acme/web/logs/stream"
    text = scene.client().get(f"{path}?tail=7").get_data(as_text=True)
    rows = [json.loads(item["data"]) for item in read(text) if item.get("event") == "log"]
    assert [item["text"] for item in rows] == ["hello", ""]
    assert scene.asked.calls[0][3:] == (None, 7)
    check_problem(scene.client().get(path.replace("web", "nobody")), 404, "not-found")


def test_a_rollout_is_told_whenever_it_moves(scene: Scene) -> None:
    moved = iter(range(3))

    def move() -> None:
        step = next(moved, 2)
        status = RolloutStatus(RolloutPhase.PROGRESSING, 3, 2, NOW, step=step)
        events = (
            make_event(
                EventType.TRAFFIC_SHIFTED, NOW, WEB.address, "shifted",
                {"v2": str(90 - step), "v3": str(10 + step)},
            ),
        )  # fmt: skip
        known = RecordedInstance(WEB, "local", 2, rollout=status)
        scene.seen.store.record(RecordBatch(instances=(known,), events=events), scene.seen.fence)

    clock = MovingClock(NOW)
    clock.move, scene.clock = move, clock
    move()
    found = [
        json.loads(item["data"])
        for item in read(scene.client().get(ROLLOUT).get_data(as_text=True))
        if item.get("event") == "rollout"
    ]
    assert [item["step"] for item in found] == [0, 1, 2]
    assert [item["traffic"][1] for item in found] == [
        {"release": 3, "percent": 10 + step} for step in range(3)
    ]
    gone = ROLLOUT.replace("web", "nobody")
    check_problem(scene.client().get(gone), 404, "not-found")
