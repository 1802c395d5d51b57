"""Containers that somebody changes by hand while ``serve`` runs: put back, or only reported."""

from __future__ import annotations

import pytest

from tests.e2e.plane import Engine, Plane, wait_until
from tests.e2e.serve_kit import serving

pytestmark = pytest.mark.docker
WEB, OTHER = "instance/acme/web", "instance/globex/web"
OFTEN = ("--poll", "1h", "--interval", "1s")


@pytest.fixture
def engine(docker_engine: str) -> Engine:
    return Engine("docker", {"host": docker_engine})


@pytest.fixture
def begun(plane: Plane) -> Plane:
    """Drift of acme is corrected, that of globex only reported."""
    plane.begin("acme", "globex")
    plane.edit("tenants/globex.yaml", "{displayName:", "{drift: observe, displayName:")
    return plane


def memory_of(plane: Plane, address: str) -> int:
    [replica] = plane.replicas(address).values()
    with plane.docker() as client:
        limit: int = client.inspect_container(replica.id)["HostConfig"]["Memory"]
    return limit


def shrink(plane: Plane, address: str) -> int:
    """Give its container another limit by hand; the one it had."""
    [replica] = plane.replicas(address).values()
    before = memory_of(plane, address)
    with plane.docker() as client:
        client.update_container(replica.id, mem_limit="48m", memswap_limit="48m")
    return before


def test_what_was_edited_is_put_back_or_reported(begun: Plane) -> None:
    with serving(begun, *OFTEN) as serve:
        serve.wait_for("pass applied", "everything")
        before, identities = shrink(begun, WEB), begun.identities()
        shrink(begun, OTHER)
        wait_until(lambda: memory_of(begun, WEB) == before)
        wait_until(lambda: bool(begun.events("drift.detected")))
        wait_until(lambda: serve.figures()["ctrlplane_drift_corrections_total"] == 1)
        assert memory_of(begun, OTHER) == 48 * 2**20
        assert begun.identities() == identities, "nobody is restarted"
        [event] = begun.events("drift.detected")
        assert event["address"] == OTHER and "memory" in event["message"]
        # Whoever applies by hand wants it so.
        assert begun.apply().code == 0
        assert memory_of(begun, OTHER) == before
        wait_until(lambda: bool(begun.events("drift.resolved")))


def test_a_container_that_is_killed_is_back_and_that_is_told(begun: Plane) -> None:
    with serving(begun, *OFTEN) as serve:
        serve.wait_for("pass applied", "everything")
        [name] = begun.replicas(WEB)
        begun.kill(name)
        wait_until(lambda: bool(begun.events("instance.repaired")))
        assert len(begun.answers(WEB)) == 1
        wait_until(lambda: serve.figures()["ctrlplane_drift_corrections_total"] == 1)
