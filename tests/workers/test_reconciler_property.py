"""Whatever is pushed while whatever is under way: in the end what runs is what the last commit
says."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctrlplane_gitops.reconcile.report import PassOutcome
from tests.reconcile.follow_kit import app, tenant
from tests.workers.test_reconciler import INTERVAL, Scene

# Which version a tenant is to run, None: the tenant is gone. ``stuck``: what is started from now
# on never gets ready. ``lost``: replicas vanish. ``late``: nobody waits for what was begun.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.sampled_from("abc"), st.sampled_from([None, "1", "2", "3"])),
        st.tuples(st.just("stuck"), st.sampled_from("abc"), st.booleans()),
        st.tuples(st.just("lost"), st.sampled_from("abc"), st.none()),
        st.tuples(st.just("wait"), st.sampled_from(["0", "0.3"]), st.none()),
        st.tuples(st.just("whole"), st.none(), st.none()),
    ),
    min_size=2,
    max_size=9,
)


def play(scene: Scene, step: tuple[str, str | None, object], wanted: dict[str, str]) -> None:
    kind, name, value = step
    match kind:
        case "push" if name:
            is_there = (scene.repo / f"tenants/{name}.yaml").exists()
            text = None if value is None else tenant(name) + app(name, version=str(value))
            if text is None:
                wanted.pop(name, None)
                if is_there:
                    scene.push(name, None)
            elif wanted.get(name) != value:
                wanted[name] = str(value)
                scene.push(name, text)
        case "stuck":
            faults, address = scene.provider.faults.never_ready, f"instance/{name}/web"
            (faults.add if value else faults.discard)(address)
        case "lost":
            with scene.provider.world.change() as world:
                for key in [k for k, item in world.replicas.items() if item.tenant == name]:
                    del world.replicas[key]
        case "wait":
            scene.reconciler.wait(timedelta(seconds=float(name or 0)))
    scene.begin(INTERVAL if kind == "whole" else timedelta())


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_in_the_end_what_runs_is_what_the_last_commit_says(
    steps: list[tuple[str, str | None, object]],
) -> None:
    root = Path(tempfile.mkdtemp())
    scene, wanted = Scene(root), dict.fromkeys("abc", "1")
    try:
        scene.run()
        for step in steps:
            play(scene, step, wanted)
        # What was stuck when it was started stays so: somebody mends it.
        scene.provider.faults.never_ready.clear()
        for name in wanted:
            scene.push(name, tenant(name) + app(name, version="4"))
        scene.reconciler.ask()
        for _ in range(4):
            scene.run(INTERVAL)
        assert scene.reports[-1].outcome is PassOutcome.UNCHANGED, scene.reports[-1].notes
        assert {name for name in "abc" if scene.replicas_of(name)} == set(wanted)
        assert all(len(scene.replicas_of(name)) == 1 for name in wanted)
        recorded = scene.store.load_state()
        assert {key.tenant for key in recorded.instances} == set(wanted)
        assert not scene.store.read_open_intents()
    finally:
        scene.close()
        shutil.rmtree(root)
