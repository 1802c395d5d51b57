"""A person's rollback holds until it is cleared, whatever Git says meanwhile."""

from __future__ import annotations

import pytest

from tests.e2e.plane import Plane, polling

WEB = "instance/acme/web"
FILE = "tenants/acme.yaml"


def said(version: int) -> str:
    return f"Hello from acme, version {version}\n"


def env(version: int) -> str:
    return f'env: {{VERSION: "{version}"}}'


def begin(plane: Plane) -> Plane:
    """Three releases, the third is live."""
    plane.begin("acme", "globex", replicas=2)
    assert plane.apply().code == 0
    for version in (2, 3):
        plane.edit(FILE, env(version - 1), env(version))
        assert plane.apply().code == 0
    assert plane.answers(WEB) == [said(3)] * 2
    return plane


@pytest.fixture
def running(local: Plane) -> Plane:
    return begin(local)


def test_rollback_returns_to_the_release_before_until_it_is_cleared(plane: Plane) -> None:
    running = begin(plane)
    with polling(running.urls(WEB)[:1]) as poll:
        done = running.run("rollback", WEB, "-y", CTRLPLANE_ACTOR="nina")
    assert done.code == 0, done.text
    assert poll.answers.keys() <= {said(3), said(2)}
    assert running.answers(WEB) == [said(2)] * 2

    plan = running.ok("plan", "--detailed-exitcode")
    assert "No changes." in plan.out
    assert f"{WEB} is pinned to v2" in plan.out
    pins = [item for item in running.status()[WEB]["conditions"] if item["type"] == "Pinned"]
    assert "v2" in pins[0]["message"] and "--clear" in pins[0]["message"]
    assert (running.apply().effects, running.answers(WEB)) == ((), [said(2)] * 2)

    running.edit(FILE, env(3), env(4))
    done = running.apply()
    assert (done.code, done.effects) == (0, ()), done.text
    assert running.answers(WEB) == [said(2)] * 2

    done = running.run("rollback", "deployment/acme/web", "--clear", "-y")
    assert done.code == 0, done.text
    assert running.answers(WEB) == [said(4)] * 2
    running.assert_settled()
    assert "pinned" not in running.ok("plan").text


def test_rollback_to_a_release_by_its_name(running: Plane) -> None:
    others = {name: item for name, item in running.identities().items() if ".globex." in name}
    done = running.run("rollback", WEB, "--to", "v1", "-y")
    assert done.code == 0, done.text
    assert running.answers(WEB) == [said(1)] * 2
    done = running.run("rollback", WEB, "--to", "3", "-y")
    assert done.code == 0, done.text
    assert running.answers(WEB) == [said(3)] * 2
    after = running.identities()
    assert {name: item for name, item in after.items() if ".globex." in name} == others


def test_pinned_instance_is_still_scaled_and_repaired(running: Plane) -> None:
    assert running.run("rollback", WEB, "-y").code == 0
    running.edit(FILE, "replicas: 2", "replicas: 3")
    assert running.apply().code == 0
    assert running.answers(WEB) == [said(2)] * 3
    running.kill(sorted(running.replicas(WEB))[0])
    assert running.apply().code == 0
    assert running.answers(WEB) == [said(2)] * 3
    running.assert_settled()


def test_repeated_rollback_does_nothing(running: Plane) -> None:
    for _ in range(2):
        done = running.run("rollback", WEB, "--to", "v1", "-y")
        assert done.code == 0, done.text
    assert done.effects == ()


def test_rollback_that_makes_no_sense_is_refused(running: Plane) -> None:
    for arguments, words in (
        (("--to", "v9"), ("v9", "kept are: v1, v2, v3")),
        (("--to", "newest"), ("'newest'",)),
        (("--clear",), ("not pinned",)),
        (("--clear", "--to", "v1"), ("exclude",)),
    ):
        done = running.run("rollback", WEB, *arguments, "-y")
        assert (done.code, done.effects) == (64, ()), done.text
        assert all(word in done.err for word in words), done.err
    assert "pinned" not in running.ok("plan").text


def test_rollback_of_what_is_not_there_is_refused(local: Plane) -> None:
    local.begin("acme")
    for address in ("instance/acme/none", "instance/none/web", "tenant/acme", "nonsense", WEB):
        done = local.run("rollback", address, "-y")
        assert (done.code, done.effects) == (64, ()), (address, done.text)
        assert done.err.count("\n") <= 2


def test_rollback_without_a_terminal_asks_for_approval(running: Plane) -> None:
    before = running.identities()
    done = running.run("rollback", WEB)
    assert (done.code, done.effects) == (64, ())
    assert "-y" in done.err
    assert running.identities() == before
    assert "pinned" not in running.ok("plan").text


def test_history_and_audit_say_what_ran_when_and_who_did_it(running: Plane) -> None:
    head = running.git("rev-parse", "HEAD")
    assert running.run("rollback", WEB, "--to", "v1", "-y", CTRLPLANE_ACTOR="nina").code == 0
    releases = running.ok("history", WEB, "--json").json["releases"]
    assert [(item["release"], item["state"]) for item in releases] == [
        (1, "active"),
        (2, "superseded"),
        (3, "superseded"),
    ]
    assert releases[2]["commit"] == head
    assert len({item["commit"] for item in releases}) == 3
    text = running.ok("history", WEB).out
    assert "v1*" in text and "pinned" in text and head[:7] in text

    audit = running.ok("history", "--audit", "--json").json["audit"]
    pins = [item for item in audit if item["action"].startswith("rollback")]
    assert [(item["actor"], item["action"], item["address"]) for item in pins] == [
        ("user:nina", "rollback to v1", WEB)
    ]
    assert pins[0]["commit"] == head
    assert {item["actor"] for item in audit} == {"user:e2e", "user:nina"}
    assert "nina" in running.ok("history", "--audit", WEB).out


def test_pinned_release_outlives_the_history_limit(local: Plane) -> None:
    local.begin("acme")
    local.edit(FILE, "stopTimeout: 5s", "stopTimeout: 5s, revisionHistoryLimit: 1")
    assert local.apply().code == 0
    local.edit(FILE, env(1), env(2))
    assert local.apply().code == 0
    assert local.run("rollback", WEB, "-y").code == 0
    for version in (3, 4, 5):
        local.edit(FILE, env(version - 1), env(version))
        assert (local.apply().code, local.answers(WEB)) == (0, [said(1)])
    assert local.run("rollback", WEB, "--clear", "-y").code == 0
    assert local.answers(WEB) == [said(5)]
    kept = local.ok("history", WEB, "--json").json["releases"]
    assert len(kept) == 2
