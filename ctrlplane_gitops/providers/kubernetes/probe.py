"""Our health checks as the kubelet's probes. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, assert_never

from ctrlplane_gitops.errors import CapabilityError
from ctrlplane_gitops.state.desired import HealthCheck, ProbeType
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.template import ReleaseTemplate

_STATUSES = (200, 399)
# The kubelet restarts what has failed its startup probe as often as this: never, in effect. What
# does not come up is for the rollout to judge.
_FOR_EVER = 1_000_000


def check_probes(checks: Sequence[HealthCheck], instance: ResourceKey) -> None:
    """CapabilityError for checks that the kubelet cannot make."""
    if len(checks) > 1:
        names = ", ".join(check.name for check in checks)
        raise CapabilityError(
            f"{instance} has {len(checks)} health checks ({names}), and Kubernetes has no "
            "capability 'several checks': it makes one of each container",
            hint="have one check say it all",
        )
    for check in checks:
        if check.type is ProbeType.HTTP and check.statuses != _STATUSES:
            low, high = check.statuses
            raise CapabilityError(
                f"{instance}: health check {check.name!r} takes the statuses {low}-{high}, and "
                "Kubernetes has no capability 'other statuses': it takes 200-399",
            )


def build_probes(checks: Sequence[HealthCheck], template: ReleaseTemplate) -> dict[str, Any]:
    """The probes of the container. The startup probe asks every second, so that what is up is seen
    to be up, and hands over to the readiness probe with the check's own interval."""
    if not checks:
        return {}
    check = checks[0]
    how = _build_action(check, template) | {"timeoutSeconds": _seconds(check.timeout)}
    startup = {"periodSeconds": 1, "failureThreshold": _FOR_EVER}
    ready = {"periodSeconds": _seconds(check.interval), "failureThreshold": max(1, check.retries)}
    return {"startupProbe": how | startup, "readinessProbe": how | ready}


def has_probes(container: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a container is probed as ``build_probes`` says; the server fills in defaults.

    >>> has_probes({"readinessProbe": {"grpc": {"port": 1}, "periodSeconds": 10}},
    ...            {"readinessProbe": {"grpc": {"port": 1}}})
    True
    >>> has_probes({"readinessProbe": {"grpc": {"port": 1}}}, {})
    False
    """
    return all(
        (name in container) is (name in wanted)
        and _covers(container.get(name, {}), wanted.get(name, {}))
        for name in ("startupProbe", "readinessProbe")
    )


def _covers(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            _covers(found.get(name), value) for name, value in wanted.items()
        )
    return bool(found == wanted)


def _build_action(check: HealthCheck, template: ReleaseTemplate) -> dict[str, Any]:
    numbers = {port.name: port.port for port in template.ports}
    port = numbers.get(check.port) or next(iter(numbers.values()), 0)
    match check.type:
        case ProbeType.HTTP:
            return {"httpGet": {"path": check.path, "port": port, "scheme": "HTTP"}}
        case ProbeType.TCP:
            return {"tcpSocket": {"port": port}}
        case ProbeType.GRPC:
            return {"grpc": {"port": port, "service": check.service}}
        case ProbeType.COMMAND:
            return {"exec": {"command": list(check.command)}}
        case _:
            assert_never(check.type)


def _seconds(span: timedelta) -> int:
    """
    >>> _seconds(timedelta(milliseconds=100)), _seconds(timedelta(seconds=2))
    (1, 2)
    """
    return max(1, math.ceil(span.total_seconds()))
