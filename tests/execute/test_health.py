"""Probes while an apply runs: who counts as ready, since when, and what of it a rollout sees."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.state.action import Action, ScaleReplicaSet
from ctrlplane_gitops.state.desired import DesiredState, HealthCheck, ProbeType, RolloutParams
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.recorded import RolloutPhase
from tests.execute.execute_kit import Scene, states, with_health
from tests.plan.plan_kit import App, make_desired

WEB = instance_key("acme", "web")
SECOND = timedelta(seconds=1)
UP = HealthCheck("up", ProbeType.COMMAND, command=("true",), interval=SECOND, retries=2)
PARAMS = RolloutParams(min_ready=5 * SECOND, healthy_deadline=60 * SECOND)


def checked(image: str = "shop:1", replicas: int = 2, *checks: HealthCheck) -> DesiredState:
    app = App(image=image, replicas=replicas, params=PARAMS)
    return with_health(make_desired({"acme/web": app}), "acme/web", *(checks or (UP,)))


def is_of(replica: str, release: int) -> bool:
    return f".v{release}." in replica


def test_an_old_replica_goes_only_once_the_new_one_has_been_healthy_for_long_enough(
    scene: Scene,
) -> None:
    scene.run(checked())
    passed_at = {}

    def answer(replica: str) -> int:
        if not is_of(replica, 2):
            return 0
        calls[replica] = calls.get(replica, 0) + 1
        if calls[replica] < 4:
            return 1
        passed_at.setdefault(replica, scene.clock.now())
        return 0

    removals = []

    def note(action: Action) -> None:
        if isinstance(action, ScaleReplicaSet) and action.release.number == 1:
            ready = [at for at in passed_at.values() if scene.clock.now() - at >= PARAMS.min_ready]
            removals.append((action.replicas, len(ready)))

    calls: dict[str, int] = {}
    scene.local.exit_code, scene.local.before = answer, note
    assert states(scene.run(checked("shop:2"))) == {"acme/web": "done"}
    assert scene.replicas() == {"acme/web v2": 2}
    assert removals and all(left + ready >= 2 for left, ready in removals)


def test_a_new_release_that_fails_its_checks_is_rolled_back_and_the_old_serves_on(
    scene: Scene,
) -> None:
    scene.run(checked())
    before = {item.id for item in scene.local.memory.observe().replica_sets[0].replicas}
    scene.local.exit_code = lambda replica: 1 if is_of(replica, 2) else 0
    result = scene.run(checked("shop:2"))
    assert states(result) == {"acme/web": "rolledBack"}
    assert "up: exit code 1" in result.results[0].message
    sets = scene.local.memory.observe().replica_sets
    assert {item.id for found in sets for item in found.live} == before


def test_a_check_that_is_new_in_git_does_not_take_the_old_release_down(scene: Scene) -> None:
    """The old replicas fail it; they count as ready while they live."""
    scene.run(make_desired({"acme/web": App(image="shop:1", replicas=2, params=PARAMS)}))
    scene.local.exit_code = lambda replica: 1 if is_of(replica, 1) else 0
    live = []
    scene.local.before = lambda action: live.append(sum(scene.replicas().values()))
    assert states(scene.run(checked("shop:2"))) == {"acme/web": "done"}
    assert min(live) >= 2


def test_what_runs_already_is_probed_before_anything_is_decided_about_it(scene: Scene) -> None:
    """Unverified is not unhealthy: a repair replaces what died, and nothing else."""
    scene.run(checked(replicas=3))
    replicas = scene.local.memory.observe().replica_sets[0].replicas
    scene.local.memory.kill(replicas[1].name)
    scene.clock.advance(timedelta(hours=1))
    scene.local.performed.clear()
    assert states(scene.run(checked(replicas=3))) == {"acme/web": "done"}
    after = scene.local.memory.observe().replica_sets[0].replicas
    assert [item.id == was.id for item, was in zip(after, replicas, strict=True)] == [
        True, False, True,
    ]  # fmt: skip
    assert len(scene.local.performed) == 1


def test_scaling_down_takes_the_replica_that_fails_its_check(scene: Scene) -> None:
    """Which one that is has to be known before the first decision."""
    scene.run(checked(replicas=3))
    scene.local.exit_code = lambda replica: 1 if replica.endswith(".0") else 0
    assert states(scene.run(checked(replicas=2))) == {"acme/web": "done"}
    kept = scene.local.memory.observe().replica_sets[0].replicas
    assert [item.index for item in kept] == [1, 2]


def test_a_replica_that_dies_on_the_way_is_probed_anew(scene: Scene) -> None:
    """The verdict on the one before it does not count."""
    probed: list[tuple[str, str]] = []

    def answer(replica: str) -> int:
        rows = scene.local.memory.world.read().replicas
        probed.append((replica, rows[replica].id))
        if len(probed) == 1:
            scene.local.memory.kill(replica)
        return 0

    scene.local.exit_code = answer
    assert states(scene.run(checked(replicas=1))) == {"acme/web": "done"}
    assert len({id for _, id in probed}) == 2
    assert scene.local.memory.world.read().effects == 2


def test_all_of_several_checks_must_pass(scene: Scene) -> None:
    port = HealthCheck("port", ProbeType.TCP, port="nowhere", interval=SECOND)
    result = scene.run(checked("shop:1", 1, UP, port))
    assert states(result) == {"acme/web": "failed"}
    assert "port: the replica offers no port 'nowhere'" in result.results[0].message


def test_a_bug_in_a_probe_is_a_check_that_fails(scene: Scene) -> None:
    def stumble(replica: str) -> int:
        raise KeyError(replica)

    scene.local.exit_code = stumble
    desired = make_desired({"acme/web": App(replicas=1, params=PARAMS), "zen/web": App()})
    result = scene.run(with_health(desired, "acme/web", UP))
    assert states(result) == {"acme/web": "failed", "zen/web": "done"}
    assert "unexpected KeyError" in result.results[0].message


def test_a_probe_that_hangs_holds_up_nobody_else(tmp_path: Path) -> None:
    """It answers only after the other instance is live. A fake clock would stand still for as
    long as something runs."""
    scene = Scene(tmp_path, SystemClock())
    zen = instance_key("zen", "web")

    def wait_for_zen(replica: str) -> int:
        for _ in range(500):
            known = scene.store.load_state().instances.get(zen)
            if known is not None and known.release is not None:
                waited.append(True)
                return 0
            threading.Event().wait(0.01)
        return 1

    waited: list[bool] = []
    scene.local.exit_code = wait_for_zen
    quick = RolloutParams(min_ready=timedelta())
    desired = make_desired(
        {"acme/web": App(replicas=1, params=quick), "zen/web": App(replicas=1, params=quick)}
    )
    result = scene.run(with_health(desired, "acme/web", UP))
    scene.close()
    assert states(result) == {"acme/web": "done", "zen/web": "done"}
    assert waited == [True]


def test_a_rollout_that_turned_back_is_ended_by_the_next_apply(scene: Scene) -> None:
    """Killed in the middle of a rollback: the replicas of the old release are probed as theirs."""
    scene.run(checked())
    scene.local.exit_code = lambda replica: 1 if is_of(replica, 2) else 0

    def cancel(action: Action) -> None:
        known = scene.store.load_state().instances[WEB]
        if known.rollout.phase is RolloutPhase.ROLLING_BACK:
            scene.cancel.set()

    scene.local.before = cancel
    assert states(scene.run(checked("shop:2"))) == {"acme/web": "cancelled"}
    scene.cancel.clear()
    scene.local.before = lambda action: None
    assert states(scene.run(checked("shop:2"))) == {"acme/web": "rolledBack"}
    assert scene.replicas() == {"acme/web v1": 2}
    known = scene.store.load_state().instances[WEB]
    assert (known.release, known.rollout.phase) == (1, RolloutPhase.ROLLED_BACK)
    assert known == replace(known, rollout=replace(known.rollout, target=2))
