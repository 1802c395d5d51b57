"""What ran before it was ours: taken over as it is, and from then on like everything else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e import specs
from tests.e2e.plane import Engine, Plane, wait_until

pytestmark = pytest.mark.docker

WEB = "instance/acme/web"
PASSWORD = "hunter22-of-the-shop"
VALUES = {"ACME_WEB_DATABASE_URL": f"postgres://shop:{PASSWORD}@db/shop"}


class Shop:
    """A container somebody started by hand, on an engine of the test's."""

    def __init__(self, plane: Plane, client: Any) -> None:
        self.plane, self.client = plane, client
        self.name = f"shop-of-{plane.name}"
        self._made: list[str] = []

    def start(self, image: str = "ctrlplane-test-app:1", **options: Any) -> str:
        """Its id. ``options`` are the engine's for the host."""
        command = options.pop("command", None)
        host: dict[str, Any] = {"port_bindings": {8080: ("127.0.0.1",)}, "mem_limit": "64m"}
        made = self.client.create_container(
            image,
            command=command,
            name=self.name,
            environment={"GREETING": "Hello", "DATABASE_URL": VALUES["ACME_WEB_DATABASE_URL"]},
            ports=[(8080, "tcp")],
            host_config=self.client.create_host_config(**{**host, **options}),
        )["Id"]
        self._made.append(made)
        self.client.start(made)
        return str(made)

    def started_at(self, id: str) -> str:
        return str(self.client.inspect_container(id)["State"]["StartedAt"])

    def is_there(self, id: str) -> bool:
        return id in {row["Id"] for row in self.client.containers(all=True)}

    def markers(self) -> list[dict[str, Any]]:
        labels = [f"ctrlplane.dev/plane={self.plane.name}", "ctrlplane.dev/adopts"]
        return list(self.client.containers(all=True, filters={"label": labels}))

    def close(self) -> None:
        for id in self._made:
            if self.is_there(id):
                self.client.remove_container(id, force=True)


@pytest.fixture
def shop(make_plane: Callable[[Engine], Plane], docker_engine: str) -> Iterator[Shop]:
    plane = make_plane(Engine("docker", {"host": docker_engine}))
    plane.begin()
    with plane.docker() as client:
        shop = Shop(plane, client)
        yield shop
        shop.close()


def test_a_container_is_adopted_as_it_is_and_the_plan_is_empty(shop: Shop) -> None:
    plane, id = shop.plane, shop.start()
    before = shop.started_at(id)
    done = plane.ok("adopt", shop.name, WEB)
    assert "not restarted" in done.out and "ACME_WEB_DATABASE_URL" in done.err
    plane.environ |= VALUES
    plane.commit()

    plan = plane.ok("plan", "--detailed-exitcode")
    assert "No changes." in plan.out, plan.out
    applied = plane.apply()
    assert (applied.code, applied.effects) == (0, ()), applied.text
    plane.assert_settled()
    plane.assert_settled()
    assert shop.started_at(id) == before
    status = plane.status()[WEB]
    assert (status["phase"], status["release"], status["replicas"]["ready"]) == ("running", 1, 1)
    assert plane.answers(WEB, "/") == ["1"]
    [replica] = plane.replicas().values()
    assert replica.id == id


def test_no_secret_of_it_is_written_anywhere(shop: Shop) -> None:
    plane = shop.plane
    shop.start()
    plane.ok("adopt", shop.name, WEB, "--print")
    plane.ok("adopt", shop.name, WEB)
    plane.environ |= VALUES
    assert plane.apply().code == 0
    written = [path for path in plane.root.rglob("*") if path.is_file()]
    assert (plane.repo / "tenants/acme/web.yaml") in written
    assert not [path for path in written if PASSWORD.encode() in path.read_bytes()]
    assert PASSWORD not in "".join(plane.said)
    assert PASSWORD not in str(shop.markers())


def test_print_touches_nothing(shop: Shop) -> None:
    plane = shop.plane
    shop.start()
    done = plane.ok("adopt", shop.name, WEB, "--print")
    assert "kind: Deployment" in done.out
    assert done.effects == () and shop.markers() == []
    assert not (plane.repo / "tenants").exists()


def test_the_next_release_takes_its_place(shop: Shop) -> None:
    plane, id = shop.plane, shop.start()
    plane.ok("adopt", shop.name, WEB)
    plane.environ |= VALUES
    assert plane.apply().code == 0
    plane.edit("tenants/acme/web.yaml", "ctrlplane-test-app:1", "ctrlplane-test-app:2")
    done = plane.apply()
    assert done.code == 0, done.text
    assert list(plane.replicas()) == [f"{plane.name}.acme.web.v2.0"]
    wait_until(lambda: plane.answers(WEB) == ["2"])
    assert not shop.is_there(id) and shop.markers() == []
    plane.assert_settled()


def test_it_can_be_returned_to(shop: Shop) -> None:
    plane = shop.plane
    shop.start()
    plane.ok("adopt", shop.name, WEB)
    plane.environ |= VALUES
    assert plane.apply().code == 0
    plane.edit("tenants/acme/web.yaml", "ctrlplane-test-app:1", "ctrlplane-test-app:2")
    assert plane.apply().code == 0
    done = plane.run("rollback", WEB, "-y")
    assert done.code == 0, done.text
    assert list(plane.replicas()) == [f"{plane.name}.acme.web.v1.0"]
    wait_until(lambda: plane.answers(WEB) == ["1"])


