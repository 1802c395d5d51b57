"""Safety and convergence for all small worlds."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from plan_kit import App, Way, World, make_desired

from ctrlplane_gitops.plan.as_json import render_json
from ctrlplane_gitops.plan.change import ChangeAction, Policy
from ctrlplane_gitops.plan.markdown import render_markdown
from ctrlplane_gitops.plan.planfile import compare, dump_plan, load_plan
from ctrlplane_gitops.plan.render import render_plan
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import Kind
from ctrlplane_gitops.state.observed import Gap
from ctrlplane_gitops.state.traffic import Backend, RouterState

APPS = st.builds(
    App,
    image=st.sampled_from(["a", "b", None]),
    replicas=st.integers(0, 3),
    provider=st.sampled_from(["local", "docker"]),
    secret=st.sampled_from([None, "one"]),
    is_protected=st.booleans(),
    ports=st.just(("http",)),
    routes=st.sampled_from(
        [(), (Way(),), (Way("api", is_protected=True), Way()), (Way(certificate="one"),)]
    ),
)


def name_routes_once(apps: dict[str, App]) -> dict[str, App]:
    """Of two instances of a tenant with one route the first has it."""
    taken: set[tuple[str, str]] = set()
    found = {}
    for path, app in apps.items():
        tenant = path.partition("/")[0]
        routes = tuple(way for way in app.routes if (tenant, way.name) not in taken)
        taken |= {(tenant, way.name) for way in routes}
        found[path] = replace(app, routes=routes)
    return found


REPOS = st.dictionaries(
    st.sampled_from(["acme/web", "acme/db", "zen/web", "zen/db", "kim/web"]), APPS, max_size=5
).map(name_routes_once)
SUSPENDED = st.frozensets(st.sampled_from(["acme", "zen"]))
ALL_ALLOWED = Policy(is_empty_allowed=True, max_delete=100)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A world after two applies and whatever happened to it since."""
    world = World()
    for _ in range(draw(st.integers(0, 2))):
        world.apply(make_desired(draw(REPOS), suspended=draw(SUSPENDED)), ALL_ALLOWED)
    for place in sorted(world.sets):
        fate = draw(st.sampled_from(["fine", "fine", "gone", "dead", "double", "stray"]))
        found = world.sets[place]
        path = f"{place[0].tenant}/{place[0].name}"
        if fate == "gone":
            del world.sets[place]
        elif fate == "dead":
            world.kill(path, 0)
        elif fate == "double":
            world.sets[place[0], place[1], 9] = replace(found, release=9, revision="old")
        elif fate == "stray":
            world.instances.pop(place[0], None)
    _bend(draw, world)
    if draw(st.integers(0, 5)) == 0:
        world = World(sets=world.sets, router=world.router)
    return world


def _bend(draw: st.DrawFn, world: World) -> None:
    """Something happens to the router."""
    entries = world.served_entries
    if not entries:
        return
    fate = draw(st.sampled_from(["fine", "fine", "gone", "bent", "stray", "stopped", "reset"]))
    first, *rest = entries
    if fate == "gone":
        world.serve(*rest)
    elif fate == "bent":
        world.serve(replace(first, backends=(Backend(8, 100),)), *rest)
    elif fate == "stray":
        world.serve(replace(first, key=first.key._replace(name="stray")), *entries)
    elif fate == "stopped":
        world.router = RouterState(generation="g", gap="it does not run", is_stopped=True)
    elif fate == "reset":
        world.router = RouterState(gap="it does not run", is_stopped=True)


@st.composite
def repos(draw: st.DrawFn) -> DesiredState:
    return make_desired(draw(REPOS), suspended=draw(SUSPENDED))


@settings(max_examples=150, deadline=None)
@given(worlds(), repos())
def test_planning_again_after_applying_is_empty(world: World, desired: DesiredState) -> None:
    for _ in range(3):  # a lost store takes a pass to write down what is there
        world.apply(desired, ALL_ALLOWED)
    plan = world.plan(desired, ALL_ALLOWED)
    assert plan.is_empty, render_plan(plan)
    assert not plan.drift and not plan.adopted
    assert all(item.blocked and item.blocked.code == "protected" for item in plan.changes)


