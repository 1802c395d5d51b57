"""What a plan says about single situations."""

from dataclasses import replace

import pytest
from plan_kit import MIB, NOW, App, World, applied, find, make_desired, rows

from ctrlplane_gitops.plan.change import ABSENT, ChangeAction, FieldChange, Policy
from ctrlplane_gitops.plan.order import order_layers
from ctrlplane_gitops.state.desired import PrunePolicy, Resources, RolloutParams, StrategyType
from ctrlplane_gitops.state.key import instance_key, parse_address
from ctrlplane_gitops.state.observed import Gap
from ctrlplane_gitops.state.recorded import RolloutPhase, RolloutStatus
from ctrlplane_gitops.state.template import ReleaseState

WEB = instance_key("acme", "web")


def test_everything_is_created_when_nothing_is_there() -> None:
    plan = World().plan(make_desired({"acme/web": App()}))
    assert rows(plan) == {
        "tenant/acme": "create",
        "instance/acme/web": "create",
        "deployment/acme/web": "create",
    }
    (work,) = plan.works
    assert work.release is not None
    assert (work.release.number, work.is_new_release, work.active) == (1, True, None)
    assert (work.release.commit, work.release.created_at) == ("3f9c2ab4d5e6f708", NOW)
    assert {item.key.address for item in work.records} == {
        "instance/acme/web",
        "deployment/acme/web",
    }
    assert plan.counts == (3, 0, 0)


def test_the_order_in_which_instances_are_known_changes_nothing() -> None:
    """Deployments that are not there yet leave nothing but records to be written."""
    apps = {f"{tenant}/{name}": App(None) for tenant in ("acme", "zen") for name in ("db", "web")}
    plans = [
        World().plan(make_desired(dict(order))) for order in (apps.items(), reversed(apps.items()))
    ]
    assert plans[0] == plans[1] and len(plans[0].records.resources) > 4


def test_plan_after_apply_is_empty_three_times_in_a_row() -> None:
    world, desired = World(), make_desired({"acme/web": App(), "acme/db": App(image=None)})
    world.apply(desired)
    for _ in range(3):
        plan = world.apply(desired)
        assert plan.is_empty and not plan.changes and not plan.works
    assert plan.unchanged == len(desired.resources)


def test_another_image_is_a_new_release_that_can_return_to_the_active_one() -> None:
    plan = applied({"acme/web": App()}).plan(make_desired({"acme/web": App(image="shop:2")}))
    (work,) = plan.works
    assert work.release is not None
    assert (work.release.number, work.is_new_release, work.active) == (2, True, 1)
    change = find(plan, "deployment/acme/web")
    assert change.reason == "image changed" and change.rollout is not None
    assert FieldChange(("image",), "shop:1.4.1", "shop:2") in change.fields
    assert "revision" in {item.path[0] for item in change.fields}


def test_env_of_the_instance_updates_its_deployment_too() -> None:
    desired = make_desired({"acme/web": App(env={"LOG": "debug"})})
    plan = applied({"acme/web": App()}).plan(desired)
    assert rows(plan) == {"instance/acme/web": "update", "deployment/acme/web": "update"}
    assert find(plan, "deployment/acme/web").reason == "env LOG changed"


def test_a_rotated_secret_is_named_and_its_digest_is_not_shown() -> None:
    world = applied({"acme/web": App(secret="one")})
    plan = world.plan(make_desired({"acme/web": App(secret="two")}))
    assert find(plan, "deployment/acme/web").reason == "secret/acme/token rotated"
    assert find(plan, "secret/acme/token").fields == (
        FieldChange(("valueDigest",), "(sensitive value)", "(sensitive value)"),
    )


def test_a_strategy_change_restarts_nothing() -> None:
    params = RolloutParams(type=StrategyType.RECREATE)
    plan = applied({"acme/web": App()}).plan(make_desired({"acme/web": App(params=params)}))
    assert rows(plan) == {"deployment/acme/web": "update"}
    assert not plan.works and len(plan.records.resources) == 1


def test_a_release_of_the_same_revision_is_used_again() -> None:
    world = applied({"acme/web": App()})
    world.apply(make_desired({"acme/web": App(image="shop:2")}))
    (work,) = world.plan(make_desired({"acme/web": App()})).works
    assert work.release is not None and work.release.number == 1 and not work.is_new_release


