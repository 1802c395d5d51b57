"""A thousand tenants: a broken file holds back its own, and who has to wait is left alone."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ctrlplane_gitops.cli.main import main
from ctrlplane_gitops.clock import sleep
from tests.e2e import specs
from tests.e2e.plane import Engine, Plane

COUNT = 1000
MANY = 200
BROKEN = "tenants/t0500.yaml"
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


def add_tenants(plane: Plane, count: int) -> None:
    for number in range(count):
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
    add_tenants(plane, COUNT)
    assert plane.apply().code == 0
    assert len(world(plane)) == COUNT
    for path in sorted((plane.repo / "tenants").glob("*.yaml")):
        path.write_text(path.read_text().replace('VERSION: "1"', 'VERSION: "2"'))
    text = (plane.repo / BROKEN).read_text()
    (plane.repo / BROKEN).write_text(text.replace("  replicas: 1", "  replicas: [1"))
    plane.commit()
    line = 1 + text.splitlines().index("  replicas: 1")

    for arguments in (("validate",), ("plan",), ("apply", "-y")):
        done = plane.run(*arguments)
        assert done.code == 65, done.text[-2000:]
        assert f"{BROKEN}:{line + 1}:" in done.text, done.err[-2000:]
        assert done.effects == ()
    assert "--keep-going" in done.err
    assert "999 to change" in plane.run("plan").out

    done = plane.apply("--keep-going")
    assert done.code == 3, done.text[-2000:]
    rows = world(plane)
    assert len(rows) == COUNT
    releases = {row["tenant"]: row["release"] for row in rows}
    assert [name for name, release in releases.items() if str(release) != "2"] == ["t0500"]

    again = plane.apply("--keep-going")
    assert (again.code, again.effects) == (3, ())
    (plane.repo / BROKEN).write_text(text)
    plane.commit()
    done = plane.apply()
    assert done.code == 0, done.text[-2000:]
    plane.assert_settled()


def test_a_rollout_is_not_begun_before_it_can_act(plane: Plane) -> None:
    """Its deadlines would run while it waits."""
    add_tenants(plane, MANY)
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
