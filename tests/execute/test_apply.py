"""What an apply writes down and when, what waits for what, and what of it is a failure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from ctrlplane_gitops.errors import ImageError, ProviderError, UnreachableError
from ctrlplane_gitops.execute.part import Ending
from ctrlplane_gitops.execute.perform import describe
from ctrlplane_gitops.execute.retry import MAX_ATTEMPTS
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.redact import MASK, SecretValue
from ctrlplane_gitops.state.action import Action, Outcome, PrepareRelease, ScaleReplicaSet
from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key
from ctrlplane_gitops.state.recorded import RolloutPhase
from ctrlplane_gitops.state.template import ReleaseState
from tests.execute.execute_kit import Scene, states
from tests.plan.plan_kit import App, make_desired

WEB, DB = instance_key("acme", "web"), instance_key("acme", "db")
ONE = make_desired({"acme/web": App(replicas=2)})
TWO = make_desired({"acme/web": App(replicas=1), "zen/web": App(replicas=1)})


def fail_for(address: str, error: ProviderError):
    """Every action about that address fails."""

    def before(action: Action) -> Outcome | None:
        assert not hasattr(action, "tenant")
        return Outcome(action, error) if action.instance.address == address else None

    return before


def test_an_apply_makes_it_so_and_the_next_one_does_nothing(scene: Scene) -> None:
    result = scene.run(TWO)
    assert (result.ending, states(result)) == (
        Ending.COMPLETE, {"acme/web": "done", "zen/web": "done"},
    )  # fmt: skip
    assert scene.replicas() == {"acme/web v1": 1, "zen/web v1": 1}
    recorded = scene.store.load_state()
    assert recorded.plane_id is not None
    assert recorded.instances[WEB].release == 1
    assert [item.state for item in recorded.releases[WEB]] == [ReleaseState.ACTIVE]
    before, at = (scene.dump(), len(scene.local.performed)), scene.clock.now()
    again = scene.run(TWO)
    scene.store.release(scene.fence)
    assert scene.clock.now() == at, "it has waited for something"
    assert again.results == () and again.effects == 0
    assert len(scene.local.performed) == before[1]
    assert scene.store.load_state() == recorded


def test_an_intent_is_on_disk_before_its_effect_and_closed_after(scene: Scene) -> None:
    seen: list[tuple[bool, bool, bool]] = []

    def look(action: Action) -> None:
        text = describe(action)
        opened = [item for item in scene.intents() if item[1] == text and not item[2]]
        state = scene.store.load_state()
        is_begun = state.instances[WEB].release is None
        is_kept = [item.state for item in state.releases[WEB]] == [ReleaseState.PENDING]
        seen.append((len(opened) == 1, is_begun, is_kept))

    scene.local.before = look
    scene.run(ONE)
    assert [type(action) for action in scene.local.performed] == [PrepareRelease, ScaleReplicaSet]
    assert seen == [(True, True, True)] * 2
    assert scene.intents() == [
        (WEB.address, "prepare v1 on local", 1, "ok"),
        (WEB.address, "scale v1 to 2 on local", 1, "ok"),
    ]


def test_the_decision_to_roll_back_is_on_disk_before_its_first_effect(scene: Scene) -> None:
    scene.run(ONE)
    scene.local.memory.faults.never_ready = {bad.instances[WEB].revision or ""}
    phases: list[RolloutPhase] = []
    scene.local.before = lambda action: phases.append(
        scene.store.load_state().instances[WEB].rollout.phase
    )
    result = scene.run(bad)
    assert states(result) == {"acme/web": "rolledBack"}
    assert phases[-1] is RolloutPhase.ROLLING_BACK
    assert scene.replicas() == {"acme/web v1": 2}
    kept = {item.number: item.state for item in scene.store.load_state().releases[WEB]}
    assert kept == {1: ReleaseState.ACTIVE, 2: ReleaseState.FAILED}


bad = make_desired({"acme/web": App(image="shop:bad", replicas=2)})


def test_what_depends_on_a_failure_is_skipped_and_other_tenants_go_on(scene: Scene) -> None:
    desired = make_desired(
        {
            "acme/db": App(replicas=1),
            "acme/web": App(replicas=1, depends_on=("instance/acme/db",)),
            "acme/top": App(replicas=1, depends_on=("instance/acme/web",)),
            "acme/other": App(replicas=1),
            "zen/web": App(replicas=1),
        }
    )
    scene.local.before = fail_for(DB.address, ProviderError("no space"))
    result = scene.run(desired)
    assert states(result) == {
        "acme/db": "failed", "acme/web": "skipped", "acme/top": "skipped",
        "acme/other": "done", "zen/web": "done",
    }  # fmt: skip
    assert scene.replicas() == {"acme/other v1": 1, "zen/web v1": 1}
    assert WEB.address not in scene.local.addresses
    message = {item.instance: item.message for item in result.results}[WEB]
    assert message == "it depends on instance/acme/db"
    assert scene.event_types(WEB.address) == ["work.skipped"]
    scene.local.before = lambda action: None
    assert set(states(scene.run(desired, RETRY)).values()) == {"done"}


RETRY = Policy(is_retry_failed=True)


def test_a_dependant_begins_only_once_what_it_needs_is_done(scene: Scene) -> None:
    desired = make_desired(
        {"acme/db": App(replicas=1), "acme/web": App(depends_on=("instance/acme/db",))}
    )
    scene.run(desired)
    order = list(dict.fromkeys(scene.local.addresses))
    assert order == [DB.address, WEB.address]
    told = [(item.address, item.type) for item in scene.told]
    live, begun = (DB.address, "rollout.completed"), (WEB.address, "rollout.started")
    assert told.index(live) < told.index(begun)


def test_a_retryable_error_is_tried_again_after_a_growing_pause(scene: Scene) -> None:
    scene.local.memory.faults.fail_effects = {1, 2}
    begun = []

    def note(action: Action) -> None:
        if isinstance(action, ScaleReplicaSet):
            begun.append(scene.clock.now())

    scene.local.before = note
    result = scene.run(make_desired({"acme/web": App(replicas=1)}))
    assert states(result) == {"acme/web": "done"}
    assert scene.replicas() == {"acme/web v1": 1}
    scales = [item for item in scene.intents() if item[1].startswith("scale")]
    assert [item[3].partition(":")[0] for item in scales] == ["error", "error", "ok"]
    assert begun[1] - begun[0] >= timedelta(milliseconds=200)
    assert begun[2] - begun[1] >= timedelta(milliseconds=400)


def test_a_retryable_error_that_stays_ends_and_is_no_reason_to_distrust_the_release(
    scene: Scene,
) -> None:
    scene.local.before = fail_for(WEB.address, UnreachableError("nobody there"))
    result = scene.run(TWO)
    assert states(result) == {"acme/web": "failed", "zen/web": "done"}
    assert scene.local.addresses.count(WEB.address) == MAX_ATTEMPTS
    scene.local.before = lambda action: None
    assert states(scene.run(TWO)) == {"acme/web": "done"}


def test_a_terminal_error_is_not_tried_again_and_the_release_is_remembered(scene: Scene) -> None:
    scene.local.before = fail_for(WEB.address, ImageError("there is no such image"))
    result = scene.run(TWO)
    assert states(result) == {"acme/web": "failed", "zen/web": "done"}
    assert scene.local.addresses.count(WEB.address) == 1
    kept = scene.store.load_state().releases[WEB]
    assert [item.state for item in kept] == [ReleaseState.FAILED]
    assert "there is no such image" in kept[0].reason
    scene.local.before = lambda action: None
    assert scene.run(TWO).results == ()


def test_what_somebody_does_not_let_us_is_not_tried_again_before_the_next_pass(
    scene: Scene,
) -> None:
    """Nothing is wrong with the release: once it may be, it is started."""
    error = ProviderError("a policy says no", hint="ask the operator", is_refusal=True)
    scene.local.before = fail_for(WEB.address, error)
    result = scene.run(TWO)
    assert states(result) == {"acme/web": "failed", "zen/web": "done"}
    assert scene.local.addresses.count(WEB.address) == 1
    assert "a policy says no (ask the operator)" in result.results[0].message
    scene.local.before = lambda action: None
    assert states(scene.run(TWO)) == {"acme/web": "done"}
    assert scene.replicas() == {"acme/web v1": 1, "zen/web v1": 1}


def test_who_asks_for_time_gets_it_before_the_next_attempt(scene: Scene) -> None:
    busy = ProviderError("too many requests", is_retryable=True)
    busy.retry_after_s = 30.0
    begun: list[datetime] = []

    def meet(action: Action) -> Outcome | None:
        begun.append(scene.clock.now())
        return Outcome(action, busy) if len(begun) == 1 else None

    scene.local.before = meet
    assert states(scene.run(ONE)) == {"acme/web": "done"}
    assert begun[1] - begun[0] >= timedelta(seconds=30)


def test_an_effect_whose_reply_was_lost_is_not_made_twice(scene: Scene) -> None:
    scene.local.memory.faults.lose_replies = {1, 2}
    assert states(scene.run(ONE)) == {"acme/web": "done"}
    assert scene.local.memory.world.read().effects == 2


def test_a_bug_in_an_adapter_is_the_failure_of_one_instance(scene: Scene) -> None:
    """Its message may hold what cannot be stored as text."""

    def stumble(action: Action) -> None:
        if getattr(action, "instance", None) == WEB:
            raise ValueError("name \udcff")

    scene.local.before = stumble
    result = scene.run(TWO)
    assert states(result) == {"acme/web": "failed", "zen/web": "done"}
    assert "unexpected ValueError: name \\udcff" in result.results[0].message
    assert scene.replicas() == {"zen/web v1": 1}


def test_a_bug_in_looking_is_a_provider_that_does_not_answer(scene: Scene) -> None:
    desired = make_desired({"acme/web": App(replicas=1), "zen/web": App(provider="docker")})

    def stumble() -> None:
        raise KeyError("name")

    scene.local.before_look = stumble
    result = scene.run(desired)
    assert states(result) == {"acme/web": "failed", "zen/web": "done"}
    assert isinstance(result.results[0].error, UnreachableError)
    assert "unexpected KeyError" in result.results[0].message


def test_a_provider_that_is_silent_for_a_while_is_waited_for(scene: Scene) -> None:
    faults, looks = scene.local.memory.faults, []

    def fall_silent() -> None:
        looks.append(1)
        faults.gap = "restarting" if len(looks) < 20 else None

    scene.local.before_look = fall_silent
    result = scene.run(ONE)
    assert states(result) == {"acme/web": "done"}
    assert len(looks) >= 20
    assert scene.replicas() == {"acme/web v1": 2}


def test_a_provider_that_stays_silent_is_reported_and_nothing_is_done_about_it(
    scene: Scene,
) -> None:
    desired = make_desired({"acme/web": App(), "zen/web": App(provider="docker")})

    def fall_silent() -> None:
        scene.local.memory.faults.gap = "engine is gone"

    scene.local.before_look = fall_silent
    began = scene.clock.now()
    result = scene.run(desired)
    assert states(result) == {"acme/web": "failed", "zen/web": "done"}
    failed = result.results[0]
    assert isinstance(failed.error, UnreachableError)
    assert failed.message == "provider local did not answer: engine is gone"
    assert scene.clock.now() - began >= timedelta(seconds=60)
    assert [type(action) for action in scene.local.performed] == [PrepareRelease]
    assert scene.store.load_state().releases[WEB][0].state is ReleaseState.PENDING
    scene.local.before_look = lambda: None
    scene.local.memory.faults.gap = None
    assert states(scene.run(desired)) == {"acme/web": "done"}


SECRET = ResourceKey(Kind.SECRET, "acme", "token")


@pytest.mark.parametrize("is_retryable", [False, True])
def test_a_secret_in_an_error_is_masked_wherever_it_goes(scene: Scene, is_retryable: bool) -> None:
    scene.secrets = {SECRET: SecretValue(b"hunter22")}
    desired = make_desired({"acme/web": App(replicas=1, secret="x")})
    error = ProviderError("login hunter22", hint="try hunter22", is_retryable=is_retryable)
    scene.local.before = lambda action: Outcome(action, error, warnings=("as hunter22",))
    result = scene.run(desired)
    assert states(result) == {"acme/web": "failed"}
    assert result.warnings == (f"as {MASK}",)
    failed = result.results[0]
    assert f"login {MASK}" in failed.message
    said = [failed.message, *scene.waits, *(item.message for item in scene.told)]
    said += [f"{item.error!r} {item.error and item.error.hint}" for item in result.results]
    assert "hunter22" not in "\n".join(said)
    written = scene.dump()
    assert "hunter22" not in written
    for table in ("events", "closed_intents", "audit", "instances"):
        rows = [line for line in written.splitlines() if f'INTO "{table}"' in line]
        assert any(MASK in line for line in rows), table


def test_a_secret_in_the_error_of_a_removal_is_masked(scene: Scene) -> None:
    scene.secrets = {SECRET: SecretValue(b"hunter22")}
    scene.run(TWO)
    error = ProviderError("cannot log in as hunter22")
    scene.local.before = lambda action: Outcome(action, error)
    result = scene.run(make_desired({"acme/web": App(replicas=1)}), Policy(max_delete=10))
    assert states(result) == {"zen/web": "failed"}
    assert result.results[0].error is not None
    assert str(result.results[0].error) == f"cannot log in as {MASK}"
    assert "hunter22" not in scene.dump()


def test_an_instance_that_waits_says_what_for_every_ten_seconds(scene: Scene) -> None:
    revision = ONE.instances[WEB].revision or ""
    scene.local.memory.faults.never_ready = {revision}
    params = replace(ONE.instances[WEB].params, healthy_deadline=timedelta(seconds=35))
    desired = make_desired({"acme/web": App(replicas=2, params=params)})
    result = scene.run(desired)
    assert states(result) == {"acme/web": "failed"}
    assert scene.waits == ["v1 has 0/2 ready"] * 3


def test_intents_that_a_killed_apply_left_open_are_closed_by_the_next(scene: Scene) -> None:
    class Killed(BaseException):
        pass

    def die(action: Action) -> None:
        raise Killed

    scene.local.before = die
    with pytest.raises(Killed):
        scene.run(ONE)
    assert [item[2] for item in scene.intents()] == [0]
    scene.clock.advance(timedelta(seconds=1))
    scene.local.before = lambda action: None
    scene.run(ONE, holder="us")
    assert [(item[1], item[2], item[3]) for item in scene.intents()] == [
        ("prepare v1 on local", 1, "not known: the process that began it ended"),
        ("prepare v1 on local", 1, "ok"),
        ("scale v1 to 2 on local", 1, "ok"),
    ]
