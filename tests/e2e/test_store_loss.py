"""The store is memory, not truth: without it nothing is created twice and nothing deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.plane import Plane

WEB = "instance/acme/web"


def delete(store: Path) -> None:
    for path in store.parent.glob(f"{store.name}*"):
        path.unlink()


def truncate(store: Path) -> None:
    delete(store)
    store.write_bytes(b"")


def truncate_beside_its_log(store: Path) -> None:
    store.write_bytes(b"")


@pytest.mark.parametrize("lose", [delete, truncate, truncate_beside_its_log])
def test_lost_store_is_written_anew_from_what_runs(plane: Plane, lose: object) -> None:
    plane.begin("acme", "globex", replicas=2)
    assert plane.apply().code == 0
    plane.edit("tenants/acme.yaml", 'VERSION: "1"', 'VERSION: "2"')
    assert plane.apply().code == 0
    before = plane.identities()
    assert callable(lose)
    lose(plane.state / plane.name / "state.db")

    plan = plane.ok("plan", "--detailed-exitcode")
    assert "No changes." in plan.out
    done = plane.apply()
    assert (done.code, done.effects) == (0, ()), done.text
    assert plane.identities() == before

    history = plane.ok("history", WEB, "--json").json["releases"]
    assert [(item["release"], item["state"]) for item in history] == [(2, "active")]
    status = plane.status()[WEB]
    assert (status["phase"], status["release"]) == ("running", 2)
    plane.assert_settled()
    assert plane.identities() == before

    plane.edit("tenants/acme.yaml", 'VERSION: "2"', 'VERSION: "3"')
    assert plane.apply().code == 0
    assert plane.answers(WEB) == ["Hello from acme, version 3\n"] * 2
    assert [name for name in plane.replicas(WEB) if ".v3." not in name] == []


def test_nothing_is_deleted_by_the_pass_after_a_loss(plane: Plane) -> None:
    """What Git no longer has may be missing in the record alone: it goes with the pass after."""
    plane.begin("acme", "globex")
    assert plane.apply().code == 0
    delete(plane.state / plane.name / "state.db")
    (plane.repo / "tenants/globex.yaml").unlink()
    plane.commit()

    done = plane.apply()
    assert done.effects == (), done.text
    assert len(plane.replicas()) == 2
    done = plane.apply()
    assert done.code == 0, done.text
    assert list(plane.replicas()) == list(plane.replicas(WEB))
    assert plane.tenants() == {"acme"}
    plane.assert_settled()


def test_damaged_store_is_an_error_and_touches_nothing(local: Plane) -> None:
    local.begin("acme")
    assert local.apply().code == 0
    before = local.identities()
    store = local.state / local.name / "state.db"
    delete(store)
    store.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    for arguments in (("plan",), ("apply", "-y"), ("status",), ("destroy", "-y")):
        done = local.run(*arguments)
        assert done.code == 1, done.text
        assert "state.db" in done.err
        assert "Traceback" not in done.err
        assert done.effects == ()
    assert local.identities() == before
