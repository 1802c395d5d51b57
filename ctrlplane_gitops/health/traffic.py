"""What a router counted of one release between two looks. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ctrlplane_gitops.state.analysis import Measurement, RouterMetric, TrafficRate
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import TrafficCount


def measure_traffic(metric: RouterMetric, before: TrafficCount, after: TrafficCount) -> Measurement:
    """Error rate and mean latency of the requests in between; no data for fewer than
    ``min_requests``, or when the counters began anew.

    >>> measure_traffic(RouterMetric(), TrafficCount(100, 3, 9.0), TrafficCount(140, 5, 13.0)).value
    TrafficRate(requests=40, error_rate=0.05, latency_s=0.1)
    """
    requests = after.requests - before.requests
    errors, seconds = after.errors - before.errors, after.duration_s - before.duration_s
    if has_restarted(before, after):
        return Measurement(note="the router's counters began anew")
    if requests < max(1, metric.min_requests):
        noun = "request" if requests == 1 else "requests"
        return Measurement(note=f"{requests} {noun}, fewer than {metric.min_requests}")
    return Measurement(TrafficRate(requests, min(1.0, errors / requests), seconds / requests))


def has_restarted(before: TrafficCount, after: TrafficCount) -> bool:
    """Counters only grow while a router lives."""
    return (
        after.requests < before.requests
        or after.errors < before.errors
        or after.duration_s < before.duration_s
    )


def count_release(
    counts: Mapping[tuple[ResourceKey, int], TrafficCount],
    routes: Collection[ResourceKey],
    release: int,
) -> TrafficCount:
    """The sum over an instance's routes; what is not counted yet counts as nothing.

    >>> from ctrlplane_gitops.state.key import Kind
    >>> web, api = (ResourceKey(Kind.ROUTE, "acme", name) for name in ("web", "api"))
    >>> counts = {(web, 1): TrafficCount(90), (web, 2): TrafficCount(9, 1)}
    >>> counts[api, 2] = TrafficCount(3)
    >>> count_release(counts, [web, api], 2)
    TrafficCount(requests=12, errors=1, duration_s=0.0)
    """
    found = [counts[route, release] for route in set(routes) if (route, release) in counts]
    return TrafficCount(
        sum(item.requests for item in found),
        sum(item.errors for item in found),
        sum(item.duration_s for item in found),
    )
