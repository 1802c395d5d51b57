"""One probe: an HTTP request, a TCP connection, a gRPC health check or a command, within a hard
time limit.

Targets come from specs, so redirects are reported rather than followed, no more than a fixed number
of bytes is ever read, and ``target`` refuses addresses that no check has business with.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import assert_never

from ctrlplane_gitops.errors import CtrlplaneError, explain_missing
from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.exchange import (
    CHUNK_BYTES,
    DRAIN_PAUSE_S,
    MAX_BODY_BYTES,
    build_request,
    judge_status,
    read_status,
)
from ctrlplane_gitops.health.target import EndpointOf, ProbeFailed, deadline_of, find_endpoint
from ctrlplane_gitops.http.address import AddressError, dial, explain, time_left
from ctrlplane_gitops.state.desired import HealthCheck, ProbeType

RunCommand = Callable[[Sequence[str], timedelta], int]


def probe(check: HealthCheck, endpoint_of: EndpointOf, run_command: RunCommand) -> ProbeResult:
    """Run the check once. Never raises for a target that fails, and takes no longer than
    ``check.timeout`` (resolving a host *name* excepted; providers answer with addresses).

    ``endpoint_of`` maps a port's name to (host, port), None when the replica does not offer it.
    ``run_command`` runs the command inside the replica and returns its exit code; it may raise
    ``CtrlplaneError`` or ``TimeoutError``.
    """
    try:
        match check.type:
            case ProbeType.COMMAND:
                return _probe_command(check, run_command)
            case ProbeType.TCP:
                with _connect(check, endpoint_of, deadline_of(check)):
                    return ProbeResult(True, "connected")
            case ProbeType.HTTP:
                return _probe_http(check, endpoint_of)
            case ProbeType.GRPC:
                return _probe_grpc(check, endpoint_of)
            case _:
                assert_never(check.type)
    except (ProbeFailed, AddressError) as failure:
        return ProbeResult(False, str(failure))
    except CtrlplaneError as failure:
        return ProbeResult(False, failure.explained)
    except TimeoutError:
        return ProbeResult(False, f"no answer within {check.timeout.total_seconds():g}s")
    except OSError as failure:
        return ProbeResult(False, explain(failure))


def _probe_command(check: HealthCheck, run_command: RunCommand) -> ProbeResult:
    exit_code = run_command(check.command, check.timeout)
    return ProbeResult(exit_code == 0, f"exit code {exit_code}")


def _probe_grpc(check: HealthCheck, endpoint_of: EndpointOf) -> ProbeResult:
    try:
        # gRPC is an extra, and takes 60 ms: only who has such a check loads it.
        from ctrlplane_gitops.health.grpc import probe_grpc
    except ModuleNotFoundError as missing:
        raise explain_missing("a check of type grpc", missing, "grpc") from None
    return probe_grpc(check, endpoint_of)


def _probe_http(check: HealthCheck, endpoint_of: EndpointOf) -> ProbeResult:
    deadline = deadline_of(check)
    with _connect(check, endpoint_of, deadline) as connection:
        host, port = connection.getpeername()[:2]
        connection.settimeout(time_left(deadline))
        connection.sendall(build_request(check.path, host, port))
        status = _receive_status(connection, deadline)
        _drain(connection, deadline)
    return judge_status(check, status)


def _receive_status(connection: socket.socket, deadline: float) -> int:
    """The whole head is read (up to a cap) so that the server sees it taken."""
    head = b""
    while True:
        connection.settimeout(time_left(deadline))
        received = connection.recv(CHUNK_BYTES)
        head += received
        status = read_status(head, is_closed=not received)
        if status is not None:
            return status


def _drain(connection: socket.socket, deadline: float) -> None:
    """Take a small body, so that a server does not log a reset on every probe. The status has
    decided already: a slow or endless body changes nothing."""
    left = MAX_BODY_BYTES
    with suppress(OSError):
        while left > 0:
            connection.settimeout(min(DRAIN_PAUSE_S, time_left(deadline)))
            received = len(connection.recv(CHUNK_BYTES))
            if not received:
                return
            left -= received


def _connect(check: HealthCheck, endpoint_of: EndpointOf, deadline: float) -> socket.socket:
    return dial(*find_endpoint(check, endpoint_of), deadline)
