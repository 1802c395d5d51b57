"""Changes of the record that a pass begins with, while others are under way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.execute.lease import HeldLease
from ctrlplane_gitops.providers.counted import CountedProvider
from ctrlplane_gitops.reconcile.run import Amendment, PassParts
from ctrlplane_gitops.redact import Redactor
from ctrlplane_gitops.state.desired import ControlPlane
from ctrlplane_gitops.state.recorded import RecordedState
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import replace
from tests.reconcile.follow_kit import app, tenant
from tests.workers.test_reconciler import WEB, Scene

PATIENCE = timedelta(seconds=15)


class HeldScene(Scene):
    """What is under way goes on once ``gate`` is set."""

    def __init__(self, root: Path) -> None:
        self.gate = threading.Event()
        super().__init__(root)

    def open_parts(self, spec: ControlPlane, stop: threading.Event) -> PassParts:
        held = CountedProvider(self.provider, self._hold)
        return replace(super().open_parts(spec, stop), providers={"here": held})

    def _hold(self, alias: str, call: str) -> None:
        if call == "perform":
            self.gate.wait(10)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[HeldScene]:
    """The first pass has been made, and the next one has begun."""
    made = HeldScene(tmp_path)
    made.gate.set()
    made.run()
    made.gate.clear()
    newer = "image: shop2, strategy: {minReady: 0s},"
    made.push("a", tenant("a") + app("a").replace("image: shop,", newer))
    made.begin()
    yield made
    made.gate.set()
    made.close()


def pin_of(scene: HeldScene) -> int | None:
    return scene.store.load_state().instances[WEB].pin


def test_what_is_under_way_may_end_while_a_pin_is_made(scene: HeldScene) -> None:
    writes: list[str] = []
    waits: list[bool] = []

    def change(recorded: RecordedState) -> RecordedState:
        if not waits:
            # At this moment the pass under way gives its lease back.
            scene.gate.set()
            waits.append(scene.reconciler.wait(PATIENCE))
        known = replace(recorded.instances[WEB], pin=1)
        return replace(recorded, instances={**recorded.instances, WEB: known})

    def write(store: Store, held: HeldLease, commit: str) -> None:
        journal = Journal(store, held.fence, scene.clock, "test", Redactor(), lambda event: None)
        journal.put(instances=(change(store.load_state()).instances[WEB],))
        journal.flush()
        writes.append(commit)

    scene.reconciler.amend(WEB, Amendment(change, write))
    scene.begin()
    assert scene.reconciler.wait(PATIENCE)
    assert waits == [True]
    assert pin_of(scene) == 1
    assert len(writes) == 1
