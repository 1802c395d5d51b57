"""A fleet of memory replicas that is watched on a clock which only moves when told to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.diagnostics import Origin
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.execute.prober import Answer
from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.tally import Probed
from ctrlplane_gitops.providers.base import Provider, ProviderSettings
from ctrlplane_gitops.providers.memory import MemoryProvider
from ctrlplane_gitops.providers.memory_world import MemoryWorld
from ctrlplane_gitops.state.action import Material, RemoveInstance, ScaleReplicaSet
from ctrlplane_gitops.state.desired import (
    ControlPlane,
    DesiredInstance,
    DesiredResource,
    DesiredState,
    HealthCheck,
    ProbeType,
    ProviderConfig,
    Resources,
)
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.state.template import Port, Release, ReleaseTemplate
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.memory import MemoryStore
from ctrlplane_gitops.workers.fleet import Fleet, Looks
from ctrlplane_gitops.workers.health_runner import HealthFigures, HealthRunner, Job

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEB, DB = instance_key("acme", "web"), instance_key("acme", "db")
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
READY = HealthCheck("ready", ProbeType.HTTP, "http", interval=timedelta(seconds=5), retries=3)


class ScriptedProbes:
    """Every target says at once what ``says`` has for its replica, which is that all is well where
    it has nothing. ``asked`` counts by replica."""

    def __init__(self) -> None:
        self.says: dict[str, ProbeResult] = {}
        self.asked: dict[str, int] = {}
        self._answers: list[Answer] = []

    @property
    def pending(self) -> int:
        return len(self._answers)

    def start(self, item: Probed, provider: Provider) -> None:
        name = item.replica.name
        self.asked[name] = self.asked.get(name, 0) + 1
        result = self.says.get(name, ProbeResult(True, "200"))
        self._answers.append(Answer(item, result, timedelta()))

    def collect(self, timeout: timedelta) -> list[Answer]:
        found, self._answers = self._answers, []
        return found


def desire(
    key: ResourceKey = WEB, replicas: int = 2, checks: tuple[HealthCheck, ...] = (READY,)
) -> DesiredInstance:
    template = ReleaseTemplate("here", command=("run",), ports=(Port("http", 80),))
    resource = DesiredResource(key, "{}", "f", Origin("a.yaml"))
    return DesiredInstance(
        resource, "here", replicas, Resources(), checks, (), template=template, revision="r"
    )


class World:
    """Replicas of the instances that are desired, one store, and any number of processes that
    watch them."""

    def __init__(self, root: Path, *instances: DesiredInstance, store: Store | None = None) -> None:
        self.clock = FakeClock(START)
        self.store = store or MemoryStore()
        config = ProviderConfig("here", "memory")
        settings = ProviderSettings("prod", config, str(root))
        self.provider = MemoryProvider(settings, MemoryWorld(), self.clock)
        self.plane = ControlPlane("prod", {"here": config}, "here")
        self.desire(*instances)
        for instance in instances:
            self.scale(instance.key, instance.replicas)

    def desire(self, *instances: DesiredInstance) -> None:
        found = {item.key: item for item in instances}
        self.desired: DesiredState | None = DesiredState(self.plane, {}, found)

    def scale(self, key: ResourceKey, replicas: int, number: int = 1) -> None:
        template = desire(key).template
        assert template is not None
        release = Release(key, number, f"r{number}", template, "", START)
        action = ScaleReplicaSet(key, "here", release, replicas)
        assert self.provider.perform(action, Material()).is_ok

    def remove(self, key: ResourceKey) -> None:
        self.provider.perform(RemoveInstance(key, "here", timedelta()), Material())

    def find_fleet(self) -> Fleet | None:
        if self.desired is None:
            return None
        return Fleet(self.desired, {"here": self.provider}, self.store)

    def events(self) -> list[tuple[str, str]]:
        """Type and message, as the store has them."""
        rows = self.store.read_events()
        return [(row.event.type, row.event.message) for row in reversed(rows)]


class AtOnce:
    """A call that is over when it has begun, so that the clock has not moved meanwhile."""

    is_done = True

    def __init__(self, call: Callable[[], Any]) -> None:
        self._error: Exception | None = None
        try:
            self._found = call()
        except Exception as error:
            self._error = error

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._found


class Watching:
    """One process that watches a world. ``count`` is how often it gave figures."""

    def __init__(
        self,
        world: World,
        interval: timedelta = 30 * SECOND,
        begin: Callable[[Callable[[], Any]], Job] = AtOnce,
    ) -> None:
        self.world = world
        self.probes = ScriptedProbes()
        self.cancel = threading.Event()
        self.told: list[str] = []
        self.figures, self.count = HealthFigures({}), 0
        self.pool = Pool(2, "look")
        world.store.watch_events(lambda rows: self.told.extend(row.event.type for row in rows))
        self.runner = HealthRunner(
            world.find_fleet,
            Looks(self.pool, world.clock),
            self.probes,
            world.clock,
            self.cancel,
            interval,
            self._take,
            begin,
        )

    def _take(self, figures: HealthFigures) -> None:
        self.figures = figures
        self.count += 1

    def go_on(self, time: timedelta) -> None:
        """Run as a scheduler would for so long."""
        end = self.world.clock.now() + time
        while True:
            after = self.runner.run().after
            assert after is not None and after >= timedelta()
            if self.world.clock.now() + after > end:
                break
            self.world.clock.advance(after)
        self.world.clock.advance(max(timedelta(), end - self.world.clock.now()))

    def health(self, key: ResourceKey = WEB) -> str:
        found = self.runner.read_one(key)
        return "nobody" if found is None else found.health.value

    def close(self) -> None:
        self.runner.close()
        self.pool.close()
