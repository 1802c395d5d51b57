"""Where a probe goes and how long it may take: what every probe over the network needs."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.state.desired import HealthCheck

EndpointOf = Callable[[str], tuple[str, int] | None]

# The one metadata service that is not link-local.
_METADATA = frozenset({ipaddress.ip_address("fd00:ec2::254")})


class ProbeFailed(Exception):
    """Ends a probe with a message."""


def deadline_of(check: HealthCheck) -> float:
    """When a probe that begins now has failed, on the monotonic clock in seconds."""
    return monotonic_s() + check.timeout.total_seconds()


def left_s(deadline: float) -> float:
    """Seconds until then; TimeoutError when there are none."""
    left = deadline - monotonic_s()
    if left <= 0:
        raise TimeoutError
    return left


def find_addresses(check: HealthCheck, endpoint_of: EndpointOf) -> list[tuple[str, int]]:
    """Numeric addresses of the port that the check names, to be dialled as they are: a second
    lookup could answer something else. ProbeFailed where there is none, or one that is refused:
    targets come from specs, which must not reach link-local and cloud metadata addresses.
    """
    endpoint = endpoint_of(check.port)
    if endpoint is None:
        raise ProbeFailed(f"the replica offers no port {check.port!r}")
    host, port = endpoint
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, OverflowError):
        raise ProbeFailed(f"the host {host!r} does not resolve") from None
    addresses = list(dict.fromkeys((str(item[4][0]), port) for item in found))
    for text, _ in addresses:
        _refuse_metadata(ipaddress.ip_address(text.partition("%")[0]))
    return addresses


def _refuse_metadata(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_link_local or address in _METADATA:
        raise ProbeFailed(f"{address} is a link-local or metadata address, which is refused")
