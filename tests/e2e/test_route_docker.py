"""Routed rollouts of containers: the same promises as for processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.crash_kit import Runtime
from tests.e2e.route_kit import HAPROXY, PROCESS, RouteWorld, app, assert_settled
from tests.e2e.test_route_crash import FORWARD, Case

pytestmark = [pytest.mark.docker, pytest.mark.haproxy]
CONTAINERS = Runtime(
    "{type: docker}",
    "{type: docker}",
    "image: 'ctrlplane-test-app:1'\n  command: [python3, app/server.py]",
    PROCESS.checks,
)


@pytest.fixture
def world(tmp_path: Path, docker_engine: str, haproxy: str) -> Iterator[RouteWorld]:
    world = RouteWorld(
        tmp_path, CONTAINERS, plane=f"route-{os.getpid()}", routing=HAPROXY, binary=haproxy
    )
    world.environ["DOCKER_HOST"] = docker_engine
    try:
        yield world
    finally:
        world.close()
    assert world.containers() == ([], [])


@pytest.mark.parametrize("case", [FORWARD[0], FORWARD[2]], ids=lambda item: item.name)
def test_a_rollout_of_containers_loses_no_request(world: RouteWorld, case: Case) -> None:
    world.write(app(world, "one", case.strategy))
    assert world.run("apply", "-y") == 0, world.output + world.errors
    with world.load() as met:
        world.write(app(world, "two", case.strategy))
        assert world.run("apply", "-y") == 0, world.output + world.errors
    assert met["failures"] == [] and set(met["answers"]) == {"one", "two"}
    assert world.ask() == "two /"
    names, _ = world.containers()
    assert len(names) == 2 and all(".v2." in name for name in names)
    assert_settled(world, "rolled out")