def test_scaling_in_git_is_an_update_of_the_instance_alone() -> None:
    plan = applied({"acme/web": App()}).plan(make_desired({"acme/web": App(replicas=5)}))
    assert rows(plan) == {"instance/acme/web": "update"}
    assert len(plan.works) == 1 and not plan.drift


def test_a_dead_replica_is_drift_and_is_corrected() -> None:
    world, desired = applied({"acme/web": App()}), make_desired({"acme/web": App()})
    world.kill("acme/web", 1)
    plan = world.plan(desired)
    (drift,) = plan.drift
    assert drift.text == "replicas 3 -> 2, replica prod.acme.web.v1.1 exited 137"
    assert find(plan, "instance/acme/web").fields == (FieldChange(("replicas",), 2, 3),)
    world.apply(desired)
    assert world.plan(desired).is_empty


def test_limits_that_moved_are_drift() -> None:
    world = applied({"acme/web": App(memory=256 * MIB)})
    _, found = world.find_set("acme/web")
    live = tuple(replace(i, resources=Resources(None, 512 * MIB)) for i in found.replicas)
    world.change_set("acme/web", replicas=live)
    plan = world.plan(make_desired({"acme/web": App(memory=256 * MIB)}))
    assert plan.drift[0].text == "memory 256Mi -> 512Mi"
    assert plan.works[0].update_resources


def test_limits_a_provider_does_not_show_are_set_when_git_changes_them() -> None:
    world = applied({"acme/web": App(memory=256 * MIB)})
    _, found = world.find_set("acme/web")
    world.change_set("acme/web", replicas=tuple(replace(i, resources=None) for i in found.replicas))
    assert world.plan(make_desired({"acme/web": App(memory=256 * MIB)})).is_empty
    assert world.plan(make_desired({"acme/web": App(memory=MIB)})).works[0].update_resources


def test_leftovers_of_another_release_are_work() -> None:
    world, desired = applied({"acme/web": App()}), make_desired({"acme/web": App()})
    _, found = world.find_set("acme/web")
    world.sets[WEB, "local", 7] = replace(found, release=7, revision="old")
    plan = world.plan(desired)
    assert len(plan.works) == 1 and "leftover replicas of v7" in plan.drift[0].text
    assert plan.works[0].sweep == ()


def test_moving_to_another_provider_sweeps_the_old_one() -> None:
    plan = applied({"acme/web": App()}).plan(make_desired({"acme/web": App(provider="docker")}))
    (work,) = plan.works
    assert (work.provider, work.sweep, work.active) == ("docker", ("local",), 1)
    assert "moves from provider local to docker" in find(plan, "deployment/acme/web").reason
    moved = find(plan, "instance/acme/web")
    assert (moved.action, moved.reason) == (ChangeAction.REPLACE, "moves to provider docker")


def test_a_rollout_under_way_goes_on() -> None:
    world, desired = applied({"acme/web": App()}), make_desired({"acme/web": App(image="shop:2")})
    world.apply(desired)
    status = RolloutStatus(RolloutPhase.PROGRESSING, 2, 1)
    world.instances[WEB] = replace(world.instances[WEB], release=1, rollout=status)
    plan = world.plan(desired)
    assert "rollout of v2 goes on" in find(plan, "deployment/acme/web").reason
    assert plan.works[0].active == 1 and not plan.drift


def test_a_failed_release_is_blocked_until_git_changes_or_it_is_retried() -> None:
    world, desired = applied({"acme/web": App()}), make_desired({"acme/web": App(image="bad")})
    world.fail(desired, "acme/web", "exited 1 at once")
    plan = world.plan(desired)
    assert rows(plan) == {"deployment/acme/web": "blocked:bad-release"}
    blocked = find(plan, "deployment/acme/web").blocked
    assert blocked and "exited 1 at once" in blocked.reason and "--retry-failed" in blocked.hint
    assert plan.is_empty
    (work,) = world.plan(desired, Policy(is_retry_failed=True)).works
    assert work.release is not None
    assert (work.release.number, work.release.state) == (2, ReleaseState.PENDING)
    (work,) = world.plan(make_desired({"acme/web": App(image="good")})).works
    assert work.release is not None and work.release.number == 3


