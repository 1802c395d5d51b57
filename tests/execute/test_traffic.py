"""The router shared by all works: one table, written once, and nobody stopped who is in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.execute.part import Ending
from ctrlplane_gitops.network.conformance_kit import make_certificate
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.state.action import Action, ScaleReplicaSet
from ctrlplane_gitops.state.key import parse_address
from ctrlplane_gitops.state.recorded import RolloutPhase
from tests.execute.execute_kit import Scene, states
from tests.execute.road_kit import QUICK, ROUTE, SECOND, WEB, Road, acme, served_by_v, shop
from tests.plan.plan_kit import App, Way, make_desired

MANY = [f"t{number}/web" for number in range(12)]
NO_PRUNE = Policy(is_prune_enabled=False)
SITE = parse_address("secret/acme/site")


@pytest.fixture
def road(scene: Scene) -> Road:
    return Road(scene)


def test_what_several_instances_want_in_one_turn_is_one_write(scene: Scene, road: Road) -> None:
    scene.run(make_desired({path: shop() for path in MANY}))
    before = len(road.router.tables)
    result = scene.run(make_desired({path: shop("shop:2") for path in MANY}))
    assert set(states(result).values()) == {"done"}
    # Each wants two tables: both releases share, then the new one has everything. Not all of them
    # are as quick.
    writes = len(road.router.tables) - before
    assert 2 <= writes <= len(MANY)
    assert result.effects == 4 * len(MANY) + writes


def test_nobody_is_stopped_who_may_still_be_sent_requests(scene: Scene, road: Road) -> None:
    scene.run(acme())
    assert road.members() == served_by_v(1)
    assert states(scene.run(acme("shop:2", replicas=3))) == {"acme/web": "done"}
    assert road.members() == served_by_v(2, 3) and road.early == []
    assert scene.replicas() == {"acme/web v2": 3}
    assert scene.plan(acme("shop:2", replicas=3))[0].is_empty


def test_a_write_has_an_intent_that_is_closed_with_what_came_of_it(
    scene: Scene, road: Road
) -> None:
    scene.run(acme())
    notes = [item for item in scene.intents() if item[0] == "controlplane/prod"]
    assert [item[1:] for item in notes] == [("write the route table", 1, "live")] * 2


def test_shifts_are_told(scene: Scene, road: Road) -> None:
    scene.run(acme())
    scene.run(acme("shop:2"))
    texts = [item.message for item in scene.told if item.type == "traffic.shifted"]
    assert texts == ["v1 100%", "v1 50%, v2 50%", "v2 100%"]
    assert "router.started" in scene.event_types("controlplane/prod")


@pytest.mark.parametrize("fault", [{"failApplies": [2, 3]}, {"loseReplies": [1, 2, 3]}])
def test_a_write_that_fails_or_whose_reply_is_lost_is_made_again(
    scene: Scene, fault: dict[str, list[int]]
) -> None:
    road = Road(scene, **fault)
    assert states(scene.run(acme())) == {"acme/web": "done"}
    assert states(scene.run(acme("shop:2"))) == {"acme/web": "done"}
    assert road.members() == served_by_v(2)
    assert road.early == [] and road.open_intents == []


def test_a_table_that_takes_its_time_to_be_served_is_waited_for(scene: Scene) -> None:
    road = Road(scene, liveAfter=7)
    scene.run(acme())
    assert states(scene.run(acme("shop:2"))) == {"acme/web": "done"}
    assert road.members() == served_by_v(2) and road.early == []


def test_a_table_that_is_never_served_lets_nobody_be_stopped(scene: Scene, road: Road) -> None:
    scene.run(acme())
    road.router.faults.is_never_live = True
    started = scene.clock.now()
    params = replace(QUICK, progress_deadline=60 * SECOND)
    result = scene.run(acme("shop:2", params=params))
    (work,) = result.results
    # What it still serves is the table before, so the way back is over at once.
    assert work.state == "rolledBack" and "within 1m" in work.message
    assert scene.clock.now() - started < 70 * SECOND
    assert scene.replicas() == {"acme/web v1": 2} and road.early == []
    assert any("the router: it still serves the table before" in text for text in scene.waits)


def secured(value: str, *, is_bad: bool = False) -> App:
    return shop(routes=(Way(certificate=value), Way("api")))


def test_a_table_refused_for_good_fails_only_who_changed_it(
    scene: Scene, road: Road, tmp_path: Path
) -> None:
    scene.run(make_desired({"zen/web": shop()}))
    desired = make_desired({"acme/web": secured("one"), "zen/web": shop("shop:2")})
    result = scene.run(desired)
    # Both wanted something in the refused table; whoever is not at fault wants it again.
    by_name = {item.instance.tenant: item for item in result.results}
    assert by_name["acme"].state == "failed"
    assert "secret/acme/site: the certificate has no value" in by_name["acme"].message
    assert road.entries() == [] and road.early == []
    scene.secrets = {SITE: make_certificate(tmp_path, "acme.test")}
    assert set(states(scene.run(desired)).values()) == {"done"}
    assert road.members("route/zen/web") == served_by_v(2, name="zen.web")
    assert road.members() == sorted(served_by_v(1) + served_by_v(2, name="zen.web"))


def test_a_route_that_is_refused_is_its_instances_affair_alone(scene: Scene, road: Road) -> None:
    route = parse_address(ROUTE)
    road.router.faults.refused = {route: "NotAllowedByListeners"}
    desired = make_desired({"acme/web": shop(), "zen/web": shop()})
    result = scene.run(desired)
    assert states(result) == {"acme/web": "failed", "zen/web": "done"}
    [message] = [item.message for item in result.results if item.state == "failed"]
    assert message.startswith("route/acme/web: NotAllowedByListeners")

    road.router.faults.refused = {}
    assert set(states(scene.run(desired)).values()) == {"done"}


def test_who_changed_nothing_since_the_last_good_table_goes_on(scene: Scene, road: Road) -> None:
    """The other tenant's rollout is between two writes when the bad one comes."""
    scene.run(make_desired({"zen/web": shop()}))
    # So long that a busy machine has the bad one written before.
    params = replace(QUICK, min_ready=120 * SECOND)
    desired = make_desired(
        {"acme/web": secured("one"), "zen/web": shop("shop:2", params=params)},
    )
    result = scene.run(desired)
    assert states(result) == {"acme/web": "failed", "zen/web": "done"}
    assert road.members() == served_by_v(2, name="zen.web") and road.early == []


