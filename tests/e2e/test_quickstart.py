"""The starter works as it stands, on either provider, and a second look changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.plane import Plane

ROOT = Path(__file__).parents[2]
STARTER = ROOT / "ctrlplane_gitops" / "cli" / "starter"
LINE = "local: {type: process}"
IMAGE = "python:3.12-slim"


def test_example_and_starter_are_the_same() -> None:
    example = ROOT / "examples" / "quickstart"
    found = {
        path.relative_to(root): path.read_bytes()
        for root in (example, STARTER)
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for path, content in found.items():
        assert (example / path).read_bytes() == (STARTER / path).read_bytes() == content


@pytest.fixture
def quickstart_image(docker_engine: str) -> Iterator[None]:
    """No registry is needed: where the engine lacks the image, the test image stands in for it."""
    from docker.errors import ImageNotFound

    from tests.engines.dockerd import connect

    client = connect(docker_engine)
    try:
        client.inspect_image(IMAGE)
        yield
    except ImageNotFound:
        client.tag("ctrlplane-test-app:1", *IMAGE.split(":"))
        yield
        client.remove_image(IMAGE)
    finally:
        client.close()


def test_quickstart_answers_and_is_then_left_alone(
    plane: Plane, request: pytest.FixtureRequest
) -> None:
    plane.name = "quickstart"
    assert plane.run("init", repo=plane.repo).code == 0
    plane.git("init", "--quiet", "--initial-branch=main")
    if plane.engine.type == "docker":
        request.getfixturevalue("quickstart_image")
        plane.edit("ctrlplane.yaml", LINE, f"local: {plane.engine.line}")
    plane.commit()

    done = plane.apply("--ref", "main")
    assert done.code == 0, done.text
    assert plane.answers("instance/acme/web") == ["Hello from Acme, version 1\n"] * 2
    assert plane.answers("instance/globex/web") == ["Welcome to Globex, version 1\n"]
    for _ in range(3):
        plan = plane.ok("plan", "--ref", "main", "--detailed-exitcode")
        assert "No changes." in plan.out
        assert plan.effects == ()
    again = plane.apply()
    assert (again.code, again.effects) == (0, ())


def test_init_leaves_a_folder_that_is_not_empty_alone(local: Plane, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    done = local.run("init", str(folder), repo=tmp_path)
    assert done.code == 64
    assert "notes.txt" in done.err
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("arguments", [("validate",), ("plan",), ("status",), ("get",)])
def test_starter_can_be_looked_at_before_it_is_applied(
    local: Plane, arguments: tuple[str, ...]
) -> None:
    shutil.copytree(STARTER, local.repo)
    local.name = "quickstart"
    done = local.ok(*arguments)
    assert done.effects == ()
    assert not local.state.exists()
