"""How an apply ends before it is done, and that nothing is begun after that."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import CancelledError, LockError
from ctrlplane_gitops.execute.part import Ending
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.state.action import Action, RemoveTenant, ScaleReplicaSet
from ctrlplane_gitops.state.key import instance_key, tenant_key
from ctrlplane_gitops.state.recorded import RolloutPhase
from ctrlplane_gitops.state.template import ReleaseState
from tests.execute.execute_kit import PATIENCE, Scene, states
from tests.plan.plan_kit import App, make_desired

WEB = instance_key("acme", "web")
ONE = make_desired({"acme/web": App(replicas=2)})
MANY = make_desired({f"t{n}/web": App(replicas=1) for n in range(5)})


def stop_in(scene: Scene, ending: Ending) -> None:
    match ending:
        case Ending.CANCELLED:
            scene.cancel.set()
        case Ending.LOST:
            scene.lost.set()
        case _:
            scene.clock.advance(timedelta(hours=1))


STOPS = [Ending.CANCELLED, Ending.LOST, Ending.TIMED_OUT]


@pytest.mark.parametrize("ending", STOPS)
def test_what_is_in_flight_ends_and_nothing_more_is_begun(scene: Scene, ending: Ending) -> None:
    """One action at a time: four others stand in the queue when the first one is stopped in."""
    scene.actions = 1
    is_first = threading.Lock()

    def stop(action: Action) -> None:
        if is_first.acquire(blocking=False):
            stop_in(scene, ending)

    scene.local.before = stop
    result = scene.run(MANY, within=timedelta(minutes=10))
    assert result.ending is ending
    assert len(scene.local.performed) == 1
    assert set(states(result).values()) == {"cancelled"}
    assert {item.message for item in result.results} == {"stopped on the way"}
    assert scene.local.memory.world.read().effects == 0
    assert not [item for item in scene.told if item.type == "action.failed"]


@pytest.mark.parametrize("ending", [Ending.CANCELLED, Ending.TIMED_OUT])
def test_the_outcome_of_what_was_in_flight_is_written_down(scene: Scene, ending: Ending) -> None:
    def stop(action: Action) -> None:
        if isinstance(action, ScaleReplicaSet):
            stop_in(scene, ending)
            # Long enough for the loop to find out while this is in flight.
            threading.Event().wait(0.4)

    scene.local.before = stop
    result = scene.run(ONE, within=timedelta(minutes=10))
    assert (result.ending, states(result)) == (ending, {"acme/web": "cancelled"})
    assert scene.replicas() == {"acme/web v1": 2}
    assert [item[2:] for item in scene.intents()] == [(1, "ok")] * 2
    state = scene.store.load_state()
    assert state.instances[WEB].rollout.phase is RolloutPhase.PROGRESSING
    assert state.releases[WEB][0].state is ReleaseState.PENDING
    assert scene.told[-1].type == "apply.ended" and scene.told[-1].message == str(ending)
    assert [item.outcome for item in scene.audit(WEB.address)] == ["cancelled stopped on the way"]


@pytest.mark.parametrize("ending", STOPS)
def test_the_next_apply_goes_on_where_one_was_stopped(scene: Scene, ending: Ending) -> None:
    def stop(action: Action) -> None:
        if isinstance(action, ScaleReplicaSet):
            stop_in(scene, ending)

    scene.local.before = stop
    scene.run(ONE, within=timedelta(minutes=10))
    scene.cancel.clear()
    scene.lost.clear()
    scene.local.before = lambda action: None
    effects = scene.local.memory.world.read().effects
    assert states(scene.run(ONE)) == {"acme/web": "done"}
    assert scene.local.memory.world.read().effects == effects
    assert scene.store.load_state().instances[WEB].release == 1


def test_a_rollout_that_never_gets_ready_is_given_up_on_at_the_deadline(scene: Scene) -> None:
    scene.local.memory.faults.never_ready = {WEB.address}
    began = scene.clock.now()
    result = scene.run(ONE, within=timedelta(seconds=20))
    assert (result.ending, states(result)) == (Ending.TIMED_OUT, {"acme/web": "cancelled"})
    assert timedelta(seconds=20) <= scene.clock.now() - began < timedelta(seconds=21)


def test_a_cancel_before_the_first_step_begins_nothing(scene: Scene) -> None:
    scene.cancel.set()
    result = scene.run(MANY)
    assert result.ending is Ending.CANCELLED
    assert {item.message for item in result.results} == {"not begun"}
    assert scene.local.performed == []
    assert scene.store.load_state().releases == {}


def test_after_the_lease_was_lost_nothing_is_written_either(scene: Scene) -> None:
    written = []

    def lose(action: Action) -> None:
        scene.lost.set()
        written.append(scene.dump())

    scene.local.before = lose
    result = scene.run(ONE)
    assert result.ending is Ending.LOST
    assert scene.dump() == written[0]


def test_a_write_with_a_stale_fence_stops_everything(scene: Scene) -> None:
    """The heartbeat has noticed nothing yet; the store has the last word."""
    dumps = []

    def steal(action: Action) -> None:
        scene.store.break_lease("apply", scene.fence.number)
        assert scene.store.acquire("apply", "them", PATIENCE, scene.clock.now()) is not None
        dumps.append(scene.dump())

    scene.local.before = steal
    with pytest.raises(LockError, match="lost to another process"):
        scene.run(ONE)
    assert len(scene.local.performed) == 1
    assert scene.dump() == dumps[0]


def test_a_lease_that_is_stale_from_the_beginning_lets_nothing_happen(scene: Scene) -> None:
    plan, recorded = scene.plan(ONE)
    stale = scene.take("us")
    scene.take("us")
    before = scene.dump()
    with pytest.raises(LockError):
        scene.apply(plan, recorded, stale)
    assert scene.local.performed == []
    assert scene.dump() == before


def test_a_tenant_is_kept_when_its_removal_was_stopped(scene: Scene) -> None:
    scene.run(make_desired({"acme/web": App(replicas=1), "zen/web": App(replicas=1)}))
    scene.local.performed.clear()
    only = make_desired({"acme/web": App(replicas=1)})

    def cancel(action: Action) -> None:
        if isinstance(action, RemoveTenant):
            scene.cancel.set()

    scene.actions = 1
    for provider in scene.providers.values():
        provider.before = cancel
    result = scene.run(only, Policy(max_delete=10))
    begun = [item for provider in scene.providers.values() for item in provider.performed]
    assert len([item for item in begun if isinstance(item, RemoveTenant)]) == 1
    assert result.ending is Ending.CANCELLED
    assert [type(item) for item in result.errors] == [CancelledError]
    assert tenant_key("zen") in scene.store.load_state().resources
    scene.cancel.clear()
    for provider in scene.providers.values():
        provider.before = lambda action: None
    scene.run(only, Policy(max_delete=10))
    assert tenant_key("zen") not in scene.store.load_state().resources


def test_detached_an_apply_takes_the_first_steps_and_leaves_the_rest(scene: Scene) -> None:
    scene.local.memory.faults.never_ready = {WEB.address}
    began = scene.clock.now()
    result = scene.run(ONE, is_detached=True)
    assert (result.ending, states(result)) == (Ending.COMPLETE, {"acme/web": "started"})
    assert scene.clock.now() - began < timedelta(seconds=5)
    state = scene.store.load_state()
    assert state.instances[WEB].rollout.phase is RolloutPhase.PROGRESSING
    assert state.releases[WEB][0].state is ReleaseState.PENDING
    assert WEB in state.resources
    assert [item[2:] for item in scene.intents()] == [(1, "ok")] * 2


def test_a_detached_rollout_is_ended_by_the_next_pass_with_its_deadlines(
    scene: Scene, tmp_path: Path
) -> None:
    scene.local.memory.faults.never_ready = {WEB.address}
    scene.run(ONE, is_detached=True)
    started_at = scene.store.load_state().instances[WEB].rollout.started_at
    scene.clock.advance(timedelta(minutes=6))
    result = scene.run(ONE)
    assert states(result) == {"acme/web": "failed"}
    assert scene.store.load_state().instances[WEB].rollout.started_at == started_at


def test_what_dies_at_once_is_started_again_after_a_pause(scene: Scene) -> None:
    """Not as fast as it can be looked at: an hour's crash loop would be an hour's load."""

    def kill_all() -> None:
        for name in scene.local.memory.world.read().replicas:
            scene.local.memory.kill(name)

    scene.local.before_look = kill_all
    scene.run(make_desired({"acme/web": App(replicas=1)}), within=timedelta(seconds=60))
    starts = [item for item in scene.local.performed if isinstance(item, ScaleReplicaSet)]
    assert 2 <= len(starts) <= 61