def test_while_a_release_is_bad_the_active_one_is_repaired_and_scaled() -> None:
    world = applied({"acme/web": App()})
    world.fail(make_desired({"acme/web": App(image="bad")}), "acme/web")
    plan = world.plan(make_desired({"acme/web": App(image="bad", replicas=4)}))
    assert rows(plan) == {
        "instance/acme/web": "update",
        "deployment/acme/web": "blocked:bad-release",
    }
    (work,) = plan.works
    assert work.release is not None and work.release.number == 1


def test_a_bad_release_older_than_the_active_one_gets_a_new_number() -> None:
    world, bad = applied({"acme/web": App()}), make_desired({"acme/web": App(image="bad")})
    world.fail(bad, "acme/web")
    world.apply(make_desired({"acme/web": App(image="good")}))
    (work,) = world.plan(bad).works
    assert work.release is not None and work.release.number == 4 and work.is_new_release


def test_a_pin_wins_over_git_and_is_said() -> None:
    world = applied({"acme/web": App()})
    desired = make_desired({"acme/web": App(image="shop:2")})
    world.apply(desired)
    world.instances[WEB] = replace(world.instances[WEB], pin=1)
    plan = world.plan(desired)
    assert plan.works[0].release is not None and plan.works[0].release.number == 1
    assert "pinned to v1" in find(plan, "deployment/acme/web").reason
    assert [item.code for item in plan.diagnostics] == ["pinned"]


def test_a_suspension_is_not_drift() -> None:
    world = applied({"acme/web": App()})
    desired = make_desired({"acme/web": App()}, suspended=frozenset({"acme"}))
    plan = world.plan(desired)
    assert find(plan, "instance/acme/web").reason == "tenant acme is suspended" and not plan.drift
    world.apply(desired)
    assert not world.sets and world.plan(desired).is_empty


def test_a_lost_store_adopts_everything_and_does_nothing() -> None:
    world, desired = applied({"acme/web": App()}), make_desired({"acme/web": App()})
    lost = World(sets=dict(world.sets))
    plan = lost.plan(desired)
    assert set(rows(plan).values()) == {"adopt"} and plan.is_empty and plan.adopted == 3
    lost.apply(desired)
    assert lost.sets == world.sets and not lost.plan(desired).changes


def test_a_lost_store_neither_deletes_nor_moves_what_it_does_not_know() -> None:
    world = applied({"acme/web": App(), "acme/old": App()})
    lost = World(sets=dict(world.sets))
    desired = make_desired({"acme/web": App(image="shop:2")})
    plan = lost.plan(desired)
    assert rows(plan)["instance/acme/old"] == "blocked:identity-lost"
    assert rows(plan)["deployment/acme/web"] == "blocked:identity-lost"
    assert not plan.works
    lost.apply(desired)
    (first, second) = lost.plan(desired).works
    assert first.desired is None and second.active == 1


def test_an_unrecorded_instance_that_runs_is_adopted_and_repaired() -> None:
    world, desired = applied({"acme/web": App()}), make_desired({"acme/web": App()})
    del world.instances[WEB]
    assert rows(world.plan(desired))["instance/acme/web"] == "adopt"
    world.kill("acme/web", 0)
    assert len(world.plan(desired).works) == 1


def test_a_removed_instance_goes_with_its_deployment_and_tenant() -> None:
    world = applied({"acme/web": App(), "zen/web": App()})
    desired = make_desired({"zen/web": App()})
    plan = world.apply(desired)
    assert set(rows(plan).values()) == {"delete"} and plan.counts.destroy == 3
    assert plan.works[0].desired is None and plan.works[0].sweep == ("local",)
    assert world.plan(desired).is_empty and len(world.sets) == 1


def test_an_instance_that_lost_its_deployment_runs_nothing() -> None:
    world, desired = applied({"acme/web": App()}), make_desired({"acme/web": App(image=None)})
    plan = world.apply(desired)
    assert rows(plan) == {"deployment/acme/web": "delete"}
    assert not world.sets and world.plan(desired).is_empty


