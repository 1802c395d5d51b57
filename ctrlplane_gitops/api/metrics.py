"""What Prometheus is told. Labels are words of ours, aliases of the control plane and the one
commit there is now: no tenant and no instance, so their number is bounded."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from ctrlplane_gitops.api.vital_metrics import VitalMetrics
from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.status.view import InstancePhase

_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)


class Metrics:
    """The figures of one ``serve``, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.vitals = VitalMetrics(registry)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"ctrlplane_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"ctrlplane_{name}", text, labels, registry=registry)

        self._passes = counter("passes", "Passes by how they ended.", "outcome")
        for outcome in PassOutcome:
            self._passes.labels(outcome.value)
        self._duration = Histogram(
            "ctrlplane_pass_duration_seconds",
            "How long passes took, by whether they were about everything.",
            ["scope"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._parsed = counter("files_parsed", "Files of specs that were parsed.")
        self._calls = counter(
            "provider_calls", "Calls to providers: observe and watch look, perform changes.",
            "provider", "call",
        )  # fmt: skip
        self._instances = gauge("instances", "Instances by phase.", "phase")
        self._corrections = counter("drift_corrections", "Instances whose drift was corrected.")
        self._commit = gauge("commit_info", "The commit of the last pass.", "commit", "ref")
        self._completed_at = gauge(
            "last_complete_pass_timestamp_seconds", "When a pass last did all it could."
        )
        self._had_at = gauge(
            "source_last_success_timestamp_seconds", "When the source was last had."
        )
        self._looks = counter("source_looks", "Looks at the source by result.", "result")
        self._deliveries = counter(
            "deliveries", "Deliveries by who sent them and how they ended.", "sender", "outcome"
        )
        self._runs = counter("worker_runs", "Runs of each worker.", "worker")
        self._errors = counter("worker_errors", "Runs that ended with an error.", "worker")
        self._renewed = counter("certificates_renewed", "Certificates renewed in time.")
        self._collected = counter("collected", "What was cleared away, by what it was.", "what")
        self._events = counter("events", "Events by type.", "type")
        self._notifications = counter(
            "notification_attempts", "Messages sent to a subscription, by what came of it.",
            "subscription", "outcome",
        )  # fmt: skip
        self._overdue = counter("worker_overdue", "Runs that took longer than allowed.", "worker")

    def count_pass(self, report: PassReport) -> None:
        self._passes.labels(report.outcome.value).inc()
        scope = "whole" if report.is_whole else "part"
        self._duration.labels(scope).observe(report.duration.total_seconds())
        self._parsed.inc(report.parsed)
        self._corrections.inc(report.corrected)
        # An info metric has one series: that of the commit before must go.
        self._commit.clear()
        self._commit.labels(report.commit, report.ref).set(1)
        if report.is_complete:
            self._completed_at.set((report.at + report.duration).timestamp())

    def count_look(self, error: str) -> None:
        if not error:
            self._had_at.set_to_current_time()
        self._looks.labels("error" if error else "ok").inc()

    def count_delivery(self, sender: str, outcome: str) -> None:
        self._deliveries.labels(sender, outcome).inc()

    def count_call(self, provider: str, call: str) -> None:
        self._calls.labels(provider, call).inc()

    def count_run(self, worker: str, is_error: bool) -> None:
        self._runs.labels(worker).inc()
        self._errors.labels(worker).inc(1 if is_error else 0)

    def count_renewed(self, count: int) -> None:
        self._renewed.inc(count)

    def count_collected(self, counts: Mapping[str, int]) -> None:
        """What was seen is not gone."""
        for what, count in counts.items():
            if not what.endswith("_seen"):
                self._collected.labels(what).inc(count)

    def count_event(self, type: str) -> None:
        self._events.labels(type).inc()

    def count_notification(self, subscription: str, outcome: str) -> None:
        """``outcome`` is ``delivered``, ``retry`` or ``failed``."""
        self._notifications.labels(subscription, outcome).inc()

    def count_overdue(self, worker: str) -> None:
        self._overdue.labels(worker).inc()

    def set_instances(self, phases: Mapping[InstancePhase, int]) -> None:
        """All phases, also those that nobody is in: a series that vanishes is no zero."""
        for phase in InstancePhase:
            self._instances.labels(phase.value).set(phases.get(phase, 0))

    def render(self) -> bytes:
        return generate_latest(self._registry)
