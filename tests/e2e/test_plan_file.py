"""What was approved is what happens: a saved plan is done exactly, or not at all."""

from __future__ import annotations

import stat

import pytest

from tests.e2e import specs
from tests.e2e.plane import Done, Plane, wait_until

WEB = "instance/acme/web"
ACME, GLOBEX = "tenants/acme.yaml", "tenants/globex.yaml"
VALUE = "s3cret-value-of-acme"


@pytest.fixture
def running(plane: Plane) -> Plane:
    """Two tenants; acme's instance has a secret, whose value is in the controller's environment."""
    plane.begin("acme", "globex", replicas=2)
    spec = "{type: env, key: TOKEN, from: {env: ACME_TOKEN}}"
    plane.environ["ACME_TOKEN"] = VALUE
    plane.write(ACME, (plane.repo / ACME).read_text() + specs.secret("acme", "token", spec))
    plane.edit(ACME, "  files:", "  secrets: [token]\n  files:")
    done = plane.apply("--ref", "main")
    assert done.code == 0, done.text
    return plane


def save(plane: Plane) -> str:
    """A plan that changes acme's release, and the path of its file."""
    plane.edit(ACME, 'VERSION: "1"', 'VERSION: "2"')
    path = plane.root / "plan.json"
    done = plane.ok("plan", "--ref", "main", "--out", str(path))
    assert done.effects == ()
    return str(path)


def assert_stale(plane: Plane, done: Done, *names: str) -> None:
    """Refused for these items and no other, with nothing done."""
    assert (done.code, done.effects) == (6, ()), done.text
    first = done.err.splitlines()[0]
    assert "stale" in first
    assert {name for name in first.replace(":", " ").split() if "/" in name} == set(names), first
    assert "plan again" in done.err


def test_unchanged_world_gets_exactly_the_plan(running: Plane) -> None:
    before = running.identities()
    path = save(running)
    assert stat.S_IMODE((running.root / "plan.json").stat().st_mode) == 0o600
    assert VALUE not in (running.root / "plan.json").read_text()
    # What only the work tree says is not part of it.
    running.write(GLOBEX, specs.tenant("globex", replicas=4))

    done = running.run("apply", path)
    assert done.code == 0, done.text
    assert running.answers(WEB) == ["Hello from acme, version 2\n"] * 2
    after = running.identities()
    assert {name for name in before if after.get(name) == before[name]} == {
        name for name in before if ".globex." in name
    }
    assert "0 added, 1 changed, 0 destroyed" in done.out

    again = running.run("apply", path)
    assert_stale(running, again, "deployment/acme/web")
    assert running.identities() == after


def test_plan_of_nothing_can_be_applied_twice(running: Plane) -> None:
    path = running.root / "plan.json"
    running.ok("plan", "--ref", "main", "--out", str(path))
    for _ in range(2):
        done = running.run("apply", str(path))
        assert (done.code, done.effects) == (0, ()), done.text


def test_commit_that_changes_what_was_planned_makes_it_stale(running: Plane) -> None:
    before, path = running.identities(), save(running)
    running.edit(ACME, 'VERSION: "2"', 'VERSION: "3"')
    assert_stale(running, running.run("apply", path), "deployment/acme/web")
    running.edit(ACME, 'VERSION: "3"', 'VERSION: "2"')
    running.edit(GLOBEX, "replicas: 2", "replicas: 1")
    assert_stale(running, running.run("apply", path), "instance/globex/web")
    assert running.identities() == before


def test_commit_that_touches_nothing_of_it_does_not(running: Plane) -> None:
    path = save(running)
    running.write("README.md", "Notes.\n")
    running.commit()
    assert running.run("apply", path).code == 0
    assert running.answers(WEB) == ["Hello from acme, version 2\n"] * 2


def test_rotated_secret_makes_it_stale(running: Plane) -> None:
    before, path = running.identities(), save(running)
    running.environ["ACME_TOKEN"] = "another-s3cret"
    done = running.run("apply", path)
    assert_stale(running, done, "deployment/acme/web", "secret/acme/token")
    assert "another-s3cret" not in done.text and VALUE not in done.text
    assert running.identities() == before


def test_replica_that_died_makes_it_stale(running: Plane) -> None:
    path = save(running)
    name = sorted(running.replicas("instance/globex/web"))[0]
    if running.engine.type == "docker":
        with running.docker() as client:
            client.remove_container(running.replicas()[name].id, force=True)
        wait_until(lambda: name not in running.replicas())
    else:
        running.kill(name)
    before = running.identities()
    assert_stale(running, running.run("apply", path), "instance/globex/web")
    assert running.identities() == before


def test_replica_of_the_planned_instance_that_died_makes_it_stale(local: Plane) -> None:
    local.begin("acme")
    assert local.apply().code == 0
    path = save(local)
    local.kill(next(iter(local.replicas())))
    before = local.identities()
    done = local.run("apply", path)
    assert (done.code, done.effects) == (6, ()), done.text
    assert "acme/web" in done.err
    assert local.identities() == before


@pytest.mark.parametrize(
    ("flag", "word"), [("--max-delete=3", "max-delete"), ("--target=*/acme/*", "target")]
)
def test_flags_cannot_change_what_was_approved(local: Plane, flag: str, word: str) -> None:
    local.begin("acme")
    path = local.root / "plan.json"
    local.ok("plan", "--out", str(path))
    done = local.run("apply", str(path), flag)
    assert (done.code, done.effects) == (64, ())
    assert word in done.err
    assert local.replicas() == {}


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"format": "ctrlplane-gitops/plan"}'])
def test_file_that_is_no_plan_is_refused(local: Plane, text: str) -> None:
    local.begin("acme")
    path = local.root / "plan.json"
    path.write_text(text)
    done = local.run("apply", str(path))
    assert (done.code, done.effects) == (64, ()), done.text
    assert done.err.count("\n") <= 2


def test_plan_file_of_another_control_plane_is_stale(local: Plane) -> None:
    local.begin("acme")
    path = local.root / "plan.json"
    local.ok("plan", "--out", str(path))
    local.edit("ctrlplane.yaml", f"name: {local.name}", "name: other")
    done = local.run("apply", str(path))
    assert (done.code, done.effects) == (6, ())
    assert local.name in done.err and "other" in done.err
    assert local.replicas() == {}