def test_volumes_are_removed_only_when_the_plane_says_so() -> None:
    world, kept = applied({"acme/web": App(), "zen/a": App()}), {"zen/a": App()}
    assert not world.plan(make_desired(kept)).works[0].is_volumes
    prune = PrunePolicy(is_volumes=True)
    assert world.plan(make_desired(kept, prune=prune)).works[0].is_volumes


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("instance/acme/web", {"instance/acme/web", "deployment/acme/web"}),
        ("deployment/acme/*", {"instance/acme/web", "deployment/acme/web"}),
        ("tenant/zen", {"tenant/zen"}),
    ],
)
def test_targets_take_an_instance_and_its_deployment_together(
    target: str, expected: set[str]
) -> None:
    desired = make_desired({"acme/web": App(), "zen/web": App()})
    assert set(rows(World().plan(desired, Policy(targets=(target,))))) == expected


def test_a_target_that_matches_nothing_is_said() -> None:
    plan = World().plan(make_desired({"acme/web": App()}), Policy(targets=("tenant/acmee",)))
    assert [item.code for item in plan.diagnostics] == ["unknown-target"] and plan.is_empty


def test_works_wait_for_what_they_depend_on_and_deletes_go_in_reverse() -> None:
    apps = {"acme/web": App(depends_on=("instance/acme/db",)), "acme/db": App()}
    db = instance_key("acme", "db")
    assert order_layers(World().plan(make_desired(apps)).dependencies) == ((db,), (WEB,))
    plan = applied(apps).plan(make_desired({}), Policy(is_destroy=True))
    assert order_layers(plan.dependencies) == ((WEB,), (db,))


def test_a_protection_switched_on_is_recorded() -> None:
    world, desired = (
        applied({"acme/web": App()}),
        make_desired({"acme/web": App(is_protected=True)}),
    )
    plan = world.apply(desired)
    assert find(plan, "instance/acme/web").fields == (FieldChange(("protect",), False, True),)
    assert world.resources[WEB].is_protected and world.plan(desired).is_empty


def test_a_gap_blocks_changes_but_not_those_of_other_providers() -> None:
    world = applied({"acme/web": App(), "acme/api": App(provider="docker")})
    world.gaps = (Gap("docker", "connection refused"),)
    apps = {"acme/web": App(image="2"), "acme/api": App(image="2", provider="docker")}
    plan = world.plan(make_desired(apps))
    assert rows(plan) == {
        "deployment/acme/web": "update",
        "deployment/acme/api": "blocked:gap",
    }
    assert [item.instance for item in plan.works] == [WEB]
    assert plan.gaps == world.gaps


def test_created_fields_have_no_before() -> None:
    change = find(World().plan(make_desired({"acme/web": App()})), "instance/acme/web")
    assert all(item.before is ABSENT for item in change.fields)


def test_a_deployment_under_another_name_only_replaces_the_record() -> None:
    world, desired = applied({"acme/web": App()}), make_desired({"acme/web": App()})
    old = parse_address("deployment/acme/web")
    renamed = parse_address("deployment/acme/shop")
    moved = replace(desired.resources[old], key=renamed)
    kept = {key: item for key, item in desired.resources.items() if key != old}
    instances = {WEB: replace(desired.instances[WEB], deployment=moved)}
    desired = replace(desired, resources={**kept, renamed: moved}, instances=instances)
    plan = world.plan(desired)
    assert not plan.works and plan.records.removed_resources == (old,)


def test_a_first_release_that_failed_leaves_nothing_to_run() -> None:
    world, desired = World(plane_id="pla_1"), make_desired({"acme/web": App(image="bad")})
    world.fail(desired, "acme/web")
    plan = world.apply(desired)
    assert rows(plan)["deployment/acme/web"] == "blocked:bad-release" and not plan.works
    assert set(rows(world.plan(desired))) == {"deployment/acme/web"}
    (work,) = world.plan(make_desired({"acme/web": App(image="good")})).works
    assert work.release is not None and (work.release.number, work.active) == (2, None)


def test_a_rollback_under_way_is_finished_before_the_release_is_blocked() -> None:
    world, desired = applied({"acme/web": App()}), make_desired({"acme/web": App(image="bad")})
    world.fail(desired, "acme/web")
    status = RolloutStatus(RolloutPhase.ROLLING_BACK, 2, 1)
    world.instances[WEB] = replace(world.instances[WEB], rollout=status)
    (work,) = world.plan(desired).works
    assert work.release is not None and (work.release.number, work.active) == (2, 1)
    assert "rollback from v2 goes on" in work.reason
