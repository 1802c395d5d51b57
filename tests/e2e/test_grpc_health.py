"""Replicas that speak gRPC, asked for their health by its standard protocol."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.e2e.plane import Plane

WEB = "instance/acme/web"
FILE = "tenants/acme.yaml"
SERVER = Path(__file__).with_name("grpc_server.py")
# What the specs of these tests say, and what it becomes.
CHECK = "type: http, path: /healthz, interval: 500ms, timeout: 1s"
GRPC_CHECK = "type: grpc, service: shop.v1.Cart, interval: 500ms, timeout: 1s"
COMMAND = "[python3, app/server.py]"
GOOD = 'env: {VERSION: "1", HEALTH: SERVING}'
SICK = 'env: {VERSION: "2", HEALTH: NOT_SERVING}'


@pytest.fixture
def running(local: Plane) -> Plane:
    """Two replicas, ready."""
    local.begin("acme", replicas=2)
    local.write("app/server.py", SERVER.read_text())
    local.edit(FILE, CHECK, GRPC_CHECK)
    # The interpreter that has the library.
    local.edit(FILE, COMMAND, json.dumps([sys.executable, "app/server.py"]))
    local.edit(FILE, 'env: {VERSION: "1"}', GOOD)
    done = local.apply()
    assert done.code == 0, done.text
    return local


def test_replicas_are_ready_by_their_grpc_check(running: Plane) -> None:
    status = running.status()[WEB]
    assert (status["phase"], status["release"]) == ("running", 1), status
    assert status["replicas"] == {"desired": 2, "ready": 2, "owner": "specs"}
    running.assert_settled()
    running.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')
    done = running.apply()
    assert done.code == 0, done.text
    assert running.status()[WEB]["release"] == 2
    # In a process of its own: the library adds no words and does not hold up its end.
    told = running.spawn("status")
    assert (told.code, told.err) == (0, "")
    assert "running" in told.out


def test_a_release_that_is_not_serving_is_rolled_back(running: Plane) -> None:
    before = running.identities()
    running.edit(FILE, "healthyDeadline: 20s", "healthyDeadline: 3s")
    running.edit(FILE, GOOD, SICK)
    done = running.apply()
    assert done.code == 4, done.text
    assert "status NOT_SERVING" in done.text
    assert running.identities() == before

    status = running.status()[WEB]
    assert (status["phase"], status["release"]) == ("rolledBack", 1)
    assert status["replicas"] == {"desired": 2, "ready": 2, "owner": "specs"}
    again = running.apply()
    assert (again.code, again.effects) == (4, ()), again.text
    plan = running.ok("plan")
    assert "v2 was tried and failed" in plan.out and "NOT_SERVING" in plan.out


def test_a_service_that_the_server_does_not_know_is_told(running: Plane) -> None:
    """A check is not part of the release: nothing restarts, and the replicas are unready."""
    before = running.identities()
    running.edit(FILE, "service: shop.v1.Cart", "service: shop.v1.Crat")
    running.apply()
    assert running.identities() == before
    assert "does not know the service 'shop.v1.Crat'" in running.ok("status").out
    running.edit(FILE, "service: shop.v1.Crat, ", "")
    done = running.apply()
    assert done.code == 0, done.text
    assert running.status()[WEB]["replicas"] == {"desired": 2, "ready": 2, "owner": "specs"}
    assert running.identities() == before
