"""What people ask of rollouts, and what the router has to do with the rest of an apply."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ctrlplane_gitops.events.event import EventType, make_event
from ctrlplane_gitops.execute.part import Ending
from ctrlplane_gitops.state.action import Action, ScaleReplicaSet
from ctrlplane_gitops.state.desired import (
    CanaryStep,
    DesiredState,
    HealthCheck,
    ProbeType,
    RolloutParams,
    StrategyType,
)
from ctrlplane_gitops.state.key import parse_address
from ctrlplane_gitops.state.recorded import AuditEntry, Order, RolloutPhase
from tests.execute.execute_kit import Scene, states
from tests.execute.road_kit import QUICK, SECOND, WEB, Road, acme, served_by_v
from tests.plan.plan_kit import App, Way, make_desired

KEY = parse_address(WEB)
CANARY = replace(
    QUICK,
    type=StrategyType.CANARY,
    canary_steps=(CanaryStep(10, None), CanaryStep(50, None), CanaryStep(100)),
)
GREEN = replace(QUICK, type=StrategyType.BLUE_GREEN, is_auto_promote=False)
WAY = Way(more={"preview_hosts": ("green.test",)})


def shop(version: int, params: RolloutParams = CANARY) -> DesiredState:
    return acme(f"shop:{version}", replicas=4, params=params, routes=(WAY,))


def order(scene: Scene, target: int = 2, **asked: object) -> None:
    """Somebody asks, from another process."""
    now = scene.clock.now()
    event = make_event(EventType.ROLLOUT_PROMOTED, now, WEB, "asked")
    entry = AuditEntry(f"aud_{target}{now}{asked}", now, "user:it", "ask", WEB, "", "told")
    scene.store.give_order(Order(KEY, target, **asked), event, entry)  # type: ignore[arg-type]


@pytest.fixture
def road(scene: Scene) -> Road:
    road = Road(scene)
    scene.run(shop(1))
    return road


def preview(road: Road) -> list[str]:
    (found,) = (item for item in road.entries() if item.variant)
    return [member.replica for backend in found.backends for member in backend.members]


def test_a_canary_gets_its_share_and_waits_without_doing_anything_again(
    scene: Scene, road: Road
) -> None:
    (work,) = scene.run(shop(2)).results
    assert (work.state, work.message) == (
        "waiting", "v2 waits for promote with 10% of the traffic",
    )  # fmt: skip
    assert road.shares() == {1: (90, 4), 2: (10, 1)}
    assert preview(road) == ["prod.acme.web.v2.0"]
    count = len(scene.local.performed)
    again = scene.run(shop(2))
    assert states(again) == {"acme/web": "waiting"}
    assert again.effects == 0 and len(scene.local.performed) == count
    assert scene.store.load_state().instances[KEY].rollout.message == "waits for promote"


def test_each_promotion_passes_one_step(scene: Scene, road: Road) -> None:
    scene.run(shop(2))
    order(scene, promoted=1)
    scene.run(shop(2))
    assert road.shares() == {1: (50, 4), 2: (50, 2)}
    order(scene, promoted=2)
    assert states(scene.run(shop(2))) == {"acme/web": "done"}
    assert road.shares() == {2: (100, 4)} and road.early == []
    assert scene.store.read_orders() == {}
    assert scene.store.load_state().instances[KEY].rollout.message == ""


def test_an_order_reaches_an_apply_that_is_under_way(scene: Scene, road: Road) -> None:
    params = replace(CANARY, canary_steps=(CanaryStep(10, timedelta(hours=1)), CanaryStep(100)))
    started = scene.clock.now()

    def promote(action: Action) -> None:
        if isinstance(action, ScaleReplicaSet):
            order(scene, is_full=True)

    scene.local.before = promote
    assert states(scene.run(shop(2, params))) == {"acme/web": "done"}
    assert scene.clock.now() - started < 60 * SECOND


def test_an_abort_gives_the_old_release_everything_back(scene: Scene, road: Road) -> None:
    scene.run(shop(2))
    order(scene, is_aborted=True)
    (work,) = scene.run(shop(2)).results
    assert (work.state, work.message) == ("rolledBack", "rolled back v2 -> v1: it was aborted")
    assert road.shares() == {1: (100, 4)} and scene.replicas() == {"acme/web v1": 4}
    assert road.early == [] and scene.store.read_orders() == {}


def test_a_paused_rollout_moves_nothing(scene: Scene, road: Road) -> None:
    scene.run(shop(2))
    order(scene, is_paused=True, promoted=1)
    count = len(road.router.tables)
    (work,) = scene.run(shop(2)).results
    assert (work.state, work.message) == (
        "waiting", "v2 waits for resume with 10% of the traffic",
    )  # fmt: skip
    assert len(road.router.tables) == count
    order(scene, promoted=1)
    scene.run(shop(2))
    assert road.shares() == {1: (50, 4), 2: (50, 2)}


def test_an_order_of_an_earlier_rollout_says_nothing_of_the_next(scene: Scene, road: Road) -> None:
    scene.run(shop(2))
    order(scene, is_full=True, target=2)
    assert states(scene.run(shop(3))) == {"acme/web": "waiting"}
    assert road.shares() == {1: (90, 4), 3: (10, 1)}
    assert scene.store.read_orders() == {} and road.early == []


def test_green_waits_for_its_switch_longer_than_any_deadline(scene: Scene, road: Road) -> None:
    assert states(scene.run(shop(2, GREEN))) == {"acme/web": "waiting"}
    assert road.shares() == {1: (100, 4)} and preview(road) == served_by_v(2, 4)
    scene.clock.advance(timedelta(hours=5))
    assert states(scene.run(shop(2, GREEN))) == {"acme/web": "waiting"}
    order(scene, promoted=1)
    assert states(scene.run(shop(2, GREEN))) == {"acme/web": "done"}
    assert road.shares() == {2: (100, 4)} and road.early == []


def test_who_is_served_already_need_not_prove_itself_to_the_next_process(
    scene: Scene, road: Road
) -> None:
    """Or a restart would take its requests away from the new release for minReady."""
    slow = replace(CANARY, min_ready=60 * SECOND)
    key = parse_address(WEB)
    check = HealthCheck("up", ProbeType.COMMAND, command=("true",))
    desired = shop(2, slow)
    desired = replace(desired, instances={key: replace(desired.instances[key], health=(check,))})
    assert states(scene.run(desired)) == {"acme/web": "waiting"}
    assert road.shares() == {1: (90, 4), 2: (10, 1)}
    router, started = road.restart(), scene.clock.now()
    assert states(scene.run(desired)) == {"acme/web": "waiting"}
    assert router.tables == [] and scene.clock.now() - started < 5 * SECOND


def test_a_failed_rollout_under_traffic_is_undone_exactly(scene: Scene, road: Road) -> None:
    before = road.router.served
    bad = shop(2)
    scene.local.memory.faults.never_ready = {bad.instances[KEY].revision or ""}
    assert states(scene.run(bad)) == {"acme/web": "rolledBack"}
    assert road.router.served == before and scene.replicas() == {"acme/web v1": 4}
    assert scene.store.load_state().instances[KEY].rollout.phase is RolloutPhase.ROLLED_BACK


def test_a_newer_commit_takes_the_place_of_a_canary_that_waits(scene: Scene, road: Road) -> None:
    scene.run(shop(2))
    assert states(scene.run(shop(3))) == {"acme/web": "waiting"}
    assert road.shares() == {1: (90, 4), 3: (10, 1)}
    assert scene.replicas() == {"acme/web v1": 4, "acme/web v3": 1} and road.early == []
    assert states(scene.run(shop(1))) == {"acme/web": "done"}
    assert road.shares() == {1: (100, 4)} and scene.replicas() == {"acme/web v1": 4}


def test_a_tenant_that_is_suspended_is_drained_and_comes_back(scene: Scene, road: Road) -> None:
    apps = {"acme/web": App("shop:1", replicas=4, params=CANARY, routes=(WAY,))}
    scene.run(make_desired(apps, suspended=frozenset({"acme"})))
    assert scene.replicas() == {} and road.members() == [] and road.early == []
    assert scene.plan(make_desired(apps, suspended=frozenset({"acme"})))[0].is_empty
    scene.run(make_desired(apps))
    assert road.members() == served_by_v(1, 4)
    assert scene.plan(make_desired(apps))[0].is_empty


def test_a_commit_after_the_switch_finds_somebody_answering_all_the_time(
    scene: Scene, road: Road
) -> None:
    kept = replace(GREEN, is_auto_promote=True, scale_down_delay=600 * SECOND)
    assert scene.run(shop(2, kept), within=60 * SECOND).ending is Ending.TIMED_OUT
    assert road.shares() == {2: (100, 4)}
    scene.told.clear()
    scene.run(shop(3, replace(kept, scale_down_delay=timedelta())))
    shifts = [item.message for item in scene.told if item.type == "traffic.shifted"]
    assert shifts == ["v1 100%", "v3 100%"]
    assert road.shares() == {3: (100, 4)} and road.early == []