@settings(max_examples=100, deadline=None)
@given(worlds(), repos(), st.booleans())
def test_nobody_whom_a_silent_router_serves_is_touched(
    world: World, desired: DesiredState, is_destroy: bool
) -> None:
    served = {item.instance for item in world.served_entries}
    routes = {key: row for key, row in world.resources.items() if key.kind is Kind.ROUTE}
    world.router = RouterState(generation="g", gap="no answer")
    plan = world.plan(desired, replace(ALL_ALLOWED, is_destroy=is_destroy))
    assert not any(work.is_routed for work in plan.works)
    known = {(key.tenant, row.attributes["instance"]) for key, row in routes.items()}
    for work in plan.works:
        place = (work.instance.tenant, work.instance.name)
        assert work.instance not in served or place not in known


@settings(max_examples=100, deadline=None)
@given(worlds(), repos())
def test_every_route_of_git_is_served_once_and_what_is_protected_stays(
    world: World, desired: DesiredState
) -> None:
    kept = {key for key, row in world.resources.items()
            if row.is_protected and key.kind is Kind.ROUTE}  # fmt: skip
    before = {item.key for item in world.served_entries}
    for _ in range(3):
        assert kept.isdisjoint(world.apply(desired, ALL_ALLOWED).unrouted)
    served = [item.key for item in world.served_entries]
    assert len(served) == len(set(served))
    wanted = {route.key for item in desired.instances.values() if item.template
              for route in item.routes}  # fmt: skip
    assert wanted <= set(served) <= wanted | before


@settings(max_examples=100, deadline=None)
@given(worlds(), repos(), st.sampled_from(["local", "docker"]), st.booleans())
def test_a_gap_never_yields_a_delete_or_work_on_its_provider(
    world: World, desired: DesiredState, provider: str, is_destroy: bool
) -> None:
    there = {place[0] for place in world.sets if place[1] == provider}
    recorded = {key for key, item in world.instances.items() if item.provider == provider}
    world.gaps = (Gap(provider, "no answer"),)
    plan = world.plan(desired, replace(ALL_ALLOWED, is_destroy=is_destroy))
    for work in plan.works:
        assert work.provider != provider and provider not in work.sweep
        assert work.instance not in recorded
    gone = {item.key for item in plan.changes if item.action is ChangeAction.DELETE}
    gone -= {item.key for item in plan.blocked}
    assert not gone & (recorded & there)


@settings(max_examples=100, deadline=None)
@given(worlds(), repos(), st.sampled_from(["acme", "zen"]))
def test_a_frozen_tenant_never_yields_a_delete_or_work(
    world: World, desired: DesiredState, tenant: str
) -> None:
    desired = replace(
        desired,
        resources={key: row for key, row in desired.resources.items() if key.tenant != tenant},
        instances={key: row for key, row in desired.instances.items() if key.tenant != tenant},
        frozen={tenant: "broken"},
    )
    plan = world.plan(desired, ALL_ALLOWED)
    assert not [item for item in plan.works if item.instance.tenant == tenant]
    assert not [item for item in plan.changes if item.key.tenant == tenant and not item.blocked]
    assert not [key for key in plan.records.removed_resources if key.tenant == tenant]


@settings(max_examples=100, deadline=None)
@given(worlds(), repos(), st.integers(0, 8))
def test_deletes_never_exceed_the_cap(world: World, desired: DesiredState, cap: int) -> None:
    plan = world.plan(desired, Policy(max_delete=cap))
    deleted = [item for item in plan.changes if item.action is ChangeAction.DELETE]
    assert sum(1 for item in deleted if not item.blocked) <= cap
    assert len(plan.records.removed_resources) <= cap
    assert sum(1 for item in plan.works if item.release is None) <= cap


@settings(max_examples=100, deadline=None)
@given(worlds(), repos())
def test_what_is_protected_never_goes(world: World, desired: DesiredState) -> None:
    kept = {key for key, row in world.resources.items() if row.is_protected}
    for policy in (ALL_ALLOWED, Policy(is_destroy=True)):
        plan = world.plan(desired, policy)
        gone = {item.instance for item in plan.works if item.desired is None}
        assert not kept & gone


@settings(max_examples=60, deadline=None)
@given(worlds(), repos())
def test_every_plan_can_be_shown_saved_and_found_identical(
    world: World, desired: DesiredState
) -> None:
    plan = world.plan(desired)
    assert compare(load_plan(dump_plan(plan, {})), world.plan(desired)) == ()
    for text in (render_plan(plan), render_markdown(plan), render_json(plan)):
        assert text.endswith("\n")
    assert {item.instance for item in plan.works} == set(plan.dependencies)
    assert all(item.instance.kind is Kind.INSTANCE for item in plan.works)
