"""What is written down when a rollout has ended, and which releases are kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ctrlplane_gitops.execute.retry import MAX_ATTEMPTS, next_delay
from ctrlplane_gitops.execute.settle import settle_completed, settle_failed
from ctrlplane_gitops.state.action import Action, ScaleReplicaSet
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.recorded import RecordedInstance, RolloutPhase, RolloutStatus
from ctrlplane_gitops.state.template import Release, ReleaseState, ReleaseTemplate
from tests.execute.execute_kit import Scene, states
from tests.plan.plan_kit import App, make_desired

WEB = instance_key("acme", "web")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
IDLE = RolloutStatus(RolloutPhase.IDLE, 3)


def make(number: int, state: ReleaseState, provider: str = "local") -> Release:
    return Release(WEB, number, f"rev{number}", ReleaseTemplate(provider), "", NOW, state, "why")


def settle(releases: list[Release], target: int, pin: int | None = None, limit: int = 10):
    by_number = {item.number: item for item in releases}
    known = RecordedInstance(WEB, "docker", 1, pin)
    return settle_completed(known, by_number[target], by_number, IDLE, limit)


def test_the_target_is_active_and_the_one_before_it_is_superseded() -> None:
    releases = [make(1, ReleaseState.ACTIVE), make(3, ReleaseState.PENDING)]
    settled = settle(releases, 3)
    assert settled.instance == RecordedInstance(WEB, "local", 3, None, IDLE)
    assert {item.number: (item.state, item.reason) for item in settled.releases} == {
        1: (ReleaseState.SUPERSEDED, "why"),
        3: (ReleaseState.ACTIVE, ""),
    }
    assert settled.forgotten == ()


def test_a_repair_changes_no_release() -> None:
    releases = [make(1, ReleaseState.SUPERSEDED), make(2, ReleaseState.FAILED)]
    settled = settle([*releases, make(3, ReleaseState.ACTIVE)], 3)
    assert settled.releases == ()


def test_a_release_that_never_was_live_is_not_superseded() -> None:
    """A rollback would take it for one that had worked."""
    releases = [make(1, ReleaseState.ACTIVE), make(2, ReleaseState.PENDING)]
    settled = settle([*releases, make(3, ReleaseState.PENDING)], 3)
    assert {item.number for item in settled.releases} == {1, 3}


@pytest.mark.parametrize(
    ("pin", "limit", "forgotten"),
    [(None, 2, {1, 2}), (1, 2, {2}), (None, 0, {1, 2, 3, 4}), (None, 10, set())],
)
def test_the_newest_releases_are_kept_and_the_pinned_one(
    pin: int | None, limit: int, forgotten: set[int]
) -> None:
    releases = [make(number, ReleaseState.SUPERSEDED) for number in (1, 2, 3)]
    releases += [make(4, ReleaseState.ACTIVE), make(5, ReleaseState.PENDING)]
    settled = settle(releases, 5, pin, limit)
    assert {number for key, number in settled.forgotten if key == WEB} == forgotten
    assert forgotten.isdisjoint(item.number for item in settled.releases)


def test_a_failed_target_is_remembered_and_the_instance_stays_where_it_was() -> None:
    status = RolloutStatus(RolloutPhase.ROLLED_BACK, 2, 1, message="rolled back: exited 1")
    active, target = make(1, ReleaseState.ACTIVE), make(2, ReleaseState.PENDING, "docker")
    known = RecordedInstance(WEB, "docker", 1)
    settled = settle_failed(known, target, active, status)
    assert settled.instance == RecordedInstance(WEB, "local", 1, None, status)
    assert settled.releases == (
        replace(target, state=ReleaseState.FAILED, reason="rolled back: exited 1"),
    )


@pytest.mark.parametrize("is_repair", [True, False])
def test_neither_the_active_release_nor_one_that_could_not_be_tried_is_remembered_as_bad(
    is_repair: bool,
) -> None:
    status = RolloutStatus(RolloutPhase.FAILED, 2)
    active = make(1, ReleaseState.ACTIVE)
    target = active if is_repair else make(2, ReleaseState.PENDING)
    known = RecordedInstance(WEB, "local", 1)
    settled = settle_failed(known, target, active, status, is_transient=not is_repair)
    assert settled.releases == () and settled.instance.rollout is status


def test_pauses_double_up_to_a_limit_and_end() -> None:
    delays = [next_delay(attempt) for attempt in range(1, MAX_ATTEMPTS + 2)]
    assert delays == [
        *(timedelta(milliseconds=200) * 2**n for n in range(MAX_ATTEMPTS - 1)), None, None,
    ]  # fmt: skip
    assert all(delay <= timedelta(seconds=10) for delay in delays if delay)


def test_a_rollout_that_git_overtook_leaves_nothing_to_roll_back_to_but_what_was_live(
    scene: Scene,
) -> None:
    scene.run(make_desired({"acme/web": App(image="shop:1")}))

    def cancel(action: Action) -> None:
        if isinstance(action, ScaleReplicaSet):
            scene.cancel.set()

    scene.local.before = cancel
    scene.run(make_desired({"acme/web": App(image="shop:2")}))
    scene.cancel.clear()
    scene.local.before = lambda action: None
    assert states(scene.run(make_desired({"acme/web": App(image="shop:3")}))) == {
        "acme/web": "done"
    }
    assert scene.replicas() == {"acme/web v3": 3}
    kept = {item.number: item.state for item in scene.store.load_state().releases[WEB]}
    assert kept == {
        1: ReleaseState.SUPERSEDED,
        2: ReleaseState.PENDING,
        3: ReleaseState.ACTIVE,
    }
