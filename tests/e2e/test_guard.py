"""Nothing vanishes by accident, and every refusal says the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import specs
from tests.e2e.plane import Plane

WEB = "instance/acme/web"


@pytest.fixture
def running(plane: Plane) -> Plane:
    plane.begin("acme", "globex")
    assert plane.apply().code == 0
    return plane


def remove_tenants(plane: Plane) -> None:
    for path in (plane.repo / "tenants").glob("*.yaml"):
        path.unlink()
    plane.commit()


def test_repo_without_tenants_deletes_nothing(running: Plane) -> None:
    before = running.identities()
    remove_tenants(running)
    plan = running.run("plan")
    assert plan.code == 5
    assert "empty-desired" in plan.out
    done = running.apply()
    assert (done.code, done.effects) == (5, ())
    assert "destroy" in done.text
    assert running.identities() == before


def test_empty_repo_and_wrong_folder_delete_nothing(running: Plane, tmp_path: Path) -> None:
    before = running.identities()
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (empty, tmp_path / "no-such-folder"):
        for arguments in (("plan",), ("apply", "-y"), ("destroy", "-y")):
            done = running.run(*arguments, repo=folder)
            assert done.code == 5, done.text
            assert "--chdir" in done.err
            assert done.err.count("\n") <= 4
            assert "Traceback" not in done.err
            assert done.effects == ()
    assert running.identities() == before


def test_allow_empty_removes_everything_on_purpose(running: Plane) -> None:
    remove_tenants(running)
    done = running.apply("--allow-empty")
    assert done.code == 0, done.text
    assert running.replicas() == {}


def test_protected_instance_survives_the_deletion_of_its_yaml(running: Plane) -> None:
    path = "tenants/acme.yaml"
    running.edit(path, "  replicas: 1\n", "  replicas: 1\n  protect: true\n")
    assert running.apply().code == 0
    before = running.identities()
    (running.repo / path).unlink()
    running.commit()

    plan = running.run("plan")
    assert plan.code == 5
    assert "protect: true" in plan.out
    assert "set protect: false in Git" in plan.out
    done = running.apply()
    assert (done.code, done.effects) == (5, ()), done.text
    assert running.identities() == before

    running.write(path, specs.tenant("acme"))
    assert running.apply().code == 0
    (running.repo / path).unlink()
    running.commit()
    done = running.apply()
    assert done.code == 0, done.text
    assert running.replicas(WEB) == {}


def test_removal_of_a_tenant_removes_that_tenant_alone(running: Plane) -> None:
    before = running.identities()
    (running.repo / "tenants/globex.yaml").unlink()
    running.commit()
    plan = running.ok("plan")
    assert "3 to destroy" in plan.out, plan.out
    assert running.apply().code == 0
    assert running.identities() == {name: item for name, item in before.items() if ".acme." in name}
    assert "instance/globex/web" not in running.status()
    running.assert_settled()


def test_more_removals_than_the_limit_are_refused(local: Plane) -> None:
    names = [f"job{number}" for number in range(6)]
    local.begin("acme")
    for name in names:
        local.write(
            f"tenants/{name}.yaml", specs.tenant(name).replace("replicas: 1", "replicas: 0")
        )
    local.commit()
    assert local.apply().code == 0
    for name in names:
        (local.repo / f"tenants/{name}.yaml").unlink()
    local.commit()
    done = local.apply()
    assert (done.code, done.effects) == (5, ())
    assert "--max-delete 18" in done.text
    assert local.apply("--max-delete", "18").code == 0
    assert list(local.replicas()) == list(local.replicas(WEB))
