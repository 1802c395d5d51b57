"""``replicas: {owner: autoscaler}``: what a pass makes of replicas that somebody else counts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ctrlplane_gitops.state.action import Action, Material, ScaleOwner, ScaleReplicaSet
from ctrlplane_gitops.state.desired import CanaryStep, DesiredState, RolloutParams, StrategyType
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.observed import Alteration, AlteredPart
from ctrlplane_gitops.units import CountOrPercent
from tests.execute.execute_kit import Scene, states
from tests.plan.plan_kit import App, make_desired

WEB = instance_key("acme", "web")
SECOND = timedelta(seconds=1)
NOTHING = timedelta()
STEPS = (CanaryStep(50, SECOND), CanaryStep(100, NOTHING))


def params(kind: StrategyType) -> RolloutParams:
    return RolloutParams(
        type=kind, min_ready=NOTHING, healthy_deadline=5 * SECOND, drain_timeout=NOTHING,
        scale_down_delay=NOTHING, canary_steps=STEPS,
    )  # fmt: skip


def specs(
    image: str = "shop:1", kind: StrategyType = StrategyType.ROLLING, *, is_autoscaled: bool = True
) -> DesiredState:
    app = App(image=image, replicas=2, params=params(kind), is_autoscaled=is_autoscaled)
    return make_desired({"acme/web": app})


def scale(scene: Scene, release: int, replicas: int) -> None:
    """An autoscaler decides."""
    [made] = [item for item in scene.store.load_state().releases[WEB] if item.number == release]
    action = ScaleReplicaSet(WEB, "local", made, replicas)
    assert scene.local.memory.perform(action, Material()).is_ok
    scene.local.memory.scalers[WEB, release] = "an autoscaler"


def test_what_the_autoscaler_decides_is_no_drift_and_is_shown(scene: Scene) -> None:
    scene.run(specs())
    assert scene.replicas() == {"acme/web v1": 2}
    for count in (5, 1):
        scale(scene, 1, count)
        scene.local.performed.clear()
        plan, _ = scene.plan(specs())
        assert plan.is_empty and not plan.drift and not plan.diagnostics
        [found] = plan.autoscaled
        assert (found.key, found.replicas, found.by) == (WEB, count, "an autoscaler")
        scene.run(specs())
        assert scene.local.performed == []


def test_what_a_person_has_scaled_is_no_drift_where_an_autoscaler_owns_it(scene: Scene) -> None:
    scene.run(specs())
    by_hand = (Alteration("spec.replicas", "kubectl", AlteredPart.COUNT),)
    scene.local.memory.altered[WEB, 1] = by_hand
    assert scene.plan(specs())[0].is_empty
    assert not scene.plan(specs(is_autoscaled=False))[0].is_empty


def test_an_autoscaler_that_acts_on_something_else_is_drift_where_it_is_asked_for(
    scene: Scene,
) -> None:
    scene.run(specs())
    astray = (Alteration("acts on web", "kubectl", AlteredPart.AUTOSCALER),)
    scene.local.memory.altered[WEB, 1] = astray
    [drift] = scene.plan(specs())[0].drift
    assert drift.text == "changed by hand: acts on web (by kubectl)"
    scene.local.performed.clear()
    scene.run(specs())
    [action] = scene.local.performed
    assert isinstance(action, ScaleReplicaSet) and action.owner is ScaleOwner.AUTOSCALER
    assert scene.plan(specs())[0].is_empty


def test_an_instance_is_handed_to_an_autoscaler_and_taken_back(scene: Scene) -> None:
    """Where the provider keeps who decides, that is brought into line once."""
    memory = scene.local.memory
    scene.run(specs(is_autoscaled=False))
    memory.left = {(WEB, 1): False}
    assert scene.plan(specs(is_autoscaled=False))[0].is_empty
    for is_autoscaled in (True, False):
        wanted = specs(is_autoscaled=is_autoscaled)
        assert not scene.plan(wanted)[0].is_empty
        scene.local.performed.clear()
        assert states(scene.run(wanted)) == {"acme/web": "done"}
        [action] = scene.local.performed
        assert isinstance(action, ScaleReplicaSet) and action.is_autoscaled is is_autoscaled
        assert memory.left == {(WEB, 1): is_autoscaled}
        assert scene.plan(wanted)[0].is_empty
    memory.left[WEB, 1] = True
    [drift] = scene.plan(specs(is_autoscaled=False))[0].drift
    assert drift.text == "who decides how many replicas there are: specs -> autoscaler"


@pytest.mark.parametrize("kind", list(StrategyType))
def test_a_new_release_has_as_many_as_the_one_before(scene: Scene, kind: StrategyType) -> None:
    scene.run(specs(kind=kind))
    scale(scene, 1, 5)
    plan, _ = scene.plan(specs("shop:2", kind))
    [change] = [item for item in plan.changes if item.rollout]
    assert change.rollout is not None and "2 replicas" not in change.rollout.text
    assert states(scene.run(specs("shop:2", kind))) == {"acme/web": "done"}
    assert scene.replicas() == {"acme/web v2": 5}
    status = scene.store.load_state().instances[WEB].rollout
    assert status.replicas == 0
    assert scene.plan(specs("shop:2", kind))[0].is_empty


def test_a_rolling_update_gives_up_no_more_than_it_may(scene: Scene) -> None:
    """Each step is a rollout's, so that an autoscaler gives way; five are there throughout."""
    scene.run(specs())
    scale(scene, 1, 5)
    seen: list[int] = []
    scene.local.before_look = lambda: seen.append(sum(scene.replicas().values()))
    scene.local.performed.clear()
    scene.run(specs("shop:2"))
    moved = [item for item in scene.local.performed if isinstance(item, ScaleReplicaSet)]
    owners = {item.owner for item in moved if item.replicas}
    assert owners == {ScaleOwner.ROLLOUT}
    assert min(seen) >= 5 and max(seen) <= 5 + CountOrPercent(25, is_percent=True).of(
        5, round_up=True
    )


