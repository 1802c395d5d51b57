"""A thousand tenants: a broken file holds back its own, and who has to wait is left alone."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from ctrlplane_gitops.cli.main import main
from ctrlplane_gitops.clock import sleep
from tests.e2e import specs
from tests.e2e.plane import Engine, Plane

COUNT = 1000
MANY = 200
BROKEN_NUMBER = 500
BROKEN = f"tenants/t{BROKEN_NUMBER:04}.yaml"
# No file to ship, and a rollout that does not wait.
TENANT = specs.tenant("NAME").replace(
    "  files: [{path: app/server.py, source: app/server.py}]\n", ""
)
QUICK = "".join(line for line in TENANT.splitlines(True) if "  health: " not in line)


@pytest.fixture
def plane(make_plane: Callable[[Engine], Plane]) -> Iterator[Plane]:
    """A provider whose world is one JSON file: without it, nothing is left to be removed."""
    made = make_plane(Engine("memory", {"path": "world.json"}))
    made.begin()
    yield made
    world_file(made).unlink()


def add_tenants(plane: Plane, numbers: Iterable[int]) -> None:
    for number in numbers:
        name = f"t{number:04}"
        text = QUICK.replace("NAME", name).replace("minReady: 200ms", "minReady: 0s")
        plane.write(f"tenants/{name}.yaml", text)
    plane.commit()


def world_file(plane: Plane) -> Path:
    return plane.state / plane.name / "world.json"


def world(plane: Plane) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(world_file(plane).read_text())["replicas"]
    return found


@pytest.mark.slow
def test_one_broken_file_among_a_thousand(plane: Plane) -> None:
    """The broken one runs already, the others are to come: their first release costs least."""
    add_tenants(plane, [BROKEN_NUMBER])
    assert plane.apply().code == 0
    before = world(plane)
    add_tenants(plane, range(COUNT))
    text = (plane.repo / BROKEN).read_text().replace('VERSION: "1"', 'VERSION: "2"')
    (plane.repo / BROKEN).write_text(text.replace("  replicas: 1", "  replicas: [1"))
    plane.commit()
    line = 1 + text.splitlines().index("  replicas: 1")

    for arguments in (("validate",), ("plan",), ("apply", "-y")):
        done = plane.run(*arguments)
        assert done.code == 65, done.text[-2000:]
        assert f"{BROKEN}:{line + 1}:" in done.text, done.err[-2000:]
        assert done.effects == ()
    assert "--keep-going" in done.err
    assert f"{3 * (COUNT - 1)} to add" in plane.run("plan").out

    done = plane.apply("--keep-going")
    assert done.code == 3, done.text[-2000:]
    rows = world(plane)
    assert len(rows) == COUNT
    assert [row for row in rows if row["tenant"] == "t0500"] == before

    again = plane.apply("--keep-going")
    assert (again.code, again.effects) == (3, ())
    (plane.repo / BROKEN).write_text(text)
    plane.commit()
    done = plane.apply()
    assert done.code == 0, done.text[-2000:]
    plane.assert_settled()


def test_a_rollout_is_not_begun_before_it_can_act(plane: Plane) -> None:
    """Its deadlines would run while it waits."""
    add_tenants(plane, range(MANY))
    interrupted: list[str] = []

    def interrupt(effect: str) -> None:
        if not interrupted:
            interrupted.append(effect)
            os.kill(os.getpid(), signal.SIGINT)
        sleep(0.05)  # until the interrupt is seen, few can end

    out, err = io.StringIO(), io.StringIO()
    arguments = ["--chdir", str(plane.repo), "apply", "-y"]
    code = main(arguments, plane.environ, out=out, err=err, on_effect=interrupt)
    assert code == 8, err.getvalue()[-2000:]
    assert 0 < err.getvalue().count("rollout.started") < MANY / 2
    assert plane.apply().code == 0
    assert len(world(plane)) == MANY
