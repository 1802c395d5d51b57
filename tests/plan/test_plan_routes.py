"""Routes against what the router serves: rows, drift, and who must be left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from plan_kit import App, Way, World, applied, find, make_desired, rows

from ctrlplane_gitops.plan.change import Plan, Policy
from ctrlplane_gitops.plan.render import render_plan
from ctrlplane_gitops.state.desired import RolloutParams, StrategyType
from ctrlplane_gitops.state.key import Kind, ResourceKey, parse_address
from ctrlplane_gitops.state.recorded import RolloutPhase, RolloutStatus
from ctrlplane_gitops.state.traffic import Backend, Member, RouteEntry, RouterState

WEB, ROUTE = "instance/acme/web", "route/acme/web"
SHOP = {"acme/web": App(routes=(Way(),)), "zen/web": App(routes=(Way(),))}
STILL = {"acme/web": App(ports=("http",)), "zen/web": App(routes=(Way(),))}


def works(plan: Plan) -> list[str]:
    return [item.instance.address for item in plan.works]


def drift(plan: Plan) -> dict[str, str]:
    return {item.key.address: item.text for item in plan.drift}


def entry(world: World, address: str = ROUTE) -> RouteEntry:
    return world.served[address][0]


def others(world: World, address: str = ROUTE) -> list[RouteEntry]:
    return [item for name, found in world.served.items() for item in found if name != address]


def bend(world: World, change: Callable[[RouteEntry], RouteEntry]) -> None:
    """Somebody changes what is served of acme's route."""
    world.serve(*others(world), change(entry(world)))


def test_a_plan_is_silent_while_every_route_is_served_as_it_should() -> None:
    world, desired = applied(SHOP), make_desired(SHOP)
    assert [item.members for item in entry(world).backends] == [
        tuple(Member(f"prod.acme.web.v1.{place}", f"127.0.1.{place + 1}", 80) for place in range(3))
    ]
    plan = world.plan(desired)
    assert (plan.changes, plan.works, plan.drift, plan.is_empty) == ((), (), (), True)
    assert plan.unchanged == len(desired.resources)


def without_a_member(found: RouteEntry) -> RouteEntry:
    (only,) = found.backends
    return replace(found, backends=(replace(only, members=only.members[1:]),))


def to_another_address(found: RouteEntry) -> RouteEntry:
    (only,) = found.backends
    first, *rest = only.members
    return replace(found, backends=(replace(only, members=(replace(first, port=81), *rest)),))


def to_an_old_release(found: RouteEntry) -> RouteEntry:
    return replace(found, backends=(Backend(7, 100, found.backends[0].members),))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (without_a_member, "traffic v1 100% (3 replicas) -> v1 100% (2 replicas)"),
        (to_an_old_release, "traffic v1 100% (3 replicas) -> v7 100% (3 replicas)"),
        (to_another_address, "traffic as Git says -> other settings"),
        (lambda found: replace(found, hosts=("x.test",)), "traffic as Git says -> other settings"),
        (
            lambda found: replace(found, backends=(Backend(0, 100),)),
            "traffic v1 100% (3 replicas) -> to nobody",
        ),
    ],
)
def test_what_is_served_otherwise_without_a_commit_is_drift_and_corrected(
    change: Callable[[RouteEntry], RouteEntry], text: str
) -> None:
    world, desired = applied(SHOP), make_desired(SHOP)
    bend(world, change)
    plan = world.plan(desired)
    assert drift(plan) == {ROUTE: text} and plan.drift[0].is_corrected
    assert rows(plan) == {ROUTE: "update"} and find(plan, ROUTE).reason == "drift"
    assert works(plan) == [WEB] and plan.works[0].is_routed
    world.apply(desired)
    assert world.plan(desired).is_empty


def test_a_missing_entry_is_drift() -> None:
    world, desired = applied(SHOP), make_desired(SHOP)
    world.serve(*others(world))
    plan = world.plan(desired)
    assert drift(plan) == {ROUTE: "traffic v1 100% (3 replicas) -> nothing"}
    world.apply(desired)
    assert world.plan(desired).is_empty


def test_a_second_entry_of_a_route_is_drift() -> None:
    world = applied(SHOP)
    extra = replace(entry(world), hosts=("green.test",), variant="preview")
    world.serve(*others(world), entry(world), extra)
    assert works(world.plan(make_desired(SHOP))) == [WEB]


