"""One word and the conditions for every way an instance can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import ResourceKey, instance_key, tenant_key
from ctrlplane_gitops.state.observed import Endpoint, Gap, ObservedReplica, ReplicaPhase, Verdict
from ctrlplane_gitops.state.recorded import RecordedInstance, RolloutPhase, RolloutStatus
from ctrlplane_gitops.status.view import (
    Condition,
    InstancePhase,
    InstanceStatus,
    StatusDocument,
    VerdictOf,
    build_status,
    share_same,
)
from tests.plan.plan_kit import App, World, applied, make_desired

WEB = instance_key("acme", "web")
PATH = "acme/web"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
APPS = {PATH: App(replicas=2)}
SILENT = (Gap("local", "connection refused"),)


def look(
    world: World, desired: DesiredState | None = None, verdicts: VerdictOf | None = None
) -> Mapping[str, InstanceStatus]:
    document = build_status("prod", "", desired, world.recorded, world.observed, verdicts or {})
    return {item.key.address: item for item in document.instances}


def see(
    world: World, desired: DesiredState | None = None, verdicts: VerdictOf | None = None
) -> InstanceStatus:
    """The one instance there is."""
    (found,) = look(world, desired, verdicts).values()
    return found


def running() -> World:
    return applied(APPS)


def in_rollout(phase: RolloutPhase, message: str = "") -> World:
    world = running()
    known = world.instances[WEB]
    world.instances[WEB] = replace(known, rollout=RolloutStatus(phase, 2, 1, message=message))
    return world


def dead(*indexes: int) -> World:
    world = running()
    for index in indexes:
        world.kill(PATH, index)
    return world


def suspended() -> World:
    return applied(APPS, suspended=frozenset({"acme"}))


def stopped() -> World:
    return applied({PATH: App(replicas=0)})


def rolled_back() -> World:
    world = running()
    world.fail(make_desired({PATH: App(image="bad", replicas=2)}), PATH, "exited 1")
    return world


def silent(world: World) -> World:
    world.gaps = SILENT
    return world


WANTED = make_desired(APPS)
BAD = make_desired({PATH: App(image="bad", replicas=2)})

CASES = {
    "not applied": (World(), WANTED, "pending"),
    "no deployment": (World(), make_desired({PATH: App(image=None)}), "idle"),
    "no deployment, git unreadable": (applied({PATH: App(image=None)}), None, "idle"),
    "all ready": (running(), WANTED, "running"),
    "git unreadable": (running(), None, "running"),
    "one of two died": (dead(0), WANTED, "degraded"),
    "one of two died, git unreadable": (dead(0), None, "degraded"),
    "all died": (dead(0, 1), WANTED, "down"),
    "zero wanted": (stopped(), make_desired({PATH: App(replicas=0)}), "stopped"),
    "suspended": (suspended(), make_desired(APPS, suspended=frozenset({"acme"})), "suspended"),
    "suspended, git unreadable": (suspended(), None, "suspended"),
    "suspended in Git, still running": (
        running(), make_desired(APPS, suspended=frozenset({"acme"})), "running",
    ),
    "under way": (in_rollout(RolloutPhase.PROGRESSING), WANTED, "progressing"),
    "going back": (in_rollout(RolloutPhase.ROLLING_BACK), WANTED, "rollingBack"),
    "nothing to go back to": (in_rollout(RolloutPhase.FAILED), WANTED, "failed"),
    "wanted version not live": (rolled_back(), BAD, "rolledBack"),
    "wanted version given up in Git": (rolled_back(), WANTED, "running"),
    "silent": (silent(running()), WANTED, "unknown"),
    "silent, never applied": (silent(World()), WANTED, "unknown"),
    "silent, under way": (silent(in_rollout(RolloutPhase.PROGRESSING)), WANTED, "unknown"),
    "gone from Git, still running": (running(), make_desired({}), "running"),
    "store lost": (World(sets=running().sets), WANTED, "running"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_instance_is_one_word(case: str) -> None:
    world, desired, phase = CASES[case]
    assert see(world, desired).phase == phase


def test_every_word_is_said_of_something() -> None:
    assert {phase for _, _, phase in CASES.values()} == {str(item) for item in InstancePhase}


def test_a_rolled_back_instance_that_is_short_of_replicas_is_degraded_first() -> None:
    world = rolled_back()
    world.kill(PATH, 1)
    found = see(world, BAD)
    assert found.phase == "degraded"
    assert [item.type for item in found.conditions] == ["Ready", "RolledBack"]


def test_a_repair_of_the_old_release_does_not_hide_that_the_new_one_failed() -> None:
    world = rolled_back()
    known = world.instances[WEB]
    world.instances[WEB] = replace(known, rollout=RolloutStatus(RolloutPhase.IDLE, 1))
    assert see(world, BAD).phase == "rolledBack"


def test_what_was_rolled_back_is_known_when_the_failed_release_is_no_longer_kept() -> None:
    world = rolled_back()
    del world.releases[WEB][2]
    status = RolloutStatus(RolloutPhase.ROLLED_BACK, 2, 1, message="exited 1")
    world.instances[WEB] = replace(world.instances[WEB], rollout=status)
    found = see(world, BAD)
    assert (found.phase, found.conditions[1].message) == ("rolledBack", "exited 1")


def test_a_failed_release_older_than_the_active_one_is_history() -> None:
    world = rolled_back()
    world.apply(make_desired({PATH: App(image="shop:3", replicas=2)}))
    later = make_desired({PATH: App(image="shop:4", replicas=2)})
    assert see(world, later).phase == "running"


# Numbers


def test_release_and_revision_are_the_active_ones() -> None:
    world = rolled_back()
    found = see(world, BAD)
    assert (found.release, found.revision) == (1, WANTED.instances[WEB].revision)
    assert (see(World(), WANTED).release, see(World(), WANTED).revision) == (None, None)


def test_a_replica_counts_by_its_health_check_and_without_one_by_its_life() -> None:
    world = running()
    bad = {("local", "id-prod.acme.web.v1.1", None): Verdict(False, NOW, 1, "ready: 503")}
    found = see(world, WANTED, bad)
    assert (found.desired, found.ready, found.phase) == (2, 1, "degraded")


def test_what_was_said_of_a_replica_before_it_was_restarted_is_forgotten() -> None:
    world = running()
    _, found = world.find_set(PATH)
    world.change_set(PATH, replicas=tuple(replace(item, started_at=NOW) for item in found.replicas))
    for started_at, ready in ((NOW, 1), (None, 2)):
        bad = {("local", "id-prod.acme.web.v1.1", started_at): Verdict(False, NOW, 1, "503")}
        assert see(world, WANTED, bad).ready == ready


def test_an_address_that_all_replicas_share_is_named_once() -> None:
    world = running()
    _, found = world.find_set(PATH)
    shared = (Endpoint("http", "web-v1.prod-acme.svc", 80),)
    replicas = tuple(replace(item, endpoints=shared) for item in found.replicas)
    assert len(replicas) == 2
    world.change_set(PATH, replicas=replicas)
    assert see(world, WANTED).endpoints == shared


def test_endpoints_are_those_of_ready_replicas() -> None:
    world = dead(0)
    _, found = world.find_set(PATH)
    replicas = tuple(
        replace(item, endpoints=(Endpoint("http", "127.0.0.1", 8000 + item.index),))
        for item in found.replicas
    )
    world.change_set(PATH, replicas=replicas)
    assert see(world, WANTED).endpoints == (Endpoint("http", "127.0.0.1", 8001),)


def test_the_provider_is_where_it_runs_until_it_has_moved() -> None:
    moved = make_desired({PATH: App(replicas=2, provider="docker")})
    world = running()
    assert see(world, moved).provider == "local"
    (row,) = (item for item in applied({PATH: App(provider="docker")}).resources.values()
              if item.key == WEB)  # fmt: skip
    world.resources[WEB] = row
    assert see(world, moved).provider == "local"
    assert see(World(), moved).provider == "docker"


def test_a_gap_at_another_provider_or_of_another_instance_is_no_gap() -> None:
    world = running()
    world.gaps = (Gap("docker", "x"), Gap("local", "x", frozenset({instance_key("zen", "web")})))
    world_shows = replace(world.observed, replica_sets=tuple(world.sets.values()))
    document = build_status("prod", "", WANTED, world.recorded, world_shows, {})
    assert document.instances[0].phase == "running"


def test_instances_come_sorted_and_from_everywhere() -> None:
    world = applied({"zen/web": App(), "acme/web": App()})
    extra = applied({"kim/web": App()})
    world.sets |= extra.sets
    found = look(world, make_desired({"zen/web": App(), "bob/web": App()}))
    assert list(found) == [f"instance/{name}/web" for name in ("acme", "bob", "kim", "zen")]
    assert found["instance/kim/web"].provider == "local"
    assert found["instance/acme/web"].desired == 3


def test_a_tenant_s_suspension_is_remembered_where_git_cannot_be_read() -> None:
    world = suspended()
    assert world.resources[tenant_key("acme")].attributes["suspended"] is True
    assert see(world).desired == 0


# Conditions


def conditions(world: World, desired: DesiredState | None = WANTED) -> list[Condition]:
    return list(see(world, desired).conditions)


def test_ready_says_how_many() -> None:
    assert conditions(running()) == [Condition("Ready", "True", "AllReplicasReady", "2/2 ready")]


def test_not_ready_says_of_each_replica_why() -> None:
    world = dead(0)
    _, found = world.find_set(PATH)
    late = ObservedReplica("web.5", "x", 5, ReplicaPhase.STARTING, reason="pulling")
    world.change_set(PATH, replicas=(*found.replicas[:1], late))
    assert conditions(world) == [
        Condition(
            "Ready",
            "False",
            "ReplicasNotReady",
            "0/2 ready: prod.acme.web.v1.0 stopped (exit 137); web.5 starting pulling",
        )
    ]


def test_not_ready_says_what_the_check_said() -> None:
    verdicts = {("local", "id-prod.acme.web.v1.1", None): Verdict(False, NOW, 1, "ready: 503")}
    (found,) = see(running(), WANTED, verdicts).conditions
    assert found.message == "1/2 ready: prod.acme.web.v1.1 ready: 503"


def test_missing_replicas_leave_nothing_to_explain() -> None:
    world = running()
    _, found = world.find_set(PATH)
    world.change_set(PATH, replicas=found.replicas[:1])
    assert conditions(world)[0].message == "1/2 ready"


@pytest.mark.parametrize(
    ("world", "desired", "condition"),
    [
        (silent(running()), WANTED, Condition("Ready", "Unknown", "NoAnswer", SILENT[0].reason)),
        (World(), WANTED, Condition("Ready", "False", "NotApplied", "not applied yet")),
        (
            World(),
            make_desired({PATH: App(image=None)}),
            Condition("Ready", "False", "NoDeployment", "no deployment names this instance"),
        ),
    ],
    ids=["silent", "not applied", "no deployment"],
)
def test_why_nothing_is_known_or_there(
    world: World, desired: DesiredState, condition: Condition
) -> None:
    assert conditions(world, desired) == [condition]


@pytest.mark.parametrize(
    ("phase", "message", "expected"),
    [
        (
            RolloutPhase.PROGRESSING,
            "waits for 1 more",
            Condition("Progressing", "True", "progressing", "v2: waits for 1 more"),
        ),
        (
            RolloutPhase.ROLLING_BACK,
            "",
            Condition("Progressing", "True", "rollingBack", "v2: under way"),
        ),
        (
            RolloutPhase.FAILED,
            "v2 failed: exited 1",
            Condition("Failed", "True", "RolloutFailed", "v2 failed: exited 1"),
        ),
    ],
)
def test_a_rollout_says_where_it_stands(
    phase: RolloutPhase, message: str, expected: Condition
) -> None:
    assert conditions(in_rollout(phase, message))[1:] == [expected]


def test_rolled_back_says_why_and_ends_when_git_gives_it_up() -> None:
    expected = Condition("RolledBack", "True", "RolloutFailed", "exited 1")
    assert conditions(rolled_back(), BAD)[1:] == [expected]
    assert conditions(rolled_back(), WANTED)[1:] == []


def test_a_release_that_failed_without_a_reason_is_named() -> None:
    world = running()
    world.fail(BAD, PATH, "")
    assert conditions(world, BAD)[1].message == "v2 failed"


def test_a_pin_says_how_to_end_it() -> None:
    world = running()
    world.instances[WEB] = RecordedInstance(WEB, "local", 1, pin=1)
    assert conditions(world)[1:] == [
        Condition(
            "Pinned",
            "True",
            "RolledBackByUser",
            "v1 is pinned; rollback --clear follows Git again",
        )
    ]


def test_a_row_that_stays_as_it_is_is_made_once() -> None:
    web, db = instance_key("acme", "web"), instance_key("acme", "db")
    before, after = (
        StatusDocument("prod", commit, (make_row(db, "here"), make_row(web, provider)))
        for commit, provider in (("1", "here"), ("2", "there"))
    )
    shared = share_same(before, after)
    assert shared == after
    assert shared.instances[0] is before.instances[0]
    assert shared.instances[1] is after.instances[1]


def make_row(key: ResourceKey, provider: str) -> InstanceStatus:
    return InstanceStatus(key, provider, InstancePhase.RUNNING, 1, "r", 1, 1, (), ())
