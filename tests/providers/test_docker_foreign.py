"""A container that somebody else made, in the words of a release."""

from __future__ import annotations

from typing import Any

import pytest

from ctrlplane_gitops.providers.docker.adopted import follow_markers
from ctrlplane_gitops.providers.docker.foreign import describe_foreign
from ctrlplane_gitops.providers.docker.translate import read_rows
from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.state.observed import Endpoint, ReplicaPhase
from ctrlplane_gitops.state.template import Port

IMAGE = {
    "Id": "sha256:1",
    "RepoTags": ["shop:1"],
    "Config": {"Env": ["PATH=/bin", "MODE=prod"], "Cmd": ["serve"], "Entrypoint": ["/init"]},
}


def container(config: Any = None, host: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "Id": "abc",
        "Name": "/shop",
        "State": {"Running": True, "Status": "running"},
        "Config": {"Image": "shop:1", **IMAGE["Config"], **(config or {})},  # type: ignore[dict-item]
        "HostConfig": {"NetworkMode": "default", **(host or {})},
        "Mounts": [],
        "NetworkSettings": {"Ports": {}, "Networks": {"bridge": {}}},
        **more,
    }


def test_what_the_image_says_is_not_said_again() -> None:
    found = describe_foreign(container(), IMAGE)
    assert (found.name, found.image, found.command, found.env) == ("shop", "shop:1", (), {})
    assert (found.obstacles, found.notes) == ((), ())


def test_what_differs_is_said() -> None:
    given = container(
        {
            "Env": ["PATH=/bin", "MODE=test", "A=b=c"],
            "Cmd": ["serve", "--cost=5$", "$(HOME)", "$$"],
        },
        {"NanoCpus": 250_000_000, "Memory": 64 << 20},
    )
    found = describe_foreign(given, IMAGE)
    assert found.env == {"MODE": "test", "A": "b=c"}
    # What is no reference to us must not become one.
    assert found.command == ("serve", "--cost=5$", "$$(HOME)", "$$$$")
    assert found.resources == Resources(250, 64 << 20)


def test_ports_that_can_be_reached_have_names() -> None:
    ports = {
        "9000/tcp": [{"HostIp": "", "HostPort": "9000"}],
        "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "1"}],
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "2"}, {"HostIp": "::", "HostPort": "2"}],
        "53/udp": [{"HostIp": "", "HostPort": "53"}],
        "5432/tcp": None,
    }
    settings = {"Ports": ports, "Networks": {"bridge": {}}}
    found = describe_foreign(container(NetworkSettings=settings), IMAGE)
    assert found.ports == (Port("http", 80), Port("port-8080", 8080), Port("port-9000", 9000))
    assert "not published, so not in ports: 5432/tcp" in found.notes


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (container({"Entrypoint": ["/other"]}), "Entrypoint"),
        (container({"User": "app"}), "User"),
        (container(host={"Privileged": True}), "Privileged"),
        (container(host={"NetworkMode": "container:x"}), "network"),
        (container(host={"PidMode": "host"}), "process namespace"),
        (container(State={"Running": False, "Status": "exited"}), "does not run"),
        (container({"Labels": {"ctrlplane.dev/plane": "x"}}), "control plane 'x'"),
        (container(Mounts=[{"Type": "volume", "Name": "v", "Destination": "/d"}]), "/d is v"),
    ],
)
def test_what_a_later_release_would_lack_is_an_obstacle(given: Any, reason: str) -> None:
    [obstacle] = describe_foreign(given, IMAGE).obstacles
    assert reason in obstacle


def test_a_tag_that_has_moved_is_noted() -> None:
    [note] = describe_foreign(container(), {**IMAGE, "RepoTags": []}).notes
    assert "names another image by now" in note


MARKER = {
    "Id": "marker",
    "State": "created",
    "Status": "Created",
    "Created": 5,
    "Labels": {
        "ctrlplane.dev/plane": "prod",
        "ctrlplane.dev/tenant": "acme",
        "ctrlplane.dev/instance": "web",
        "ctrlplane.dev/release": "1",
        "ctrlplane.dev/revision": "r",
        "ctrlplane.dev/replica": "prod.acme.web.v1.0",
        "ctrlplane.dev/ports": "http=8080",
        "ctrlplane.dev/adopts": "abc",
    },
}


def test_a_marker_is_seen_as_the_container_it_stands_for() -> None:
    row = {
        "Id": "abc",
        "State": "running",
        "Status": "Up 3 minutes",
        "Created": 1,
        "Ports": [{"PrivatePort": 8080, "PublicPort": 81, "Type": "tcp", "IP": "0.0.0.0"}],
    }
    asked: list[Any] = []
    found, _ = read_rows([MARKER])
    [seen] = follow_markers(found, lambda it: asked.append(it) or [row], "127.0.0.1")  # type: ignore[func-returns-value]
    assert asked == [{"id": ["abc"]}]
    assert (seen.id, seen.marker, seen.name) == ("abc", "marker", "prod.acme.web.v1.0")
    assert seen.phase is ReplicaPhase.RUNNING
    assert seen.endpoints == (Endpoint("http", "127.0.0.1", 81),)


def test_a_marker_of_nobody_is_a_replica_that_stopped() -> None:
    found, _ = read_rows([MARKER])
    [seen] = follow_markers(found, lambda it: [], "127.0.0.1")
    assert (seen.phase, seen.endpoints) == (ReplicaPhase.STOPPED, ())
    assert "is gone" in seen.reason


def test_without_markers_nothing_more_is_asked() -> None:
    def ask(filters: Any) -> Any:
        raise AssertionError(filters)

    assert follow_markers([], ask, "127.0.0.1") == []