def test_a_certificate_that_rotates_is_written_and_recorded_once_it_is_live(
    scene: Scene, road: Road, tmp_path: Path
) -> None:
    scene.secrets = {SITE: make_certificate(tmp_path, "acme.test")}
    one = make_desired({"acme/web": shop(routes=(Way(certificate="one"),))})
    two = make_desired({"acme/web": shop(routes=(Way(certificate="two"),))})
    scene.run(one)
    recorded = scene.store.load_state().resources[SITE]
    count, generation = len(road.router.tables), road.router.observe().generation

    scene.secrets = {SITE: make_certificate(tmp_path, "acme.test")}
    road.router.faults.fail_applies = set(range(1000))
    result = scene.run(two)
    assert result.results == () and "does not serve" in str(result.errors)
    assert scene.store.load_state().resources[SITE] == recorded
    assert not scene.plan(two)[0].is_empty

    road.router.faults.fail_applies = set()
    assert scene.run(two).errors == ()
    assert road.router.observe().generation != generation
    assert road.router.tables[count:] == [road.router.tables[count - 1]] * (
        len(road.router.tables) - count
    )
    assert scene.store.load_state().resources[SITE] != recorded
    assert scene.plan(two)[0].is_empty


def test_a_certificate_that_cannot_be_read_holds_up_nobody_else(
    scene: Scene, road: Road, tmp_path: Path
) -> None:
    """Its tenant is frozen then, and stays served as it was."""
    scene.secrets = {SITE: make_certificate(tmp_path, "acme.test")}
    scene.run(make_desired({"acme/web": secured("one"), "zen/web": shop()}))
    before = road.entries()
    scene.secrets = {}
    desired = make_desired({"zen/web": shop("shop:2")}, frozen={"acme": "no value"})
    assert states(scene.run(desired)) == {"zen/web": "done"}
    assert road.members("route/zen/web") == served_by_v(2, name="zen.web")
    assert road.entries() == before


