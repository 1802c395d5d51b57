"""Being told of what changes: who is watched, and what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from pathlib import Path

from ctrlplane_gitops.app import Where, open_app
from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.config import load_settings
from ctrlplane_gitops.errors import UnreachableError
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.halt import Halt
from ctrlplane_gitops.providers.memory import MemoryProvider
from ctrlplane_gitops.providers.memory_world import MemoryWorld
from ctrlplane_gitops.serving.following import load_followed
from ctrlplane_gitops.serving.output import Output
from ctrlplane_gitops.serving.service import Intervals, Service
from ctrlplane_gitops.serving.watching import Watches
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from tests.bench.fleet import WORLD, make_fleet
from tests.e2e.plane import wait_until

WEB = instance_key("acme", "web")
RARELY = timedelta(hours=1)


class Scripted(MemoryProvider):
    """``errors`` are raised one after another when it is to be watched; then it tells of WEB, and
    has a bug or goes on until it is halted."""

    errors: list[UnreachableError]
    has_bug = False

    def watch(
        self, on_change: Callable[[Collection[ResourceKey]], None], halt: Halt
    ) -> Sequence[Callable[[], None]]:
        if self.errors:
            raise self.errors.pop(0)
        is_over = threading.Event()
        halt.on_set(is_over.set)

        def call() -> None:
            on_change([WEB])
            if self.has_bug:
                raise KeyError("hunter22")
            is_over.wait()

        return (call,)


def scripted(root: Path, *errors: UnreachableError) -> Scripted:
    made = Scripted(ProviderSettings("prod", ProviderConfig("here", "memory"), str(root)))
    made.errors = list(errors)
    return made


def test_who_cannot_be_watched_yet_is_tried_again(tmp_path: Path) -> None:
    lines: list[str] = []
    told: list[ResourceKey] = []
    watches = Watches(Output(lines.append), told.extend)
    failures = [UnreachableError("it is not there yet")] * 2
    provider = scripted(tmp_path, *failures)
    for _ in failures:
        watches.begin({"here": provider})
        assert watches.aliases == frozenset()
    assert lines == ["here is not watched yet: it is not there yet"]
    for _ in range(2):
        watches.begin({"here": provider})
    assert watches.aliases == {"here"}
    wait_until(lambda: told == [WEB])
    watches.close()


def test_a_bug_in_a_watch_is_told_without_what_it_says(tmp_path: Path) -> None:
    lines: list[str] = []
    watches = Watches(Output(lines.append), lambda keys: None)
    provider = scripted(tmp_path)
    provider.has_bug = True
    watches.begin({"here": provider})
    wait_until(lambda: bool(lines))
    assert "a bug: unexpected KeyError while watching here" in lines[0]
    assert "hunter22" not in lines[0]
    watches.close()


def test_who_watches_nothing_is_left_alone(tmp_path: Path) -> None:
    settings = ProviderSettings("prod", ProviderConfig("here", "memory"), str(tmp_path))
    watches = Watches(Output(), lambda keys: None)
    watches.begin({"here": MemoryProvider(settings)})
    assert watches.aliases == frozenset()
    watches.close()


def test_what_dies_is_put_right_long_before_everything_is_looked_at(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, 3, f"{{type: memory, path: {WORLD}, watch: true}}")
    cancel, world = threading.Event(), MemoryWorld(fleet.world)
    settings, where = load_settings(fleet.environ), Where(str(fleet.repo), "main")
    with open_app(
        settings, fleet.environ, SystemClock(), where, cancel, lambda effect: None
    ) as app:  # fmt: skip
        followed = load_followed(fleet.environ, str(fleet.repo))
        intervals = Intervals(RARELY, RARELY, RARELY, RARELY, RARELY)
        service = Service(app, cancel, intervals, Output(), followed)
        service.scheduler.start()
        try:
            wait_until(lambda: b"ctrlplane_passes_total{" in service.views.render_metrics())
            name, before = next(iter(world.read().replicas.items()))
            with world.change() as changed:
                del changed.replicas[name]
            wait_until(lambda: name in world.read().replicas)
            assert world.read().replicas[name].id != before.id
        finally:
            cancel.set()
            assert service.stop(timedelta(seconds=10))
            service.close()
