"""Nothing vanishes by accident."""

from dataclasses import replace

import pytest
from plan_kit import App, World, applied, find, make_desired, rows

from ctrlplane_gitops.plan.change import Plan, Policy
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.observed import Gap

MANY = {f"acme/web-{index:02}": App() for index in range(12)}
FEW = {"acme/web": App(), "zen/web": App()}


def refused(plan: Plan) -> list[str]:
    return [item.code for item in plan.refusals]


def deletes(plan: Plan) -> int:
    assert not [item for item in plan.works if item.desired is None and plan.refusals]
    return plan.counts.destroy


def test_an_empty_repo_is_refused() -> None:
    plan = applied(FEW).plan(make_desired({}))
    assert refused(plan) == ["empty-desired"] and deletes(plan) == 0
    assert "--allow-empty" in plan.refusals[0].hint


def test_an_empty_repo_is_obeyed_when_allowed() -> None:
    plan = applied(MANY).plan(make_desired({}), Policy(is_empty_allowed=True))
    assert not plan.refusals and deletes(plan) == 25


def test_too_many_deletes_are_refused() -> None:
    plan = applied(MANY | FEW).plan(make_desired(FEW))
    assert refused(plan) == ["prune-limit"] and deletes(plan) == 0
    assert "--max-delete 24" in plan.refusals[0].hint


@pytest.mark.parametrize(("limit", "count"), [(24, 24), (23, 0), (0, 0)])
def test_max_delete_is_a_count_that_replaces_the_spec(limit: int, count: int) -> None:
    plan = applied(MANY | FEW).plan(make_desired(FEW), Policy(max_delete=limit))
    assert deletes(plan) == count


def test_prune_is_blocked_when_a_target_did_not_answer() -> None:
    world = applied(FEW)
    world.gaps = (Gap("local", "connection refused"),)
    plan = world.plan(make_desired({"acme/web": App()}))
    assert set(rows(plan).values()) == {"blocked:gap"} and not plan.works


def test_what_is_protected_stays_with_its_deployment_and_tenant() -> None:
    world = applied({"acme/web": App(is_protected=True), "zen/web": App()})
    plan = world.plan(make_desired({"zen/web": App()}))
    assert rows(plan) == dict.fromkeys(
        ("tenant/acme", "instance/acme/web", "deployment/acme/web"), "blocked:protected"
    )
    assert not plan.works


def test_a_protected_tenant_keeps_all_it_has() -> None:
    world = applied(FEW)
    key = next(key for key in world.resources if key.address == "tenant/acme")
    world.resources[key] = replace(world.resources[key], is_protected=True)
    plan = world.plan(make_desired({"zen/web": App()}))
    assert set(rows(plan).values()) == {"blocked:protected"}


def test_destroy_takes_everything_but_what_is_protected() -> None:
    world = applied(MANY | {"zen/web": App(is_protected=True)})
    desired = make_desired(MANY | {"zen/web": App(is_protected=True)})
    plan = world.plan(desired, Policy(is_destroy=True))
    assert not plan.refusals and plan.counts == (0, 0, 25)
    assert rows(plan)["instance/zen/web"] == "blocked:protected"


def test_a_frozen_tenant_keeps_its_rows() -> None:
    world = applied(FEW)
    plan = world.plan(make_desired({"zen/web": App()}, frozen={"acme": "acme.yaml is broken"}))
    assert rows(plan) == {"tenant/acme": "blocked:frozen"} and plan.is_empty


def test_nothing_is_pruned_when_a_file_could_not_be_read() -> None:
    plan = applied(FEW).plan(make_desired({"zen/web": App()}, is_complete=False))
    assert set(rows(plan).values()) == {"blocked:incomplete"} and not plan.works


def test_a_deployment_that_may_stand_in_an_unread_file_keeps_running() -> None:
    plan = applied(FEW).plan(
        make_desired({"acme/web": App(image=None), "zen/web": App()}, is_complete=False)
    )
    assert rows(plan) == {"deployment/acme/web": "blocked:incomplete"} and not plan.works


def test_pruning_switched_off_deletes_nothing() -> None:
    plan = applied(FEW).plan(make_desired({"zen/web": App()}), Policy(is_prune_enabled=False))
    assert deletes(plan) == 0 and not plan.refusals


def test_a_fleet_that_vanished_from_a_good_listing_is_not_recreated() -> None:
    world = applied(MANY)
    world.sets.clear()
    plan = world.plan(make_desired(MANY))
    assert refused(plan) == ["mass-recreate"] and not plan.works
    allowed = world.plan(make_desired(MANY), Policy(is_recreate_allowed=True))
    assert len(allowed.works) == 12 and not allowed.refusals


def test_one_survivor_makes_it_ordinary_drift() -> None:
    world = applied(MANY)
    for place in list(world.sets)[1:]:
        del world.sets[place]
    plan = world.plan(make_desired(MANY))
    assert not plan.refusals and len(plan.works) == len(plan.drift) == 11


def test_a_provider_that_is_no_longer_configured_blocks_what_runs_there() -> None:
    world = applied({"acme/web": App(provider="docker"), "zen/web": App()})
    desired = make_desired({"zen/web": App()})
    local = {"local": desired.plane.providers["local"]}
    plan = world.plan(replace(desired, plane=replace(desired.plane, providers=local)))
    assert find(plan, "instance/acme/web").blocked is not None and not plan.works


def test_what_carries_our_labels_and_is_not_in_git_is_removed() -> None:
    world = applied(FEW)
    stray = applied({"acme/stray": App()})
    world.sets.update(stray.sets)
    plan = world.apply(make_desired(FEW))
    assert rows(plan) == {"instance/acme/stray": "delete"} and len(world.sets) == 2


def test_an_empty_world_is_not_refused() -> None:
    assert not World().plan(make_desired({})).refusals


def test_what_was_adopted_waits_for_its_commit() -> None:
    world = applied(FEW)
    place, runs = next(iter(world.sets.items()))
    key = instance_key("new", "web")
    world.sets[key, *place[1:]] = replace(runs, instance=key, is_adopted=True)
    plan = world.plan(make_desired(FEW))
    assert rows(plan)["instance/new/web"] == "blocked:adopted" and not plan.works

    # Once a pass has written it down it is like any other.
    world.instances[key] = replace(world.instances[place[0]], key=key)
    assert rows(world.plan(make_desired(FEW)))["instance/new/web"] == "delete"
