"""What Prometheus is told of health and use: in all, and by provider."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ctrlplane_gitops.state.health import Health

_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class VitalMetrics:
    """In the registry of one ``serve``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, label: str = "provider") -> Gauge:
            return Gauge(f"ctrlplane_{name}", text, [label], registry=registry)

        self._health = gauge("health_instances", "Instances by how they are.", "health")
        self._checks = Counter(
            "ctrlplane_health_checks", "Health checks by result.", ["result"], registry=registry
        )
        self._lateness = Histogram(
            "ctrlplane_health_check_lateness_seconds",
            "How long after they were due checks were begun.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._running = gauge("replicas_running", "Replicas that run, as last seen.")
        self._measured = gauge("replicas_measured", "Those that were measured last.")
        self._cpu = gauge("usage_cpu_cores", "What replicas use together.")
        self._memory = gauge("usage_memory_bytes", "What replicas hold together.")

    def count_health(
        self, instances: Mapping[Health, int], passed: int, failed: int, lateness_s: Iterable[float]
    ) -> None:
        """Instances as they are now; the checks since the last time."""
        for health in Health:
            self._health.labels(health.value).set(instances.get(health, 0))
        self._checks.labels("passed").inc(passed)
        self._checks.labels("failed").inc(failed)
        for seconds in lateness_s:
            self._lateness.observe(seconds)

    def set_usage(
        self,
        provider: str,
        running: int,
        measured: int,
        cpu_millicores: float | None,
        memory_bytes: float | None,
    ) -> None:
        """Of the last round; what is not known is not a number."""
        self._running.labels(provider).set(running)
        self._measured.labels(provider).set(measured)
        cores = math.nan if cpu_millicores is None else cpu_millicores / 1000
        self._cpu.labels(provider).set(cores)
        self._memory.labels(provider).set(math.nan if memory_bytes is None else memory_bytes)
