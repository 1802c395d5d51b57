"""Plans that join an apply which is under way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.execute.batch import Batch
from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.execute.loop import Loop
from ctrlplane_gitops.execute.material import Materials
from ctrlplane_gitops.execute.part import ApplyParts, ApplyResult, Ending
from ctrlplane_gitops.execute.pool import Begun, Pool
from ctrlplane_gitops.redact import Redactor
from ctrlplane_gitops.state.action import Action, Material, Outcome, ScaleReplicaSet
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import instance_key
from tests.e2e.plane import wait_until
from tests.execute.execute_kit import Scene, states
from tests.execute.road_kit import QUICK
from tests.plan.plan_kit import App, make_desired


class Desk:
    """A loop in a thread of its own. ``gate`` holds up every start of what ``is_held`` names."""

    def __init__(self, root: Path) -> None:
        self.scene = Scene(root, clock=SystemClock())
        self.pools = [Pool(4, name) for name in ("action", "look", "probe")]
        self.gate = threading.Event()
        self.held = ""
        self.results: list[ApplyResult] = []
        self.scene.local.before = self._before
        self.running: Begun[None] | None = None
        self.renew()

    def renew(self) -> None:
        """A loop under a new lease."""
        scene = self.scene
        journal = Journal(
            scene.store, scene.take("us"), scene.clock, "user:us", Redactor(), scene.told.append
        )
        self.loop = Loop(
            ApplyParts(
                journal, scene.providers, Materials.empty(), scene.clock, *self.pools,
                scene.cancel, scene.lost, read_orders=scene.store.read_orders,
            )
        )  # fmt: skip

    def _before(self, action: Action) -> Outcome | None:
        is_start = isinstance(action, ScaleReplicaSet) and action.replicas > 0
        if is_start and action.instance.name == self.held:
            assert self.gate.wait(10)
        return None

    def plan(self, desired: DesiredState) -> Batch:
        """What would be done by what is to be seen now."""
        mark = self.loop.mark
        plan, recorded = self.scene.plan(desired)
        materials = Materials({}, (), lambda blobs: {}, self.scene.store.read_blob, {})
        return Batch(plan, recorded, materials, mark=mark, on_end=self.results.append)

    def admit(self, batch: Batch) -> None:
        assert self.loop.admit(batch)
        if self.running is None:
            self.running = Begun(self.loop.run)

    def end(self) -> list[ApplyResult]:
        self.gate.set()
        assert self.running is not None
        self.running.result()
        return self.results

    def is_held_up(self) -> bool:
        return any(
            getattr(item, "instance", None) is not None
            and isinstance(item, ScaleReplicaSet)
            and item.instance.name == self.held
            for item in self.scene.local.performed
        )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.gate.set()
    made.scene.cancel.set()
    if made.running is not None:
        made.running.result()
    for pool in made.pools:
        pool.close()
    made.scene.close()


def shop(**images: str) -> DesiredState:
    return make_desired(
        {f"acme/{name}": App(image, replicas=1, params=QUICK) for name, image in images.items()}
    )


def hold(desk: Desk, name: str, desired: DesiredState) -> None:
    """The first start of an instance is under way and does not come back."""
    desk.held = name
    desk.admit(desk.plan(desired))
    wait_until(desk.is_held_up)


def test_another_instance_does_not_wait(desk: Desk) -> None:
    hold(desk, "web", shop(web="v:1"))
    desk.admit(desk.plan(shop(web="v:1", api="v:1")))
    wait_until(lambda: bool(desk.results))
    assert states(desk.results[0]) == {"acme/api": "done", "acme/web": "underWay"}
    assert desk.scene.replicas() == {"acme/api v1": 1}
    assert [states(item) for item in desk.end()][1] == {"acme/web": "done"}
    assert desk.scene.replicas() == {"acme/api v1": 1, "acme/web v1": 1}


def test_who_waits_for_it_finds_written_down_what_was_admitted(desk: Desk) -> None:
    names = {f"app{number}": "v:1" for number in range(40)}
    hold(desk, "app0", shop(**names))
    desk.admit(desk.plan(shop(web="v:1", **names)))
    desk.loop.wait_written(timedelta(seconds=10))
    assert instance_key("acme", "web") in desk.scene.store.load_state().instances
    assert not desk.loop.is_closed
    desk.end()
    assert desk.loop.is_closed
    desk.loop.wait_written(timedelta(days=1))


def test_a_later_plan_takes_the_place_of_an_earlier_one_once_the_call_has_ended(
    desk: Desk,
) -> None:
    hold(desk, "web", shop(web="v:1"))
    desk.admit(desk.plan(shop(web="v:2")))
    wait_until(lambda: bool(desk.results))
    assert states(desk.results[0]) == {"acme/web": "superseded"}
    assert [states(item) for item in desk.end()][1:] == [{"acme/web": "done"}]
    assert desk.scene.replicas() == {"acme/web v2": 1}
    plan, _ = desk.scene.plan(shop(web="v:2"))
    assert plan.is_empty


def test_of_many_later_plans_the_last_one_counts(desk: Desk) -> None:
    hold(desk, "web", shop(web="v:1"))
    for number in range(2, 8):
        desk.admit(desk.plan(shop(web=f"v:{number}")))
    found = [states(item)["acme/web"] for item in desk.end()]
    assert found == ["superseded"] * 6 + ["done"]
    plan, _ = desk.scene.plan(shop(web="v:7"))
    assert plan.is_empty


def test_no_two_calls_for_an_instance_are_under_way_at_a_time(desk: Desk) -> None:
    running, most, lock = 0, 0, threading.Lock()
    inner = desk.scene.local.memory.perform

    def before(action: Action) -> Outcome | None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return inner(action, Material())
        finally:
            with lock:
                running -= 1

    desk.scene.local.before = before
    for number in range(1, 12):
        batch = desk.plan(shop(web=f"v:{number}"))
        if not desk.loop.admit(batch):
            break
        if desk.running is None:
            desk.running = Begun(desk.loop.run)
    desk.end()
    assert most == 1


def test_what_moved_while_a_plan_was_made_is_looked_at_again(desk: Desk) -> None:
    hold(desk, "web", shop(web="v:1"))
    early = desk.plan(shop(web="v:1", api="v:2"))
    desk.admit(desk.plan(shop(web="v:1", api="v:1")))
    wait_until(lambda: "acme/api v1" in desk.scene.replicas() and bool(desk.results))
    desk.admit(early)
    wait_until(lambda: len(desk.results) == 2)
    assert states(desk.results[1]) == {"acme/api": "overtaken", "acme/web": "underWay"}
    desk.end()
    assert desk.scene.replicas() == {"acme/api v1": 1, "acme/web v1": 1}


def test_an_instance_that_is_removed_meanwhile_goes_after_the_call(desk: Desk) -> None:
    desk.scene.run(shop(web="v:1", api="v:1"))
    desk.scene.local.performed.clear()
    desk.renew()
    hold(desk, "web", shop(web="v:2", api="v:1"))
    desk.admit(desk.plan(shop(api="v:1")))
    assert {state for item in desk.end() for state in states(item).values()} <= {
        "done", "superseded", "underWay",
    }  # fmt: skip
    assert desk.scene.replicas() == {"acme/api v1": 1}
    plan, _ = desk.scene.plan(shop(api="v:1"))
    assert plan.is_empty


def test_it_is_too_late_to_join_what_has_ended(desk: Desk) -> None:
    desk.admit(desk.plan(shop(web="v:1")))
    desk.end()
    assert not desk.loop.admit(desk.plan(shop(web="v:2")))


def test_everybody_is_told_when_all_of_it_is_stopped(desk: Desk) -> None:
    hold(desk, "web", shop(web="v:1"))
    desk.admit(desk.plan(shop(web="v:1", api="v:1")))
    desk.scene.cancel.set()
    results = desk.end()
    assert len(results) == 2 and all(item.ending is Ending.CANCELLED for item in results)


def test_each_plan_is_an_entry_of_the_audit_of_its_own(desk: Desk) -> None:
    hold(desk, "web", shop(web="v:1"))
    first, second = (replace_commit(desk.plan(shop(web=f"v:{n}")), f"c{n}") for n in (2, 3))
    desk.admit(first)
    desk.admit(second)
    desk.end()
    found = {(item.entry.commit, item.entry.outcome) for item in desk.scene.store.read_audit()
             if item.entry.address == "deployment/acme/web"}  # fmt: skip
    assert ("c3", "done") in found
    assert any(commit == "c2" and text.startswith("superseded") for commit, text in found)


def replace_commit(batch: Batch, commit: str) -> Batch:
    header = replace(batch.plan.header, commit=commit)
    batch.plan = replace(batch.plan, header=header)
    return batch
