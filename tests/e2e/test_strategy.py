"""What a strategy promises, watched while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException

import pytest

from tests.e2e.plane import Engine, Plane, fetch, polling

WEB = "instance/acme/web"
FILE = "tenants/acme.yaml"


@dataclass(slots=True)
class Watch:
    """Of each look at a world that stood still meanwhile: how many replicas were alive, how many
    answered as healthy, and which releases were among the living."""

    looks: list[tuple[int, int, frozenset[int]]] = field(default_factory=list)

    @property
    def most(self) -> int:
        return max(alive for alive, _, _ in self.looks)

    @property
    def fewest_ready(self) -> int:
        return min(ready for _, ready, _ in self.looks)

    @property
    def mixes(self) -> set[frozenset[int]]:
        return {releases for _, _, releases in self.looks}


@contextmanager
def watching(plane: Plane) -> Iterator[Watch]:
    watch, is_over = Watch(), threading.Event()

    def look() -> None:
        before = living(plane)
        # The oldest first: one that is gone was made up for by newer ones, asked afterwards.
        ready = sum(is_healthy(url) for _, _, url in sorted(before))
        if living(plane) == before:
            releases = frozenset(release for release, _, _ in before)
            watch.looks.append((len(before), ready, releases))

    def keep_looking() -> None:
        while not is_over.wait(0.01):
            look()

    look()  # on a busy machine what is watched may be under way before the thread is
    thread = threading.Thread(target=keep_looking)
    thread.start()
    try:
        yield watch
    finally:
        is_over.set()
        thread.join()


def living(plane: Plane) -> list[tuple[int, str, str]]:
    """(release, name, url) of every replica that runs."""
    return [
        (int(name.split(".")[3].removeprefix("v")), name, f"http://{end.host}:{end.number}")
        for name, item in plane.replicas(WEB).items()
        if str(item.phase) == "running"
        for end in item.endpoints
    ]


def is_healthy(url: str) -> bool:
    try:
        return fetch(f"{url}/healthz") == "ok"
    except (OSError, HTTPException):
        return False


def begin(plane: Plane, strategy: str) -> None:
    plane.begin("acme", replicas=3)
    plane.edit(FILE, "{type: rolling, ", f"{{{strategy}, ")
    done = plane.apply()
    assert done.code == 0, done.text
    plane.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')


@pytest.mark.parametrize(
    ("rolling", "most", "fewest"),
    [
        ("maxSurge: 1", 4, 3),
        ("maxSurge: 100%", 6, 3),
        ("maxSurge: 0, maxUnavailable: 1", 3, 2),
        ("maxSurge: 1, maxUnavailable: 2", 4, 1),
    ],
)
def test_rolling_keeps_the_promised_number_ready(
    local: Plane, rolling: str, most: int, fewest: int
) -> None:
    watch_rolling(local, rolling, most, fewest)


@pytest.mark.docker
def test_rolling_keeps_the_promised_number_ready_on_docker(
    make_plane: Callable[..., Plane], docker_engine: str
) -> None:
    watch_rolling(make_plane(Engine("docker", {"host": docker_engine})), "maxSurge: 2", 5, 3)


def watch_rolling(plane: Plane, rolling: str, most: int, fewest: int) -> None:
    begin(plane, f"type: rolling, rolling: {{{rolling}}}")
    plane.edit(FILE, "minReady: 200ms", "minReady: 1s")  # each step can be seen
    plan = plane.ok("plan").out
    assert f"at most {most} replicas, never fewer than {fewest} ready" in plan
    with watching(plane) as watch:
        done = plane.apply()
    assert done.code == 0, done.text
    print(f"{rolling}: {len(watch.looks)} looks, {watch.fewest_ready}..{watch.most} of 3")
    assert watch.fewest_ready >= fewest
    # The bound is used, else nothing was seen of the rollout.
    assert watch.most == most
    assert frozenset({1, 2}) in watch.mixes
    assert plane.answers(WEB) == ["Hello from acme, version 2\n"] * 3


def test_recreate_has_downtime_and_the_plan_says_so(plane: Plane) -> None:
    begin(plane, "type: recreate")
    plan = plane.ok("plan").out
    assert "by recreate, with downtime" in plan
    assert "none ready in between" in plan
    assert "Rollouts: 1 recreate. Downtime: deployment/acme/web." in plan
    urls = plane.urls(WEB)
    with watching(plane) as watch, polling(urls) as poll:
        done = plane.apply()
    assert done.code == 0, done.text
    assert poll.failures
    # The two releases never ran side by side.
    assert frozenset({1, 2}) not in watch.mixes
    assert {frozenset({1}), frozenset({2})} <= watch.mixes
    assert watch.most == 3
    assert plane.answers(WEB) == ["Hello from acme, version 2\n"] * 3
    plane.assert_settled()


def test_recreate_that_fails_brings_the_old_release_back(local: Plane) -> None:
    begin(local, "type: recreate")
    local.edit(FILE, "healthyDeadline: 20s", "healthyDeadline: 5s")
    local.edit(FILE, 'VERSION: "2"', 'VERSION: "2", HEALTH: "500"')
    done = local.apply()
    assert done.code == 4, done.text
    assert local.answers(WEB) == ["Hello from acme, version 1\n"] * 3
