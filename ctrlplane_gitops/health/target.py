"""Where a probe goes and how long it may take: what every probe over the network needs."""

from __future__ import annotations

from collections.abc import Callable

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.state.desired import HealthCheck

EndpointOf = Callable[[str], tuple[str, int] | None]


class ProbeFailed(Exception):
    """Ends a probe with a message."""


def deadline_of(check: HealthCheck) -> float:
    """When a probe that begins now has failed, on the monotonic clock in seconds."""
    return monotonic_s() + check.timeout.total_seconds()


def find_endpoint(check: HealthCheck, endpoint_of: EndpointOf) -> tuple[str, int]:
    """Host and port of the port that the check names; ProbeFailed where there is none."""
    endpoint = endpoint_of(check.port)
    if endpoint is None:
        raise ProbeFailed(f"the replica offers no port {check.port!r}")
    return endpoint
