"""Who watches what runs: how it is, and what it uses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import timedelta

from ctrlplane_gitops.api.metrics import Metrics
from ctrlplane_gitops.app import App
from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.execute.prober import Prober
from ctrlplane_gitops.providers.counted import CountedProvider
from ctrlplane_gitops.serving.planes import Planes
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.telemetry.series import Series, Telemetry
from ctrlplane_gitops.value import struct
from ctrlplane_gitops.workers.fleet import Fleet, Looks
from ctrlplane_gitops.workers.health_runner import HealthFigures, HealthRunner
from ctrlplane_gitops.workers.telemetry_collector import TelemetryCollector, UsageFigures
from ctrlplane_gitops.workers.worker import Worker

HEALTH, TELEMETRY = "health", "telemetry"
# A run comes up for air after ten seconds, and a look before it may take as long as an engine does.
_HEALTH_LIMIT = timedelta(minutes=2)
_TELEMETRY_LIMIT = timedelta(minutes=1)
# More than there are providers in most control planes, each of which is waited for.
_LOOKS = 8


@struct
class Pace:
    """How often those who probe look for what there is, and what replicas use is measured."""

    health: timedelta
    telemetry: timedelta


class Vitals:
    """``workers`` are to be run; ``health`` and ``telemetry`` are what they know."""

    def __init__(
        self,
        app: App,
        planes: Planes,
        read_desired: Callable[[], DesiredState | None],
        cancel: threading.Event,
        pace: Pace,
        metrics: Metrics,
        looks: Looks,
    ) -> None:
        self._planes, self._read_desired, self._metrics = planes, read_desired, metrics
        self._clock = clock = app.clock
        self._pool = Pool(_LOOKS, "vitals")
        self._prober = Prober(clock)
        self.health = HealthRunner(
            self._find_fleet,
            looks,
            self._prober,
            clock,
            cancel,
            pace.health,
            self._take_health,
        )
        self.telemetry = Telemetry(pace.telemetry)
        collector = TelemetryCollector(
            self._find_fleet,
            looks,
            self.telemetry,
            self._pool,
            clock,
            pace.telemetry,
            self._take_usage,
        )
        self.workers = (
            Worker(HEALTH, pace.health, self.health.run, _HEALTH_LIMIT),
            Worker(TELEMETRY, pace.telemetry, collector.run, _TELEMETRY_LIMIT),
        )

    def read_series(
        self, key: ResourceKey, window: timedelta
    ) -> tuple[Series, Mapping[str, Series]]:
        """What an instance used in the window that ends now, and each of its replicas."""
        now = self._clock.now()
        whole = self.telemetry.read_instance(key, now, window)
        return whole, self.telemetry.read_replicas(key, now, window)

    def close(self) -> None:
        """Only when no worker runs any more, and before the store is closed."""
        self.health.close()
        self._prober.close()
        self._pool.close()

    def _find_fleet(self) -> Fleet | None:
        """What the last pass went by, at the providers and in the store that passes work with: who
        follows the store hears of what is written here."""
        desired = self._read_desired()
        if desired is None:
            return None
        try:
            plane = self._planes.plane
        except StoreError:
            return None
        providers = {
            name: CountedProvider(item, self.count_call) for name, item in plane.providers.items()
        }
        return Fleet(desired, providers, plane.store)

    def count_call(self, provider: str, call: str) -> None:
        """Looks of ours are not those of passes."""
        self._metrics.count_call(provider, "watch" if call == "observe" else call)

    def _take_health(self, figures: HealthFigures) -> None:
        self._metrics.vitals.count_health(
            figures.instances, figures.passed, figures.failed, figures.lateness_s
        )

    def _take_usage(self, figures: Mapping[str, UsageFigures]) -> None:
        for provider, item in figures.items():
            cpu, memory, _, _ = item.total
            self._metrics.vitals.set_usage(provider, item.running, item.measured, cpu, memory)
