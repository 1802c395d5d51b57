"""One gRPC health check: ``grpc.health.v1.Health/Check`` over plain text.

The only module that knows gRPC; importing it needs the extra ``grpc``. Source of the protocol:
``doc/health-checking.md`` of grpc/grpc.

Every probe has a channel of its own. One that is kept would halve the time (0.4 ms to 0.9 ms), but
waits up to a second and more before it dials a server again that refused it, as every server does
that is just starting, and it holds a socket for each replica.
"""

from __future__ import annotations

import grpc

from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.message import decode_status, encode_request
from ctrlplane_gitops.health.target import EndpointOf, ProbeFailed, deadline_of, find_endpoint
from ctrlplane_gitops.http.address import resolve, time_left
from ctrlplane_gitops.state.desired import HealthCheck

_METHOD = "/grpc.health.v1.Health/Check"
_MAX_ANSWER_BYTES = 64 * 1024
_MAX_OPTION = 2**31 - 1
_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
"""By number, as ``HealthCheckResponse.ServingStatus`` has them."""
_OPTIONS = (
    ("grpc.primary_user_agent", "ctrlplane-gitops-probe"),
    # Replicas are dialled themselves: not by the proxy in somebody's environment, and not by a
    # connection, or a pause after a failed one, that another probe has left.
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
)
# What the library's words for a connection that failed come to; with other words it is no more than
# unreachable.
_CAUSES = (
    ("Connection refused", "connection refused"),
    ("Failed parsing HTTP/2", "not a gRPC server"),
    ("http1.x server", "not a gRPC server"),
    ("Socket closed", "closed without an answer"),
    ("Connection reset", "closed without an answer"),
)


def probe_grpc(check: HealthCheck, endpoint_of: EndpointOf) -> ProbeResult:
    """Ask the port about ``check.service``; SERVING passes. ProbeFailed, with what there was
    instead, for everything else; TimeoutError when ``check.timeout`` has passed."""
    deadline = deadline_of(check)
    answer = _ask_first(resolve(*find_endpoint(check, endpoint_of)), check, deadline)
    try:
        number = decode_status(answer)
    except ValueError:
        raise ProbeFailed("not a health answer") from None
    status = _STATUSES[number] if number < len(_STATUSES) else str(number)
    if status == "SERVICE_UNKNOWN":
        raise ProbeFailed(_unknown(check))
    return ProbeResult(status == "SERVING", f"status {status}")


def _ask_first(addresses: list[tuple[str, int]], check: HealthCheck, deadline: float) -> bytes:
    """The answer of the first address that can be reached."""
    failure = ProbeFailed("no address")
    for host, port in addresses:
        target = f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
        try:
            return _ask(target, check, time_left(deadline))
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            failure = ProbeFailed(_explain(error, check))
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                break
    raise failure


def _ask(target: str, check: HealthCheck, timeout_s: float) -> bytes:
    """The answer as it came."""
    # The socket of a server that never said a word outlives its channel until connecting times
    # out, by default after 20 s. Twice the call's own time, so that this is always up first.
    patience_ms = min(max(1, round(2000 * timeout_s)), _MAX_OPTION)
    options = (*_OPTIONS, ("grpc.min_reconnect_backoff_ms", patience_ms))
    with grpc.insecure_channel(target, options) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)
        return call(encode_request(check.service), timeout=timeout_s)


def _explain(error: grpc.Call, check: HealthCheck) -> str:
    """Why a call failed. What the server says beside its code is not quoted."""
    match error.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            raise TimeoutError from None
        case grpc.StatusCode.NOT_FOUND:
            return _unknown(check)
        case grpc.StatusCode.UNIMPLEMENTED:
            return "the server does not implement grpc.health.v1.Health"
        case grpc.StatusCode.UNAVAILABLE:
            return _explain_unavailable(error.details() or "")
        case code:
            return f"failed with {code.name}"


def _explain_unavailable(details: str) -> str:
    """
    >>> _explain_unavailable("failed to connect to all addresses; last error: UNKNOWN: "
    ...     "ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused")
    'connection refused'
    >>> _explain_unavailable("failed to connect to all addresses; last error: none of ours")
    'unreachable'
    >>> _explain_unavailable("what a server says of itself")
    'failed with UNAVAILABLE'
    """
    if not details.startswith("failed to connect"):
        return "failed with UNAVAILABLE"
    return next((said for words, said in _CAUSES if words in details), "unreachable")


def _unknown(check: HealthCheck) -> str:
    return f"the server does not know the service {check.service!r}"