def test_members_whose_address_changed_are_brought_up_to_date(scene: Scene, road: Road) -> None:
    scene.run(acme())
    (stale,) = road.router.served.entries
    (only,) = stale.backends
    moved = tuple(replace(item, port=item.port + 1) for item in only.members)
    table = replace(
        road.router.served, entries=(replace(stale, backends=(replace(only, members=moved),)),)
    )
    road.router.apply(table, {})
    assert states(scene.run(acme())) == {"acme/web": "done"}
    assert road.router.served.entries == (stale,)
    assert [action for action in scene.local.addresses if action == WEB][2:] == []


def test_a_table_that_a_killed_apply_left_half_served_is_written_again(
    scene: Scene, road: Road
) -> None:
    scene.run(acme())
    road.router.faults.is_never_live = True
    (entry,) = road.router.served.entries
    table = replace(road.router.served, entries=(replace(entry, path="/half"),))
    road.router.apply(table, {})
    road.router.faults.is_never_live = False
    scene.run(acme())
    assert road.router.served.entries == (entry,)
    assert scene.plan(acme())[0].is_empty


def test_a_router_that_died_is_started_with_the_table_it_had(scene: Scene, road: Road) -> None:
    scene.run(acme())
    served = road.router.served
    road.router.kill()
    assert scene.plan(acme())[0].starts_router
    result = scene.run(acme())
    assert result.results == () and road.router.served == served
    assert scene.plan(acme())[0].is_empty


# Removals.


def test_a_removed_route_is_taken_out_and_the_router_stopped_with_the_last(
    scene: Scene, road: Road
) -> None:
    two = {"acme/web": shop(), "zen/web": shop()}
    scene.run(make_desired(two))
    one = make_desired({**two, "acme/web": shop(routes=(), ports=("http",))})
    assert scene.run(one).results == ()
    assert road.entries() == [] and road.members() == served_by_v(1, name="zen.web")
    assert scene.replicas() == {"acme/web v1": 2, "zen/web v1": 2}
    none = make_desired({path: shop(routes=(), ports=("http",)) for path in two})
    scene.run(none)
    assert road.router.observe().is_stopped and road.effects[-1] == "stop:router"
    assert scene.plan(none)[0].is_empty
    scene.run(make_desired(two))
    assert road.members("route/zen/web") == served_by_v(1, name="zen.web")


@pytest.mark.parametrize("is_gone", [True, False], ids=["instance", "deployment"])
def test_what_is_removed_is_drained_first(scene: Scene, road: Road, is_gone: bool) -> None:
    both = {"acme/web": shop(), "zen/web": shop()}
    scene.run(make_desired(both))
    road.router.faults.in_flight = dict.fromkeys(served_by_v(1), 1)
    gone: list[tuple[list[str], float]] = []
    started = scene.clock.now()

    def watch(action: Action) -> None:
        waited = (scene.clock.now() - started).total_seconds()
        gone.append((road.members(ROUTE), waited))

    scene.local.before = watch
    rest = {"zen/web": both["zen/web"]}
    if not is_gone:
        rest["acme/web"] = App(None, ports=("http",), routes=())
    scene.run(make_desired(rest))
    # Its requests never end, so it takes all of the time it is given.
    assert gone[0][0] == [] and 30 <= gone[0][1] < 33
    assert scene.replicas() == {"zen/web v1": 2}
    assert road.members() == served_by_v(1, name="zen.web")


def test_a_route_removed_together_with_a_new_release_lets_nobody_be_stopped_early(
    scene: Scene, road: Road
) -> None:
    scene.run(acme())
    road.router.faults.in_flight = dict.fromkeys(served_by_v(1), 1)
    started = scene.clock.now()
    result = scene.run(acme("shop:2", routes=(), ports=("http",)))
    assert states(result) == {"acme/web": "done"}
    assert scene.clock.now() - started >= QUICK.drain_timeout
    assert road.members() == [] and scene.replicas() == {"acme/web v2": 2}


