"""What changes by itself is held against what is wanted before everything is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.reconcile.report import PassOutcome
from ctrlplane_gitops.state.key import instance_key
from tests.workers.test_reconciler import INTERVAL, WEB, Scene, stick

SOON = timedelta(seconds=2)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    made.run()
    made.dues.clear()
    yield made
    made.close()


def test_it_is_put_right_soon_and_nobody_else_is_looked_at(scene: Scene) -> None:
    before = scene.replicas()
    [name] = [item.name for item in scene.provider.observe([WEB]).replica_sets[0].replicas]
    scene.provider.kill(name)
    for _ in range(3):
        scene.reconciler.stir([WEB])
    assert len(scene.dues) == 1
    assert scene.run() == []
    assert scene.ran.after is not None and scene.ran.after <= SOON
    [report] = scene.run(SOON)
    assert (report.outcome, report.is_whole) == (PassOutcome.APPLIED, False)
    assert scene.provider.asked[0] == {WEB}
    after = scene.replicas()
    assert after.keys() == before.keys() and after[str(WEB)] != before[str(WEB)]
    assert scene.run(SOON) == []


def test_a_pass_over_everything_is_about_it_as_well(scene: Scene) -> None:
    scene.reconciler.stir([WEB])
    [report] = scene.run(INTERVAL)
    assert (report.outcome, report.is_whole) == (PassOutcome.UNCHANGED, True)
    assert scene.run(SOON) == []


def test_what_is_nobody_s_brings_nothing_about(scene: Scene) -> None:
    scene.reconciler.stir([instance_key("a", "stranger"), instance_key("nobody", "web")])
    assert scene.run(SOON) == [] and scene.dues == []


def test_what_is_being_done_brings_nothing_about(scene: Scene) -> None:
    stick(scene)
    scene.dues.clear()
    scene.reconciler.stir([WEB])
    assert scene.dues == []
    scene.reconciler.stir([instance_key("b", "web")])
    assert len(scene.dues) == 1


def test_what_has_failed_keeps_waiting_for_its_time(scene: Scene) -> None:
    [name] = [item.name for item in scene.provider.observe([WEB]).replica_sets[0].replicas]
    scene.provider.kill(name)
    scene.provider.faults.fail_effects = set(range(1, 100))
    scene.reconciler.stir([WEB])
    [failed] = scene.run(SOON)
    assert "failed as scripted" in failed.notes[0]
    effects = scene.provider.effect_count
    # Its next try is due five seconds after the first.
    scene.reconciler.stir([WEB])
    scene.run(SOON)
    assert scene.provider.effect_count == effects
    scene.provider.faults.fail_effects.clear()
    scene.run(timedelta(seconds=10))
    assert scene.provider.effect_count > effects


def test_a_pass_is_pending_until_its_end_was_told(scene: Scene) -> None:
    """Else who asks in between would take it for one that was not needed."""
    scene.run()
    snapshot = scene.reconciler.tried
    assert snapshot is not None
    assert scene.were_pending == [True]
    assert not scene.reconciler.is_pending(snapshot)
