"""The lane of webhooks: what waits is taken together, and nobody waits for anybody else."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from ctrlplane_gitops.api.hook import answer_posts
from ctrlplane_gitops.api.lane import Lane
from ctrlplane_gitops.api.server import Server, bind
from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.state.delivery import DeliveryOutcome, DeliveryRecord
from ctrlplane_gitops.store.delivery_memory import MemoryDeliveries
from ctrlplane_gitops.store.memory import MemoryStore
from tests.api.hook_kit import Hooks, deliver, push_body, running, signed
from tests.e2e.plane import wait_until
from tests.source.hooks import Headers

Answer = tuple[int, dict[str, Any]]


class Gated(MemoryDeliveries):
    """Writes while ``gate`` is set. ``batches`` are what it was given, ``error`` is raised."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.entered = threading.Event(), threading.Event()
        self.batches: list[Sequence[DeliveryRecord]] = []
        self.error: Exception | None = None
        self.gate.set()

    def accept_all(self, records: Sequence[DeliveryRecord]) -> Sequence[DeliveryRecord]:
        self.batches.append(records)
        self.entered.set()
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        return super().accept_all(records)


class Scene:
    """``hold`` lets the next delivery be stuck in the store, and what comes meanwhile wait."""

    def __init__(self) -> None:
        self.deliveries = Gated()
        store = MemoryStore()
        store.deliveries = self.deliveries
        self.hooks = Hooks(store)
        answer = self.hooks.receiver
        listening = bind("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self.lanes: list[Lane] = []

        def make_lane(threads: int) -> Lane:
            self.lanes.append(Lane(lambda posts: answer_posts(answer, posts), (), threads))
            return self.lanes[0]

        self.server = Server(self.hooks.build(), listening, make_lane)
        self.server.start()
        self._pool = ThreadPoolExecutor(40)

    def send(self, body: bytes, headers: Headers | None = None) -> Future[Answer]:
        given = signed("github", body) if headers is None else headers
        return self._pool.submit(deliver, self.port, "github", given, body)

    def hold(self) -> Future[Answer]:
        self.deliveries.gate.clear()
        self.deliveries.entered.clear()
        held = self.send(push_body())
        assert self.deliveries.entered.wait(10)
        return held

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.lanes[0]._waiting) == count)

    def close(self) -> None:
        self.deliveries.gate.set()
        self.server.stop(timedelta(seconds=1))
        self._pool.shutdown()


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.close()


def test_what_waits_is_written_together_and_each_is_answered(scene: Scene) -> None:
    held = scene.hold()
    waiting = [scene.send(push_body()) for _ in range(20)]
    scene.wait_for(20)
    scene.deliveries.gate.set()
    answers = [item.result(10) for item in (held, *waiting)]
    assert {status for status, _ in answers} == {202}
    assert [len(batch) for batch in scene.deliveries.batches] == [1, 20]
    rows = {row.id for row in scene.hooks.rows()}
    assert {answer["id"] for _, answer in answers} == rows and len(rows) == 21
    assert scene.hooks.woken == 2


def test_nobody_is_answered_before_it_is_written(scene: Scene) -> None:
    held = scene.hold()
    waiting = [scene.send(push_body()) for _ in range(3)]
    scene.wait_for(3)
    assert not any(item.done() for item in (held, *waiting))
    assert scene.hooks.store.deliveries.read_open() == []
    scene.deliveries.gate.set()
    assert [item.result(10)[0] for item in (held, *waiting)] == [202] * 4


def test_a_copy_among_those_that_wait_is_one(scene: Scene) -> None:
    held, body = scene.hold(), push_body()
    headers = signed("github", body)
    waiting = [scene.send(body, headers) for _ in range(3)]
    scene.wait_for(3)
    scene.deliveries.gate.set()
    assert held.result(10)[0] == 202
    assert sorted(item.result(10)[0] for item in waiting) == [200, 200, 202]
    outcomes = [(row.outcome, row.count) for row in scene.hooks.rows()]
    assert outcomes == [
        (DeliveryOutcome.DUPLICATE, 2),
        (DeliveryOutcome.ACCEPTED, 1),
        (DeliveryOutcome.ACCEPTED, 1),
    ]


