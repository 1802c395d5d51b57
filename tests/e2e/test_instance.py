"""What an instance says, done to what runs: scale, order, files, ports, volumes, the end."""

from __future__ import annotations

import hashlib

import pytest

from tests.e2e import specs
from tests.e2e.plane import Plane, polling

WEB = "instance/acme/web"
FILE = "tenants/acme.yaml"
FILES = "  files: [{path: app/server.py, source: app/server.py}]"


def begin(plane: Plane, *edits: tuple[str, str], replicas: int = 1) -> None:
    plane.begin("acme", replicas=replicas)
    for before, after in edits:
        plane.edit(FILE, before, after)
    done = plane.apply()
    assert done.code == 0, done.text


def test_scaling_leaves_the_others_alone(plane: Plane) -> None:
    begin(plane, replicas=2)
    two = plane.identities()
    plane.edit(FILE, "replicas: 2", "replicas: 4")
    with polling(plane.urls(WEB)) as poll:
        done = plane.apply()
        assert done.code == 0, done.text
    four = plane.identities()
    assert len(four) == 4 and two.items() <= four.items()
    assert plane.answers(WEB) == ["Hello from acme, version 1\n"] * 4

    plane.edit(FILE, "replicas: 4", "replicas: 2")
    assert "4 -> 2" in plane.ok("plan").out
    done = plane.apply()
    assert done.code == 0, done.text
    assert plane.identities() == two
    assert poll.failures == []

    plane.edit(FILE, "replicas: 2", "replicas: 0")
    done = plane.apply()
    assert done.code == 0, done.text
    assert plane.replicas() == {}
    assert plane.status()[WEB]["phase"] == "stopped"
    plane.edit(FILE, "replicas: 0", "replicas: 1")
    done = plane.apply()
    assert done.code == 0, done.text
    # It never was another release.
    assert [item["release"] for item in plane.ok("history", WEB, "--json").json["releases"]] == [1]
    plane.assert_settled()


def test_limits_and_checks_change_without_a_restart(plane: Plane) -> None:
    begin(plane)
    before = plane.identities()
    plane.edit(FILE, "memory: 128Mi", "memory: 96Mi")
    done = plane.apply()
    assert done.code == 0, done.text
    plane.edit(FILE, "interval: 500ms", "interval: 400ms")
    done = plane.apply()
    assert done.code == 0, done.text
    plane.edit(FILE, "minReady: 200ms", "minReady: 100ms")
    done = plane.apply()
    assert done.code == 0, done.text
    assert plane.identities() == before
    [replica] = plane.replicas().values()
    assert replica.resources is not None and replica.resources.memory_bytes == 96 << 20
    plane.assert_settled()


def test_changed_file_rolls_those_that_ship_it(plane: Plane) -> None:
    plane.begin("acme", "globex")
    plane.write("conf/app.txt", "one\n")
    where = "/srv/app.txt" if plane.engine.type == "docker" else "conf/app.txt"
    shipped = f", {{path: {where}, source: conf/app.txt}}]"
    plane.edit(FILE, "source: app/server.py}]", f"source: app/server.py}}{shipped}")
    plane.edit("ctrlplane.yaml", "ignore: [app]", "ignore: [app, conf]")
    done = plane.apply()
    assert done.code == 0, done.text
    path = f"/file/{where.removeprefix('/')}"
    assert plane.answers(WEB, path) == [hashlib.sha256(b"one\n").hexdigest()]
    before = plane.identities()
    plane.write("conf/app.txt", "two\n")
    plane.commit()
    plan = plane.run("plan", "--detailed-exitcode")
    assert plan.code == 2
    assert "conf/app.txt" in plan.out or "app.txt" in plan.out, plan.out
    done = plane.apply()
    assert done.code == 0, done.text
    assert plane.answers(WEB, path) == [hashlib.sha256(b"two\n").hexdigest()]
    after = plane.identities()
    moved = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert {name.split(".")[1] for name in moved} == {"acme"}
    plane.assert_settled()


def test_variables_expand_in_the_command(plane: Plane) -> None:
    words = "[python3, app/server.py, $(PORT), $(PORT_HTTP), $(GREETING), $(NONE), $$(PORT)]"
    begin(plane, ("[python3, app/server.py]", words))
    port = plane.urls(WEB)[0].rpartition(":")[2] if plane.engine.type == "process" else "8080"
    line = f"app/server.py|{port}|{port}|Hello from acme|$(NONE)|$(PORT)|"
    find = (
        "from pathlib import Path\n"
        "for path in Path('/proc').glob('[0-9]*/cmdline'):\n"
        "    print(path.read_text().replace(chr(0), '|'))"
    )
    assert line in plane.ok("exec", WEB, "--", "python3", "-c", find).out