def test_it_is_still_ours_after_the_store_was_lost(shop: Shop) -> None:
    plane, id = shop.plane, shop.start()
    plane.ok("adopt", shop.name, WEB)
    plane.environ |= VALUES
    assert plane.apply().code == 0
    for path in (plane.state / plane.name).glob("state.db*"):
        path.unlink()
    done = plane.apply()
    assert (done.code, done.effects) == (0, ()), done.text
    plane.assert_settled()
    assert plane.replicas()[f"{plane.name}.acme.web.v1.0"].id == id


def test_a_marker_that_was_cleared_away_does_not_start_it_twice(shop: Shop) -> None:
    plane, id = shop.plane, shop.start()
    plane.ok("adopt", shop.name, WEB)
    plane.environ |= VALUES
    assert plane.apply().code == 0
    [marker] = shop.markers()
    shop.client.remove_container(marker["Id"])
    assert plane.replicas() == {}

    done = plane.apply()
    assert done.code == 0, done.text
    [replica] = plane.replicas().values()
    assert replica.id == id
    assert [effect for effect in done.effects if effect.startswith("start:")] == []
    plane.assert_settled()


def test_what_git_never_had_is_not_removed(shop: Shop) -> None:
    """A pass from elsewhere comes before the commit."""
    plane, id = shop.plane, shop.start()
    plane.write("tenants/globex.yaml", specs.TENANT.format(tenant="globex"))
    assert plane.apply().code == 0
    plane.ok("adopt", shop.name, WEB)
    file = plane.repo / "tenants/acme/web.yaml"
    text = file.read_text()
    file.unlink()
    done = plane.apply()
    assert "Git has never had it" in done.text
    assert shop.is_there(id) and shop.markers()

    file.write_text(text)
    plane.environ |= VALUES
    assert plane.apply().code == 0
    file.unlink()
    assert plane.apply().code == 0
    assert not shop.is_there(id) and shop.markers() == []


def test_one_that_died_is_replaced_by_ours(shop: Shop) -> None:
    plane, id = shop.plane, shop.start()
    plane.ok("adopt", shop.name, WEB)
    plane.environ |= VALUES
    assert plane.apply().code == 0
    plane.kill(f"{plane.name}.acme.web.v1.0")
    assert plane.apply().code == 0
    [replica] = plane.replicas().values()
    assert replica.id != id and not shop.is_there(id) and shop.markers() == []
    plane.assert_settled()


def test_its_neighbours_find_it_by_the_instances_name(shop: Shop) -> None:
    plane, id = shop.plane, shop.start()
    plane.ok("adopt", shop.name, WEB)
    found = shop.client.inspect_container(id)["NetworkSettings"]["Networks"]
    assert "web" in found[f"{plane.name}.acme"]["Aliases"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"binds": ["/srv/shop:/data"]}, "/data is /srv/shop: .* empty volume"),
        ({"cap_add": ["CHOWN"]}, "CapAdd"),
        ({"network_mode": "host", "port_bindings": None}, "network is 'host'"),
        ({"command": ["python3", "-c", "pass", "--password=x1"]}, "argument 4 .* secret"),
    ],
    ids=["volume", "capability", "network", "argument"],
)
def test_what_specs_cannot_say_is_not_adopted(
    shop: Shop, options: dict[str, Any], reason: str
) -> None:
    plane = shop.plane
    shop.start(**options)
    done = plane.run("adopt", shop.name, WEB)
    assert done.code == 64 and re.search(reason, done.err), done.text
    assert not (plane.repo / "tenants").exists() and shop.markers() == []


def test_what_is_adopted_is_not_adopted_again(shop: Shop) -> None:
    plane = shop.plane
    shop.start()
    plane.ok("adopt", shop.name, WEB)
    for address, reason in ((WEB, "described already"), ("instance/acme/two", "has been adopted")):
        done = plane.run("adopt", shop.name, address)
        assert done.code == 64 and reason in done.err, done.text
    assert not (plane.repo / "tenants/acme/two.yaml").exists()
    assert len(shop.markers()) == 1


def test_a_file_that_is_there_is_left_alone(shop: Shop) -> None:
    plane = shop.plane
    shop.start()
    plane.write("notes.yaml", "# theirs\n")
    done = plane.run("adopt", shop.name, WEB, "--file", "notes.yaml")
    assert done.code == 64 and "is there already" in done.err, done.text
    assert (plane.repo / "notes.yaml").read_text() == "# theirs\n" and shop.markers() == []


def test_a_name_that_is_a_strangers_leaves_nothing_behind(shop: Shop) -> None:
    plane = shop.plane
    shop.start()
    name = f"{plane.name}.acme.web.v1.0"
    stranger = shop.client.create_container("ctrlplane-test-app:1", name=name)["Id"]
    try:
        done = plane.run("adopt", shop.name, WEB)
        assert done.code == 1 and "not ours" in done.err, done.text
        assert not (plane.repo / "tenants/acme/web.yaml").exists()
    finally:
        shop.client.remove_container(stranger)


def test_who_cannot_adopt_says_so(local: Plane) -> None:
    local.begin()
    done = local.run("adopt", "1234", WEB)
    assert done.code == 1 and "no capability 'adopt'" in done.err, done.text


def test_an_unknown_container_is_named(shop: Shop) -> None:
    done = shop.plane.run("adopt", "nobody-of-this-name", WEB)
    assert done.code == 1 and "nobody-of-this-name" in done.err, done.text