def test_when_they_cannot_be_written_none_is_accepted(scene: Scene) -> None:
    held = scene.hold()
    waiting = [scene.send(push_body()) for _ in range(5)]
    scene.wait_for(5)
    scene.deliveries.error = StoreError("the disk is full")
    scene.deliveries.gate.set()
    answers = [item.result(10) for item in (held, *waiting)]
    assert {(status, answer["code"]) for status, answer in answers} == {(503, "store")}
    assert scene.hooks.woken == 0 and scene.hooks.rows() == []
    scene.deliveries.error = None
    assert scene.send(push_body()).result(10)[0] == 202


def test_who_is_refused_is_counted_once_and_spoils_nothing_for_the_others(scene: Scene) -> None:
    held, body = scene.hold(), push_body()
    wrong = scene.send(push_body(), signed("github", body))
    good = scene.send(body)
    scene.wait_for(2)
    scene.deliveries.gate.set()
    assert [item.result(10)[0] for item in (held, good, wrong)] == [202, 202, 401]
    [refused] = [row for row in scene.hooks.rows() if row.outcome is DeliveryOutcome.REJECTED]
    assert (refused.count, refused.reason) == (1, "signature")


def test_others_are_answered_while_a_delivery_is_being_written(scene: Scene) -> None:
    held = scene.hold()
    with closing(http.client.HTTPConnection("127.0.0.1", scene.port, timeout=10)) as connection:
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
    assert not held.done()


def test_a_bug_is_told_of_and_the_next_delivery_is_taken(scene: Scene) -> None:
    scene.deliveries.error = RuntimeError("a bug")
    assert scene.send(push_body()).result(10)[0] == 500
    assert [str(bug) for bug in scene.hooks.bugs] == ["a bug"]
    scene.deliveries.error = None
    assert scene.send(push_body()).result(10)[0] == 202


def test_a_stop_answers_nobody_whose_delivery_is_not_written(scene: Scene) -> None:
    held = scene.hold()
    waiting = [scene.send(push_body()) for _ in range(3)]
    scene.wait_for(3)
    scene.server.stop(timedelta(milliseconds=200))
    assert all(isinstance(item.exception(10), OSError) for item in (held, *waiting))
    assert len(scene.deliveries.batches) == 1


def test_one_connection_brings_several_even_before_it_has_an_answer() -> None:
    hooks = Hooks()
    with running(hooks) as port, socket.create_connection(("127.0.0.1", port), 10) as connection:
        sent = b""
        for _ in range(3):
            body = push_body()
            lines = ["POST /hooks/github HTTP/1.1", "Host: localhost"]
            lines += [f"{name}: {value}" for name, value in signed("github", body)]
            lines += [f"Content-Length: {len(body)}", "", ""]
            sent += "\r\n".join(lines).encode() + body
        connection.sendall(sent)
        text = b""
        while text.count(b"}\n") < 3:
            part = connection.recv(65536)
            assert part, text
            text += part
    answers = [json.loads(f"{{{part}") for part in re.findall(r"\{(.*\})", text.decode())]
    assert [item["id"] for item in answers] == [row.id for row in reversed(hooks.rows())]
    assert text.count(b"HTTP/1.1 202 Accepted\r\n") == 3
    assert text.count(b"X-Content-Type-Options: nosniff\r\n") == 3
    assert text.count(b"Cache-Control: no-store\r\n") == 3


def test_a_large_delivery_is_taken_as_well() -> None:
    hooks = Hooks()
    body = json.dumps({**json.loads(push_body()), "more": "x" * 300_000}).encode()
    with running(hooks) as port:
        assert deliver(port, "github", signed("github", body), body)[0] == 202


def test_a_parameter_is_refused_as_it_is_anywhere() -> None:
    hooks, body = Hooks(), push_body()
    with running(hooks) as port:
        status, answer = deliver(port, "github?a=1", signed("github", body), body)
    assert (status, answer["code"]) == (400, "bad-parameter")
    assert hooks.rows() == []