def test_volume_outlives_releases_and_the_instance(plane: Plane) -> None:
    where = "/srv/data" if plane.engine.type == "docker" else "data"
    begin(plane, (FILES, f"  volumes: [{{name: data, path: {where}, size: 10Mi}}]\n{FILES}"))
    write = f"import pathlib; pathlib.Path('{where}/note').write_text('kept')"
    read = f"print(open('{where}/note').read())"
    plane.ok("exec", WEB, "--", "python3", "-c", write)

    plane.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')
    done = plane.apply()
    assert done.code == 0, done.text
    assert plane.ok("exec", WEB, "--", "python3", "-c", read).out == "kept\n"

    done = plane.run("destroy", "-y")
    assert done.code == 0, done.text
    assert plane.replicas() == {} and len(plane.processes()) == 0
    done = plane.apply()
    assert done.code == 0, done.text
    assert plane.ok("exec", WEB, "--", "python3", "-c", read).out == "kept\n"
    plane.assert_settled()


def test_destroy_removes_all_but_what_is_protected(plane: Plane) -> None:
    plane.begin("acme", "globex")
    plane.edit(FILE, "  replicas: 1\n", "  replicas: 1\n  protect: true\n")
    done = plane.apply()
    assert done.code == 0, done.text
    kept = {name: item for name, item in plane.identities().items() if ".acme." in name}
    refused = plane.run("destroy")
    assert (refused.code, refused.effects) == (64, ())

    done = plane.run("destroy", "-y")
    assert done.code == 5, done.text
    assert "protect: true" in done.text
    assert plane.identities() == kept
    plan = plane.run("plan", "--destroy")
    assert "0 to destroy" in plan.out and plan.code == 5


def test_dependency_comes_up_first_and_its_failure_holds_the_dependant_back(local: Plane) -> None:
    local.begin()
    local.write(FILE, specs.tenant("acme", "web", "db"))
    text = (local.repo / FILE).read_text()
    head, rest = text.split("kind: Instance", 1)
    rest = rest.replace("  replicas: 1\n", "  replicas: 1\n  dependsOn: [instance/acme/db]\n", 1)
    local.write(FILE, f"{head}kind: Instance{rest}")
    local.commit()
    done = local.apply()
    assert done.code == 0, done.text
    ends = [
        item["address"] for item in local.events("rollout.") if item["type"] != "rollout.started"
    ]
    assert ends == ["instance/acme/db", WEB]
    begun = {item["address"]: item["at"] for item in local.events("rollout.started")}
    [live] = [
        item["at"] for item in local.events("rollout.completed") if item["address"].endswith("db")
    ]
    assert live <= begun[WEB]

    before = local.identities()
    head, sign, rest = (local.repo / FILE).read_text().rpartition("name: db}")
    bad = rest.replace('VERSION: "1"', 'VERSION: "2", HEALTH: "500"')
    bad = bad.replace("healthyDeadline: 20s", "healthyDeadline: 5s")
    head = head.replace('VERSION: "1"', 'VERSION: "2"')
    local.write(FILE, head + sign + bad)
    local.commit()
    done = local.apply()
    assert done.code == 4, done.text
    assert "instance/acme/web: skipped: it depends on instance/acme/db" in done.err
    assert local.identities() == before

    # Removal is the other way round.
    assert local.run("destroy", "-y").code == 0
    gone = [item["address"] for item in local.events("instance.removed")]
    assert gone == [WEB, "instance/acme/db"]


def test_two_ports_are_told_apart(local: Plane) -> None:
    ports = "ports: [{name: http, port: 8080}, {name: admin, port: 9090}]"
    begin(local, ("ports: [{name: http, port: 8080}]", ports))
    show = "import os; print(os.environ['PORT'], os.environ['PORT_HTTP'], os.environ['PORT_ADMIN'])"
    first, http, admin = local.ok("exec", WEB, "--", "python3", "-c", show).out.split()
    assert first == http != admin
    found = {item["port"]: item["url"] for item in local.status()[WEB]["endpoints"]}
    assert found["http"].endswith(f":{http}") and found["admin"].endswith(f":{admin}")


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "removed"])
def test_volume_of_a_removed_instance_is_removed_only_when_asked(local: Plane, keep: bool) -> None:
    begin(local, (FILES, f"  volumes: [{{name: data, path: data}}]\n{FILES}"))
    if not keep:
        local.edit("ctrlplane.yaml", "spec:\n", "spec:\n  prune: {volumes: true}\n")
    write = "import pathlib; pathlib.Path('data/note').write_text('kept')"
    local.ok("exec", WEB, "--", "python3", "-c", write)
    notes = list(local.state.rglob("note"))
    assert notes
    local.write(FILE, specs.TENANT.format(tenant="acme"))
    local.commit()
    done = local.apply()
    assert done.code == 0, done.text
    assert local.replicas() == {}
    assert any(path.exists() for path in notes) is keep
