"""Providers that probe their replicas themselves, and replica sets that somebody else has changed:
what an apply makes of it, whatever the provider."""

from __future__ import annotations

from datetime import timedelta

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.state.action import Action, Outcome, ScaleReplicaSet
from ctrlplane_gitops.state.desired import HealthCheck, ProbeType, RolloutParams
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.observed import Alteration, Verdict
from tests.execute.execute_kit import Scene, states, with_health
from tests.plan.plan_kit import NOW, App, make_desired

WEB = instance_key("acme", "web")
SECOND = timedelta(seconds=1)
PARAMS = RolloutParams(min_ready=0 * SECOND, healthy_deadline=5 * SECOND)
# It would fail, if anybody made it.
BAD = HealthCheck("bad", ProbeType.COMMAND, command=("false",), interval=SECOND)
GOOD = HealthCheck("good", ProbeType.COMMAND, command=("true",), interval=SECOND)
BY_HAND = (Alteration("spec.image", "somebody"),)


def say(scene: Scene, release: int, *, is_ready: bool, message: str = "") -> None:
    for index in range(2):
        name = f"prod.acme.web.v{release}.{index}"
        scene.local.memory.verdicts[name] = Verdict(is_ready, NOW, 1, message)


def test_a_provider_that_probes_itself_is_believed_and_nobody_else_asks(scene: Scene) -> None:
    asked: list[str] = []
    scene.local.exit_code = lambda replica: asked.append(replica) or 1  # type: ignore[func-returns-value]
    say(scene, 1, is_ready=True)
    app = App(replicas=2, params=PARAMS)
    desired = with_health(make_desired({"acme/web": app}), "acme/web", BAD)
    assert states(scene.run(desired)) == {"acme/web": "done"}
    assert asked == []


def test_what_a_provider_says_is_not_ready_is_rolled_back_with_its_reason(scene: Scene) -> None:
    say(scene, 1, is_ready=True)
    scene.run(make_desired({"acme/web": App(replicas=2, params=PARAMS)}))
    say(scene, 2, is_ready=False, message="pod web-x: no such image")
    result = scene.run(make_desired({"acme/web": App(image="shop:2", replicas=2, params=PARAMS)}))
    assert states(result) == {"acme/web": "rolledBack"}
    assert "pod web-x: no such image" in result.results[0].message
    assert scene.replicas() == {"acme/web v1": 2}


def test_what_was_changed_by_hand_is_drift_that_one_action_puts_right(scene: Scene) -> None:
    desired = make_desired({"acme/web": App(replicas=2, params=PARAMS)})
    scene.run(desired)
    scene.local.memory.altered[WEB, 1] = BY_HAND
    plan, _ = scene.plan(desired)
    [drift] = plan.drift
    assert drift.text == "changed by hand: spec.image (by somebody)"
    scene.local.performed.clear()
    assert states(scene.run(desired)) == {"acme/web": "done"}
    [action] = scene.local.performed
    assert isinstance(action, ScaleReplicaSet) and action.replicas == 2
    assert scene.plan(desired)[0].is_empty


def test_what_cannot_be_put_right_is_tried_once_a_pass(scene: Scene) -> None:
    desired = make_desired({"acme/web": App(replicas=2, params=PARAMS)})
    scene.run(desired)

    def spoil(action: Action) -> None:
        scene.local.memory.altered[WEB, 1] = BY_HAND

    scene.local.memory.altered[WEB, 1] = BY_HAND
    scene.local.performed.clear()
    scene.local.before_look = lambda: spoil(None)  # type: ignore[arg-type]
    scene.run(desired)
    assert len(scene.local.performed) == 1


def test_what_somebody_was_in_the_way_of_is_put_right_by_the_next_attempt(scene: Scene) -> None:
    desired = make_desired({"acme/web": App(replicas=2, params=PARAMS)})
    scene.run(desired)
    scene.local.memory.altered[WEB, 1] = BY_HAND
    conflicts = iter((ProviderError("somebody has changed it since", is_retryable=True),) * 2)

    def meet(action: Action) -> Outcome | None:
        error = next(conflicts, None)
        return Outcome(action, error) if error is not None else None

    scene.local.before = meet
    assert states(scene.run(desired)) == {"acme/web": "done"}
    assert scene.local.memory.altered == {}


def test_what_may_not_be_put_right_is_a_failure_with_its_reason(scene: Scene) -> None:
    desired = make_desired({"acme/web": App(replicas=2, params=PARAMS)})
    scene.run(desired)
    scene.local.memory.altered[WEB, 1] = BY_HAND
    error = ProviderError("spec.image is held by other-operator", hint="take it from there")
    scene.local.before = lambda action: Outcome(action, error)
    result = scene.run(desired)
    assert states(result) == {"acme/web": "failed"}
    assert "held by other-operator (take it from there)" in result.results[0].message


def test_a_failed_release_that_is_tried_again_is_told_what_git_says_by_now(scene: Scene) -> None:
    """Its replicas are left, and a provider that probes itself still probes as it was told then."""
    say(scene, 1, is_ready=False, message="GET /nosuch: 404")
    desired = make_desired({"acme/web": App(replicas=2, params=PARAMS)})
    assert states(scene.run(with_health(desired, "acme/web", BAD))) == {"acme/web": "failed"}

    def look(action: Action) -> None:
        if isinstance(action, ScaleReplicaSet) and GOOD in action.health:
            say(scene, 1, is_ready=True)

    scene.local.before = look
    scene.local.performed.clear()
    retried = scene.run(with_health(desired, "acme/web", GOOD), Policy(is_retry_failed=True))
    assert states(retried) == {"acme/web": "done"}
    [action] = scene.local.performed
    assert isinstance(action, ScaleReplicaSet) and action.replicas == 2


def test_how_many_there_are_is_no_drift_where_somebody_else_decides_it(scene: Scene) -> None:
    scene.run(make_desired({"acme/web": App(replicas=3, params=PARAMS)}))
    scene.local.memory.scalers[WEB, 1] = "an autoscaler"
    # Git says two from now on, and there are three.
    fewer = make_desired({"acme/web": App(replicas=2, params=PARAMS)})
    scene.run(fewer)
    assert scene.replicas() == {"acme/web v1": 3}
    assert scene.plan(fewer)[0].is_empty