def test_a_protected_route_that_git_has_no_more_follows_the_release(
    scene: Scene, road: Road
) -> None:
    scene.run(acme(routes=(Way("api", is_protected=True), Way())))
    result = scene.run(acme("shop:2"))
    assert states(result) == {"acme/web": "done"} and road.early == []
    assert road.members("route/acme/api") == road.members(ROUTE) == served_by_v(2)
    scene.run(acme("shop:3", routes=(), ports=("http",)), policy=NO_PRUNE)
    assert road.members("route/acme/api") == road.members(ROUTE) == served_by_v(3)
    assert road.early == []


def test_a_route_that_leads_to_another_instance_is_served_all_the_time(
    scene: Scene, road: Road
) -> None:
    web, plain = shop(), shop(routes=(), ports=("http",))
    scene.run(make_desired({"acme/web": web, "acme/api": plain}))
    assert states(scene.run(make_desired({"acme/web": plain, "acme/api": web}))) == {
        "acme/api": "done"
    }
    assert road.members(ROUTE) == served_by_v(1, name="acme.api")
    assert scene.plan(make_desired({"acme/web": plain, "acme/api": web}))[0].is_empty


# A router that cannot be had, and an apply that ends early.


def test_a_router_that_cannot_be_started_fails_exactly_those_with_routes(
    scene: Scene, road: Road
) -> None:
    def refuse() -> bool:
        raise UsageError("there is no program to start")

    road.router.ensure_running = refuse  # type: ignore[method-assign]
    result = scene.run(make_desired({"acme/web": shop(), "acme/db": App(params=QUICK)}))
    assert states(result) == {"acme/db": "done", "acme/web": "failed"}
    assert [str(item.error) for item in result.results if item.error] == [
        "there is no program to start"
    ]
    assert result.errors == ()


def test_what_ran_behind_a_router_that_cannot_be_started_can_still_be_removed(
    scene: Scene, road: Road
) -> None:
    scene.run(acme())
    road.router.kill()

    def refuse() -> bool:
        raise UsageError("there is no program to start")

    road.router.ensure_running = refuse  # type: ignore[method-assign]
    result = scene.run(acme(), Policy(is_destroy=True))
    assert states(result) == {"acme/web": "done"} and scene.replicas() == {}


def test_a_router_that_falls_silent_after_the_plan_keeps_what_it_serves(
    scene: Scene, road: Road
) -> None:
    scene.run(acme())
    plan, recorded = scene.plan(acme(), Policy(is_destroy=True))
    road.router.faults.gap = "no answer"
    result = scene.apply(plan, recorded, scene.take("us"))
    assert states(result) == {"acme/web": "failed"}
    assert scene.replicas() == {"acme/web v1": 2}


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_an_apply_that_ends_in_the_middle_leaves_no_intent_open(
    scene: Scene, road: Road, how: str
) -> None:
    scene.run(acme())
    road.router.faults.is_never_live = True

    def stop(action: Action) -> None:
        if isinstance(action, ScaleReplicaSet):
            scene.cancel.set()

    if how == "cancel":
        scene.local.before = stop
    result = scene.run(acme("shop:2"), within=20 * SECOND)
    assert result.ending is (Ending.CANCELLED if how == "cancel" else Ending.TIMED_OUT)
    assert road.open_intents == [] and road.early == []
    scene.cancel.clear()
    scene.local.before = lambda action: None
    road.router.faults.is_never_live = False
    assert scene.store.load_state().instances[parse_address(WEB)].rollout.phase is (
        RolloutPhase.PROGRESSING
    )
    assert states(scene.run(acme("shop:2"))) == {"acme/web": "done"}
    assert road.members() == served_by_v(2) and road.early == []


def test_who_lost_the_lease_stops_no_router(scene: Scene, road: Road) -> None:
    scene.run(acme())
    plan, recorded = scene.plan(acme(routes=(), ports=("http",)))
    road.on_effect = lambda name: scene.lost.set()
    result = scene.apply(plan, recorded, scene.take("us"))
    assert result.ending is Ending.LOST and road.entries() == []
    assert "stop:router" not in road.effects


def test_a_router_that_may_lose_requests_is_warned_of(scene: Scene) -> None:
    assert scene.run(acme()).warnings == ()  # no router at all
    Road(scene, capabilities=["instant"])
    (text,) = scene.run(acme("shop:2")).warnings
    assert text == "the memory router may lose requests with each change of its table"