def test_where_replicas_are_missing_as_well_the_routes_only_follow_them() -> None:
    world = applied(SHOP)
    world.kill("acme/web", 0)
    plan = world.plan(make_desired(SHOP))
    assert list(drift(plan)) == [WEB] and rows(plan) == {WEB: "update"}
    assert works(plan) == [WEB]


def test_a_route_that_changed_in_git_is_a_row_and_work_but_no_drift() -> None:
    world = applied(SHOP)
    desired = make_desired({**SHOP, "acme/web": App(routes=(Way(path="/new"),))})
    plan = world.plan(desired)
    assert rows(plan) == {ROUTE: "update"} and find(plan, ROUTE).reason == "specs changed"
    assert not plan.drift and works(plan) == [WEB]
    world.apply(desired)
    assert entry(world).path == "/new" and world.plan(desired).is_empty


def test_a_change_that_no_request_meets_is_written_down_without_work() -> None:
    world = applied(SHOP)
    desired = make_desired({**SHOP, "acme/web": App(routes=(Way(note="hello"),))})
    plan = world.plan(desired)
    assert rows(plan) == {ROUTE: "update"} and not works(plan)


def test_a_new_route_is_work_without_a_restart() -> None:
    world = applied({"acme/web": App(ports=("http",))})
    plan = world.plan(make_desired({"acme/web": App(routes=(Way(),))}))
    assert rows(plan) == {ROUTE: "create"} and works(plan) == [WEB] and not plan.drift


def test_a_removed_route_is_taken_out_and_its_instance_left_alone() -> None:
    world, desired = applied(SHOP), make_desired(STILL)
    plan = world.plan(desired)
    assert rows(plan) == {ROUTE: "delete"} and not works(plan)
    assert plan.unrouted == (parse_address(ROUTE),)
    world.apply(desired)
    assert ROUTE not in world.served and world.plan(desired).is_empty


def test_a_removed_route_says_that_requests_may_still_reach_who_is_rolled_out() -> None:
    world = applied(SHOP)
    plan = world.plan(make_desired({**STILL, "acme/web": App(image="two", ports=("http",))}))
    assert works(plan) == [WEB] and plan.works[0].is_routed


def test_a_route_that_leads_to_another_instance_is_taken_along() -> None:
    both = {"acme/web": App(routes=(Way(),)), "acme/api": App(ports=("http",))}
    moved = {"acme/web": App(ports=("http",)), "acme/api": App(routes=(Way(),))}
    world, desired = applied(both), make_desired(moved)
    assert works(world.plan(desired)) == ["instance/acme/api"]
    world.apply(desired)
    assert [item.instance.name for item in world.served[ROUTE]] == ["api"]
    assert world.plan(desired).is_empty


# Routes that Git has no more and that must stay.

TWO = {"acme/web": App(routes=(Way("api", is_protected=True), Way()))}
ONE = {"acme/web": App(routes=(Way(),))}


@pytest.mark.parametrize(
    ("policy", "more", "code"),
    [
        (Policy(), {}, "protected"),
        (Policy(is_prune_enabled=False), {}, "prune-off"),
        (Policy(), {"is_complete": False}, "incomplete"),
    ],
)
def test_a_route_that_is_held_back_from_its_removal_stays_served_and_follows(
    policy: Policy, more: dict[str, bool], code: str
) -> None:
    world = applied(TWO)
    desired = make_desired(ONE, **more)
    plan = world.plan(desired, policy)
    assert rows(plan) == {"route/acme/api": f"blocked:{code}"}
    assert plan.unrouted == () and not works(plan) and not plan.drift
    world.apply(make_desired({"acme/web": App(image="two", routes=(Way(),))}, **more), policy)
    (kept,), (own,) = world.served["route/acme/api"], world.served[ROUTE]
    assert kept.backends == own.backends and kept.backends[0].release == 2


def test_a_work_that_is_not_about_a_removed_route_does_not_take_it_out() -> None:
    world = applied({"acme/web": App(routes=(Way("api"), Way()))})
    policy = Policy(targets=(WEB, "deployment/acme/web"))
    world.apply(make_desired({"acme/web": App(image="two", routes=(Way(),))}), policy)
    assert set(world.served) == {ROUTE, "route/acme/api"}


