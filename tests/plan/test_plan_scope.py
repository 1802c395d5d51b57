"""Whom a commit concerns, and that looking at them alone comes to the same plan."""

from dataclasses import replace

from hypothesis import given, settings
from plan_kit import App, Way, World, make_desired
from test_plan_property import ALL_ALLOWED, repos, worlds

from ctrlplane_gitops.plan.scope import find_unsettled
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.recorded import RecordedState, RolloutPhase, RolloutStatus

WEB, DB = instance_key("acme", "web"), instance_key("acme", "db")
SHOP = {"acme/web": App("a", routes=(Way(),)), "acme/db": App("a", secret="one")}


def settled_world() -> World:
    world = World()
    for _ in range(2):
        world.apply(make_desired(SHOP), ALL_ALLOWED)
    return world


def unsettled(**changes: App) -> set[str] | None:
    """The names of those a change of the shop concerns."""
    repo = {**SHOP, **{f"acme/{name}": app for name, app in changes.items()}}
    found = find_unsettled(make_desired(repo), settled_world().recorded)
    return None if found is None else {key.name for key in found}


def test_nobody_is_looked_at_where_nothing_changed() -> None:
    assert unsettled() == set()


def test_another_version_concerns_its_instance_alone() -> None:
    assert unsettled(web=replace(SHOP["acme/web"], image="b")) == {"web"}
    assert unsettled(db=replace(SHOP["acme/db"], replicas=1)) == {"db"}


def test_a_route_concerns_the_instance_behind_it() -> None:
    assert unsettled(web=replace(SHOP["acme/web"], routes=(Way(), Way("api")))) == {"web"}


def test_a_new_instance_concerns_itself() -> None:
    assert unsettled(new=App("a")) == {"new"}


def test_what_goes_or_is_no_instance_concerns_everybody() -> None:
    recorded = settled_world().recorded
    assert unsettled(web=replace(SHOP["acme/web"], routes=())) is None
    assert find_unsettled(make_desired({"acme/db": SHOP["acme/db"]}), recorded) is None
    assert find_unsettled(make_desired(SHOP, suspended=frozenset({"acme"})), recorded) is None
    assert find_unsettled(make_desired({**SHOP, "zen/web": App("a")}), recorded) is None
    assert find_unsettled(make_desired(SHOP), RecordedState()) is None


def test_whoever_is_under_way_or_pinned_is_looked_at() -> None:
    world = settled_world()
    rollout = RolloutStatus(RolloutPhase.ROLLED_BACK)
    world.instances[WEB] = replace(world.instances[WEB], rollout=rollout)
    world.instances[DB] = replace(world.instances[DB], pin=1)
    assert find_unsettled(make_desired(SHOP), world.recorded) == {WEB, DB}


@settings(max_examples=150, deadline=None)
@given(repos(), repos())
def test_where_nobody_drifted_the_plan_is_that_of_everything(
    before: DesiredState, after: DesiredState
) -> None:
    world = World()
    for _ in range(3):
        world.apply(before, ALL_ALLOWED)
    found = find_unsettled(after, world.recorded)
    if found is not None:
        assert world.plan(after, instances=found) == world.plan(after)


@settings(max_examples=150, deadline=None)
@given(worlds(), repos())
def test_whoever_is_looked_at_is_treated_as_by_a_plan_of_everything(
    world: World, desired: DesiredState
) -> None:
    found = find_unsettled(desired, world.recorded)
    if found is not None:
        whole, part = (
            world.plan(desired, ALL_ALLOWED),
            world.plan(desired, ALL_ALLOWED, instances=found),
        )
        assert part.works == tuple(item for item in whole.works if item.instance in found)
