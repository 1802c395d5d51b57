"""The status and tables as text; probing while it is read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.memory import MemoryProvider
from ctrlplane_gitops.state.desired import HealthCheck, ProbeType, ProviderConfig
from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key
from ctrlplane_gitops.state.observed import Endpoint, ReplicaPhase
from ctrlplane_gitops.status.certificate import CertificateStatus
from ctrlplane_gitops.status.read import read_live
from ctrlplane_gitops.status.render import render_status, status_as_json, url_of
from ctrlplane_gitops.status.table import render_table, width_of
from ctrlplane_gitops.status.view import (
    Condition,
    InstancePhase,
    InstanceStatus,
    StatusDocument,
)
from tests.plan.plan_kit import App, World, applied, make_desired

NOW = datetime(2026, 3, 1, tzinfo=UTC)
READY = Condition("Ready", "True", "AllReplicasReady", "2/2 ready")
WEB = InstanceStatus(
    instance_key("acme", "web"), "local", InstancePhase.RUNNING, 3, "abc", 2, 2,
    (Endpoint("http", "127.0.0.1", 8000), Endpoint("http", "::1", 8001)), (READY,),
)  # fmt: skip


def show(*instances: InstanceStatus, commit: str = "3f9c2ab4d5e6") -> list[str]:
    return render_status(StatusDocument("prod", commit, instances)).splitlines()


# Text


def test_an_instance_is_a_row() -> None:
    assert show(WEB) == [
        "Control plane prod @ 3f9c2ab",
        "",
        "INSTANCE           PHASE    READY  RELEASE  PROVIDER  ENDPOINTS",
        "instance/acme/web  running  2/2    v3       local     "
        "http://127.0.0.1:8000 http://[::1]:8001",
    ]


def test_what_is_not_there_is_a_dash() -> None:
    bare = replace(WEB, provider="", release=None, revision=None, endpoints=())
    assert show(bare)[-1].split() == ["instance/acme/web", "running", "2/2", "-", "-", "-"]


def test_good_news_needs_no_line_and_bad_news_has_one_each() -> None:
    bad = Condition("Ready", "False", "ReplicasNotReady", "1/2 ready: web.1 stopped")
    failed = Condition("RolledBack", "True", "RolloutFailed", "exited 1")
    empty = Condition("Failed", "True", "RolloutFailed", "")
    lines = show(WEB, replace(WEB, conditions=(bad, failed, empty)))
    assert lines[-3:] == [
        "",
        "  instance/acme/web: 1/2 ready: web.1 stopped",
        "  instance/acme/web: exited 1",
    ]


def test_a_message_of_several_lines_is_one() -> None:
    forged = Condition("Failed", "True", "RolloutFailed", "boom\r\n  instance/zen/web: all well")
    lines = show(replace(WEB, conditions=(forged,)))
    assert lines[-1] == "  instance/acme/web: boom instance/zen/web: all well"


def test_without_instances_or_a_commit_it_says_so() -> None:
    assert show(commit="") == ["Control plane prod @ no commit", "No instances."]


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("::1", "http://[::1]:80"), ("h", "http://h:80")],
)
def test_an_endpoint_is_a_url_one_can_open(host: str, url: str) -> None:
    assert url_of(Endpoint("http", host, 80)) == url


def test_json_has_every_field_of_the_document() -> None:
    (found,) = status_as_json(StatusDocument("prod", "abc", (WEB,)))["instances"]
    assert found["endpoints"][1] == {"port": "http", "url": "http://[::1]:8001"}
    assert found["conditions"] == [
        {"type": "Ready", "status": "True", "reason": "AllReplicasReady", "message": "2/2 ready"}
    ]
    assert (found["phase"], found["release"], found["revision"]) == ("running", 3, "abc")


# Tables


@pytest.mark.parametrize(
    "cell", ["plain", "株式会社", "e\u0301te\u0301", "Ωμέγα", "a\tb", "한글", "\uff46\uff55"]
)
def test_columns_line_up_whatever_they_hold(cell: str) -> None:
    lines = render_table(("NAME", "X"), [(cell, "|"), ("other", "|")]).splitlines()
    places = {width_of(line[: line.index("|")]) for line in lines[1:]}
    assert len(places) == 1
    assert lines[0].index("X") in places


def test_a_wide_character_takes_two_columns() -> None:
    assert render_table(("A", "B"), [("日本", "|"), ("abcd", "|")]) == (
        "A     B\n日本  |\nabcd  |\n"
    )


def test_a_cell_cannot_begin_a_row_of_its_own() -> None:
    text = render_table(("A", "B"), [("one\ntwo", "\x1b[2J")])
    assert text == "A        B\none two  \ufffd[2J\n"


def test_a_table_without_rows_is_its_headings() -> None:
    assert render_table(("A", "B"), []) == "A  B\n"


def test_nothing_is_left_behind_the_last_column() -> None:
    lines = render_table(("A", "B"), [("x", ""), ("y", "long")]).splitlines()
    assert lines == ["A  B", "x", "y  long"]


# Reading


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


@pytest.fixture
def listening(server: socket.socket) -> int:
    return int(server.getsockname()[1])


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool(4, "probe")
    yield made
    made.close()


def world_at(*ports: int) -> World:
    """``acme/web`` with a replica at each of these ports."""
    world = applied({"acme/web": App(replicas=len(ports))})
    _, found = world.find_set("acme/web")
    world.change_set(
        "acme/web",
        replicas=tuple(
            replace(item, endpoints=(Endpoint("http", "127.0.0.1", port),))
            for item, port in zip(found.replicas, ports, strict=True)
        ),
    )
    return world


def read(world: World, pool: Pool, replicas: int, *, has_git: bool = True) -> InstanceStatus:
    check = HealthCheck("up", ProbeType.TCP, port="http", timeout=timedelta(seconds=5))
    desired = make_desired({"acme/web": App(replicas=replicas)})
    key = instance_key("acme", "web")
    wanted = replace(desired, instances={key: replace(desired.instances[key], health=(check,))})
    local = MemoryProvider(ProviderSettings("prod", ProviderConfig("local", "memory"), ""))
    document = read_live(
        "prod", "", wanted if has_git else None, world.recorded, world.observed,
        {"local": local}, pool, NOW,
    ).document  # fmt: skip
    return document.instances[0]


def test_health_is_as_it_is_now(listening: int, pool: Pool) -> None:
    found = read(world_at(listening, 1), pool, 2)
    assert (found.ready, found.phase) == (1, "degraded")
    assert "prod.acme.web.v1.1 up: " in found.conditions[0].message


def test_what_does_not_run_is_not_probed(server: socket.socket, listening: int, pool: Pool) -> None:
    world = world_at(listening)
    _, found = world.find_set("acme/web")
    dead = replace(found.replicas[0], phase=ReplicaPhase.STOPPED, exit_code=1)
    world.change_set("acme/web", replicas=(dead,))
    status = read(world, pool, 1)
    assert status.conditions[0].message == "0/1 ready: prod.acme.web.v1.0 stopped (exit 1)"
    with pytest.raises(BlockingIOError):  # nobody has called
        server.accept()


def test_without_git_there_are_no_checks_and_life_is_what_counts(pool: Pool) -> None:
    assert read(world_at(1, 1), pool, 2, has_git=False).ready == 2


def test_a_route_s_certificate_is_shown_with_its_end() -> None:
    route = ResourceKey(Kind.ROUTE, "acme", "web")
    ends = datetime(2026, 5, 1, 12, tzinfo=UTC)
    shown = CertificateStatus(route, ("a.test", "b.test"), ends, is_issued=True)
    missing = CertificateStatus(route, ("c.test",), None, is_issued=False)
    item = replace(WEB, certificates=(shown, missing))
    lines = [line.strip() for line in show(item)]
    assert lines[-2:] == [
        "route/acme/web: certificate until 2026-05-01 (a.test, b.test)",
        "route/acme/web: certificate not known (c.test)",
    ]
    (found,) = status_as_json(StatusDocument("prod", "abc", (item,)))["instances"]
    assert found["certificates"] == [
        {
            "route": "route/acme/web",
            "hosts": ["a.test", "b.test"],
            "expires_at": "2026-05-01T12:00:00.000Z",
            "is_issued": True,
        },
        {"route": "route/acme/web", "hosts": ["c.test"], "expires_at": None, "is_issued": False},
    ]
