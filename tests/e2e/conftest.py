"""A plane per test, on processes and on Docker, and nothing left of it afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.plane import Engine, Plane
from tests.e2e.route_kit import HAPROXY, PROCESS, TRAEFIK, RouteWorld, Routing, opened


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Where replicas run."""
    if request.param == "process":
        return Engine("process")
    return Engine("docker", {"host": request.getfixturevalue("docker_engine")})


@pytest.fixture
def make_plane(tmp_path: Path) -> Iterator[Callable[..., Plane]]:
    """Planes that are removed with the test; a second one needs a ``name`` of its own."""
    with ExitStack() as stack:

        def make(engine: Engine, name: str = "plane") -> Plane:
            plane = Plane(tmp_path / name, engine)
            stack.callback(plane.close)
            return plane

        yield make


@pytest.fixture
def plane(engine: Engine, make_plane: Callable[[Engine], Plane]) -> Plane:
    """On each engine in turn."""
    return make_plane(engine)


@pytest.fixture
def local(make_plane: Callable[[Engine], Plane]) -> Plane:
    """On processes alone: for what does not depend on where replicas run."""
    return make_plane(Engine("process"))


@pytest.fixture(
    params=[
        pytest.param(HAPROXY, marks=pytest.mark.haproxy, id="haproxy"),
        pytest.param(TRAEFIK, marks=pytest.mark.traefik, id="traefik"),
    ]
)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RouteWorld]:
    """Processes behind each router."""
    routing: Routing = request.param
    binary = request.getfixturevalue(routing.type)
    with opened(RouteWorld(tmp_path, PROCESS, routing=routing, binary=binary)) as world:
        yield world