def test_a_frozen_tenant_keeps_its_routes() -> None:
    world = applied(SHOP)
    plan = world.plan(make_desired({"zen/web": SHOP["zen/web"]}, frozen={"acme": "broken"}))
    assert rows(plan) == {"tenant/acme": "blocked:frozen"} and plan.unrouted == ()
    assert not works(plan)


STRAY = RouteEntry(
    ResourceKey(Kind.ROUTE, "kim", "old"),
    ResourceKey(Kind.INSTANCE, "kim", "web"),
    ("old.test",),
    "/",
    (Backend(1, 100, (Member("prod.kim.web.v1.0", "127.0.0.1", 80),)),),
)


@pytest.mark.parametrize(
    ("policy", "more", "row"),
    [
        (Policy(), {}, "delete"),
        (Policy(is_prune_enabled=False), {}, "blocked:prune-off"),
        (Policy(), {"is_complete": False}, "blocked:incomplete"),
        (Policy(), {"frozen": {"kim": "broken"}}, None),
    ],
)
def test_what_nobody_knows_is_taken_out_only_where_that_is_allowed(
    policy: Policy, more: dict[str, bool], row: str | None
) -> None:
    world = applied(SHOP)
    world.serve(*others(world, ""), STRAY)
    plan = world.plan(make_desired(SHOP, **more), policy)
    assert rows(plan).get("route/kim/old") == row
    assert plan.unrouted == ((STRAY.key,) if row == "delete" else ())
    if row == "delete":
        assert find(plan, "route/kim/old").reason == "is served, but Git has nothing of the name"


# A router that stopped, does not answer, or is another.


def test_a_router_that_stopped_is_drift_and_started_again() -> None:
    world, desired = applied(SHOP), make_desired(SHOP)
    before = world.router
    world.router = RouterState(generation="a generation", gap="it does not run", is_stopped=True)
    plan = world.plan(desired)
    assert drift(plan) == {"controlplane/prod": "the memory router does not run"}
    assert plan.starts_router and not plan.is_empty and not works(plan)
    narrow = world.plan(desired, Policy(targets=("instance/zen/*",)))
    assert not narrow.starts_router and not narrow.drift[0].is_corrected
    assert not world.plan(desired, Policy(is_destroy=True)).starts_router
    world.router = before
    assert world.plan(desired).is_empty


def test_a_router_that_was_never_told_anything_is_no_drift() -> None:
    world = World(router=RouterState(gap="it does not run", is_stopped=True))
    plan = world.plan(make_desired(SHOP))
    assert not plan.drift and not plan.starts_router
    assert works(plan) == [WEB, "instance/zen/web"]


def test_a_route_that_is_new_while_the_router_is_stopped_is_work_at_once() -> None:
    """With its last route it was stopped, and what it is started for must be served."""
    world, desired = applied(STILL), make_desired(SHOP)
    world.router = RouterState(generation="a generation", gap="it does not run", is_stopped=True)
    plan = world.plan(desired)
    assert works(plan) == [WEB] and rows(plan) == {ROUTE: "create"}
    assert list(drift(plan)) == ["controlplane/prod"]


def test_a_router_that_was_stopped_with_its_last_route_is_no_drift() -> None:
    bare = {"acme/web": App(ports=("http",))}
    world = applied(bare)
    world.router = RouterState(generation="a generation", gap="it does not run", is_stopped=True)
    plan = world.plan(make_desired(bare))
    assert plan.is_empty and not plan.drift


SILENT = RouterState(generation="a generation", gap="no answer")


def test_a_router_that_is_nobodys_to_stop_may_run_for_nobody() -> None:
    world = applied({"acme/web": App()})
    desired = make_desired({"acme/web": App()})
    world.serve()
    assert "nothing is routed" in drift(world.plan(desired))["controlplane/prod"]
    world.serve(is_lasting=True)
    assert world.plan(desired).is_empty and not world.plan(desired).drift


def test_a_silent_router_holds_back_exactly_those_with_routes() -> None:
    apps = {"acme/web": App(routes=(Way(),)), "acme/db": App()}
    world = applied(apps)
    world.router = SILENT
    assert world.plan(make_desired(apps)).is_empty
    newer = {"acme/web": App(image="two", routes=(Way(),)), "acme/db": App(image="two")}
    plan = world.plan(make_desired(newer))
    assert works(plan) == ["instance/acme/db"]
    assert rows(plan) == {
        "deployment/acme/db": "update", "deployment/acme/web": "blocked:router-gap",
    }  # fmt: skip
    assert "router: it did not answer: no answer" in [item.summary for item in plan.diagnostics]
    assert "router-gap" in {item.blocked.code for item in plan.blocked if item.blocked}
    assert "the router did not answer: no answer" in render_plan(plan)


