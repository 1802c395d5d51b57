"""The test image runs the same application."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from ctrlplane_gitops.network.conformance_kit import wait_until
from tests.load.report import Shape
from tests.load.run import run_load
from tests.load.test_web_app import ask

pytestmark = pytest.mark.docker


@pytest.fixture
def container(docker_engine: str) -> Iterator[tuple[object, str, int]]:
    """The client, its id and its port on this machine."""
    from tests.engines.dockerd import connect

    with closing(connect(docker_engine)) as client:
        config = client.create_host_config(port_bindings={8080: ("127.0.0.1", None)}, init=True)
        made = client.create_container(
            "ctrlplane-test-app:2", hostname="web-7", ports=[8080], host_config=config
        )
        try:
            client.start(made["Id"])
            yield client, made["Id"], int(client.port(made["Id"], 8080)[0]["HostPort"])
        finally:
            client.remove_container(made["Id"], force=True)


def is_answering(port: int) -> bool:
    try:
        return ask(port, "/healthz")[0] == 200
    except OSError:
        return False


def test_it_serves_a_load_and_leaves_as_asked(container: tuple[object, str, int]) -> None:
    client, made, port = container
    wait_until(lambda: is_answering(port), "the container to answer")
    with run_load(port, "x", Shape(slow_s=0.5)) as load:
        load.gather(200)
    assert load.report.failures == [], load.report.summary()
    assert load.report.versions.keys() == {"2"} and load.report.replicas.keys() == {"web-7"}
    client.stop(made, timeout=15)
    assert client.wait(made)["StatusCode"] == 0
    assert client.logs(made).splitlines() == [b"version 2 listens", b"stopped"]
