"""One broken file among a thousand holds back one tenant, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.e2e import specs
from tests.e2e.plane import Engine, Plane

COUNT = 1000
BROKEN = "tenants/t0500.yaml"
# No file to ship, and a rollout that does not wait.
TENANT = specs.tenant("NAME").replace(
    "  files: [{path: app/server.py, source: app/server.py}]\n", ""
)
QUICK = "".join(line for line in TENANT.splitlines(True) if "  health: " not in line)


@pytest.fixture
def fleet(make_plane: Callable[[Engine], Plane]) -> Plane:
    """A thousand tenants on a provider whose world is one JSON file."""
    plane = make_plane(Engine("memory", {"path": "world.json"}))
    plane.begin()
    for number in range(COUNT):
        name = f"t{number:04}"
        text = QUICK.replace("NAME", name).replace("minReady: 200ms", "minReady: 0s")
        plane.write(f"tenants/{name}.yaml", text)
    plane.commit()
    return plane


def world(plane: Plane) -> list[dict[str, str]]:
    text = (plane.state / plane.name / "world.json").read_text()
    found: list[dict[str, str]] = json.loads(text)["replicas"]
    return found


def test_one_broken_file_among_a_thousand(fleet: Plane) -> None:
    assert fleet.apply().code == 0
    assert len(world(fleet)) == COUNT
    for path in sorted((fleet.repo / "tenants").glob("*.yaml")):
        path.write_text(path.read_text().replace('VERSION: "1"', 'VERSION: "2"'))
    text = (fleet.repo / BROKEN).read_text()
    (fleet.repo / BROKEN).write_text(text.replace("  replicas: 1", "  replicas: [1"))
    fleet.commit()
    line = 1 + text.splitlines().index("  replicas: 1")

    for arguments in (("validate",), ("plan",), ("apply", "-y")):
        done = fleet.run(*arguments)
        assert done.code == 65, done.text[-2000:]
        assert f"{BROKEN}:{line + 1}:" in done.text, done.err[-2000:]
        assert done.effects == ()
    assert "--keep-going" in done.err
    assert "999 to change" in fleet.run("plan").out

    done = fleet.apply("--keep-going")
    assert done.code == 3, done.text[-2000:]
    rows = world(fleet)
    assert len(rows) == COUNT
    releases = {row["tenant"]: row["release"] for row in rows}
    assert [name for name, release in releases.items() if str(release) != "2"] == ["t0500"]

    again = fleet.apply("--keep-going")
    assert (again.code, again.effects) == (3, ())
    (fleet.repo / BROKEN).write_text(text)
    fleet.commit()
    done = fleet.apply()
    assert done.code == 0, done.text[-2000:]
    fleet.assert_settled()