def test_what_the_autoscaler_decides_during_a_canary_is_followed(scene: Scene) -> None:
    kind = StrategyType.CANARY
    scene.run(specs(kind=kind))
    scale(scene, 1, 2)

    def load(action: Action) -> None:
        if isinstance(action, ScaleReplicaSet) and action.release.number == 2:
            scale(scene, 1, 6)
            scene.local.before = lambda action: None

    scene.local.before = load  # type: ignore[assignment]
    assert states(scene.run(specs("shop:2", kind))) == {"acme/web": "done"}
    assert scene.replicas() == {"acme/web v2": 6}


def test_a_release_that_fails_leaves_as_many_as_there_were(scene: Scene) -> None:
    scene.run(specs())
    scale(scene, 1, 5)
    scene.local.memory.faults.never_ready.add(str(specs("shop:2").instances[WEB].revision))
    assert states(scene.run(specs("shop:2"))) == {"acme/web": "rolledBack"}
    assert scene.replicas() == {"acme/web v1": 5}


def test_after_a_rollback_the_autoscaler_acts_on_what_has_stayed(scene: Scene) -> None:
    scene.run(specs())
    scale(scene, 1, 5)
    scene.local.memory.faults.never_ready.add(str(specs("shop:2").instances[WEB].revision))

    def rest(action: Action) -> None:
        """As a provider does that has an autoscaler give way while replicas are moved."""
        if isinstance(action, ScaleReplicaSet) and action.owner is ScaleOwner.ROLLOUT:
            astray = Alteration("acts on web", "", AlteredPart.AUTOSCALER)
            scene.local.memory.altered[WEB, 1] = (astray,)

    scene.local.before = rest  # type: ignore[assignment]
    assert states(scene.run(specs("shop:2"))) == {"acme/web": "rolledBack"}
    last = scene.local.performed[-1]
    assert isinstance(last, ScaleReplicaSet)
    assert (last.owner, last.release.number, last.replicas) == (ScaleOwner.AUTOSCALER, 1, 5)
    assert scene.replicas() == {"acme/web v1": 5}


def test_a_rollout_that_is_superseded_half_way_loses_nobody(scene: Scene) -> None:
    scene.run(specs())
    scale(scene, 1, 6)

    def interrupt(action: Action) -> None:
        if isinstance(action, ScaleReplicaSet) and action.release.number == 1:
            scene.cancel.set()

    scene.local.before = interrupt  # type: ignore[assignment]
    scene.run(specs("shop:2"))
    assert scene.replicas()["acme/web v1"] < 6
    scene.cancel.clear()
    scene.local.before = lambda action: None
    assert states(scene.run(specs("shop:3"))) == {"acme/web": "done"}
    assert scene.replicas() == {"acme/web v3": 6}


def test_suspended_it_stops_and_begins_again_with_the_initial_number(scene: Scene) -> None:
    scene.run(specs())
    scale(scene, 1, 5)
    app = App(image="shop:1", replicas=2, params=params(StrategyType.ROLLING), is_autoscaled=True)
    suspended = make_desired({"acme/web": app}, suspended=frozenset({"acme"}))
    assert states(scene.run(suspended)) == {"acme/web": "done"}
    assert scene.replicas() == {}
    assert scene.plan(suspended)[0].is_empty
    scene.local.memory.scalers.clear()
    assert states(scene.run(specs())) == {"acme/web": "done"}
    assert scene.replicas() == {"acme/web v1": 2}


def test_a_replica_that_dies_is_replaced_at_the_number_there_is(scene: Scene) -> None:
    scene.run(specs())
    scale(scene, 1, 4)
    scene.local.memory.kill("prod.acme.web.v1.1")
    assert not scene.plan(specs())[0].is_empty
    scene.run(specs())
    assert scene.replicas() == {"acme/web v1": 4} and scene.plan(specs())[0].is_empty


def test_with_a_number_in_git_again_that_number_is_made(scene: Scene) -> None:
    scene.run(specs())
    scale(scene, 1, 4)
    scene.local.memory.scalers.clear()
    scene.run(specs(is_autoscaled=False))
    assert scene.replicas() == {"acme/web v1": 2}