@pytest.mark.parametrize("is_destroy", [False, True])
def test_nobody_whom_a_silent_router_may_serve_is_removed(is_destroy: bool) -> None:
    apps = {"acme/web": App(routes=(Way(),)), "acme/db": App(), "zen/web": App()}
    world = applied(apps)
    world.router = SILENT
    plan = world.plan(
        make_desired({"zen/web": App()}), Policy(is_destroy=is_destroy, max_delete=20)
    )
    assert WEB not in works(plan) and "instance/acme/db" in works(plan)
    assert plan.unrouted == ()
    assert rows(plan)[ROUTE] == rows(plan)[WEB] == "blocked:router-gap"
    assert rows(plan)["tenant/acme"] == "blocked:router-gap"


@pytest.mark.parametrize(("router", "what"), [("haproxy", "of type haproxy"), (None, "gone")])
def test_a_router_that_is_another_is_refused_while_it_serves_routes(
    router: str | None, what: str
) -> None:
    world = applied(SHOP)
    apps = SHOP if router else {path: App(ports=("http",)) for path in SHOP}
    (refusal,) = world.plan(make_desired(apps, router=router)).refusals
    assert refusal.code == "router-changed"
    routes = "2 routes are served by a memory router"
    assert refusal.reason == f"{routes}, and spec.router is {what} now"
    bare = {"acme/web": App()}
    assert not applied(bare).plan(make_desired(bare, router=router)).refusals


# The rest of the pass.


def test_adopting_what_runs_after_the_store_was_lost_changes_no_route() -> None:
    before = applied(SHOP)
    world = World(sets=before.sets, router=before.router)
    world.serve(*others(before, ""), STRAY)
    plan = world.plan(make_desired(SHOP))
    assert not works(plan) and plan.unrouted == ()
    assert rows(plan)[ROUTE] == "adopt" and rows(plan)["route/kim/old"] == "blocked:identity-lost"
    world.apply(make_desired(SHOP))
    assert rows(world.plan(make_desired(SHOP))) == {"route/kim/old": "delete"}


def test_a_certificate_is_written_down_only_once_the_router_has_it() -> None:
    def shop(value: str) -> dict[str, App]:
        return {"acme/web": App(routes=(Way(certificate=value),))}

    world, desired = applied(shop("one")), make_desired(shop("two"))
    plan = world.plan(desired)
    assert [item.key.address for item in plan.certificates] == ["secret/acme/site"]
    assert "secret/acme/site" not in {item.key.address for item in plan.records.resources}
    assert rows(plan) == {"secret/acme/site": "update"} and not works(plan) and not plan.is_empty
    world.apply(desired)
    assert world.plan(desired).is_empty


@pytest.mark.parametrize(
    ("app", "is_unrouted"),
    [
        (App(image="two", ports=("http",)), True),
        (App(image="two", routes=(Way(),)), False),
        (App(image="two"), False),
    ],
)
def test_without_a_route_the_plan_says_that_addresses_change(app: App, is_unrouted: bool) -> None:
    world = applied({"acme/web": replace(app, image="one")})
    plan = world.plan(make_desired({"acme/web": app}))
    preview = find(plan, "deployment/acme/web").rollout
    assert preview is not None and preview.is_unrouted is is_unrouted
    assert ("addresses" in render_plan(plan)) is is_unrouted


def test_a_rollout_that_waits_says_for_what() -> None:
    params = RolloutParams(StrategyType.BLUE_GREEN, is_auto_promote=False)
    apps = {"acme/web": App(routes=(Way(),), params=params)}
    desired = make_desired({"acme/web": App(image="two", routes=(Way(),), params=params)})
    world = applied(apps)
    work = world.plan(desired).works[0]
    assert work.release is not None
    key = work.instance
    world.releases[key][2] = work.release
    status = RolloutStatus(RolloutPhase.PROGRESSING, 2, 1, message="waits for promote")
    world.instances[key] = replace(world.instances[key], rollout=status)
    row = find(world.plan(desired), "deployment/acme/web")
    assert row.reason.startswith("rollout of v2 waits for promote")
