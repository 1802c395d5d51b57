"""A command in a container, over the WebSocket that ``kubectl exec`` uses.

The first byte of each message is its channel: 1 is the command's output, 2 its errors, and 3 says
at the end how it went. Source: Kubernetes ``k8s.io/apimachinery/pkg/util/remotecommand``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import websocket

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.cluster.connection import Connection
from ctrlplane_gitops.cluster.credential import build_tls
from ctrlplane_gitops.cluster.failure import build_error
from ctrlplane_gitops.cluster.resource import POD
from ctrlplane_gitops.errors import ProviderError, UnreachableError

_PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
_STDOUT, _STDERR, _STATUS = 1, 2, 3
_CONNECT_S = 10.0


def execute(
    connection: Connection,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    timeout_s: float,
    limit: int | None = None,
) -> tuple[int, bytes]:
    """The real exit code, and what it printed (both streams as they came, the first ``limit``
    bytes). ProviderError when it cannot be started, or does not end in time; it may go on then,
    for there is no way to end it."""
    deadline = monotonic_s() + timeout_s
    what = f"run {command[0]!r} in pod {pod}"
    query = [("container", container), ("stdout", "true"), ("stderr", "true")]
    query += [("command", part) for part in command]
    path = f"{POD.path(namespace, pod, 'exec')}?{urlencode(query)}"
    channel = _connect(connection, path, what, min(_CONNECT_S, timeout_s))
    try:
        status, output = _read(channel, deadline, limit)
    except (TimeoutError, websocket.WebSocketTimeoutException):
        raise ProviderError(f"{command[0]!r} did not end within {timeout_s:g} s") from None
    except (OSError, websocket.WebSocketException) as error:
        raise UnreachableError(f"cannot {what}: the connection was cut: {error}") from None
    finally:
        channel.shutdown()
    if status is None:
        raise UnreachableError(f"cannot {what}: the connection ended before the command did")
    return read_exit_code(status, what), output


def _connect(connection: Connection, path: str, what: str, timeout_s: float) -> Any:
    access = connection.access
    url = f"wss://{access.server.removeprefix('https://')}{path}"
    options: dict[str, Any] = {"context": build_tls(access, connection.credential)}
    if access.server_name:
        options["server_hostname"] = access.server_name
    try:
        return websocket.create_connection(
            url,
            timeout=timeout_s,
            header=[f"{name}: {value}" for name, value in connection.headers().items()],
            subprotocols=_PROTOCOLS,
            sslopt=options,
            suppress_origin=True,
            http_no_proxy=["*"],
        )
    except websocket.WebSocketBadStatusException as error:
        content = error.resp_body or b""
        raise build_error(what, error.status_code, error.resp_headers or {}, content) from None
    except (OSError, websocket.WebSocketException) as error:
        raise UnreachableError(
            f"cannot {what}: the API server {access.server} does not answer: {error}"
        ) from None


def _read(channel: Any, deadline: float, limit: int | None) -> tuple[Any, bytes]:
    """The status, None where the stream ended without one, and the output."""
    kept: list[bytes] = []
    size = 0
    while True:
        left = deadline - monotonic_s()
        if left <= 0:
            raise TimeoutError
        channel.settimeout(left)
        try:
            message = channel.recv()
        except websocket.WebSocketConnectionClosedException:
            return None, b"".join(kept)
        data = message.encode() if isinstance(message, str) else bytes(message)
        if not data:
            return None, b"".join(kept)
        kind, content = data[0], data[1:]
        if kind == _STATUS:
            return json.loads(content), b"".join(kept)
        if kind in (_STDOUT, _STDERR):
            room = len(content) if limit is None else max(0, limit - size)
            kept.append(content[:room])
            size += len(kept[-1])


def read_exit_code(status: Any, what: str) -> int:
    """The exit code of a ``Status``; ProviderError for a command that did not start.

    >>> read_exit_code({"status": "Success"}, "")
    0
    >>> cause = {"reason": "ExitCode", "message": "3"}
    >>> read_exit_code({"status": "Failure", "details": {"causes": [cause]}}, "")
    3
    """
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode" and str(cause.get("message", "")).isdigit():
            return int(cause["message"])
    raise ProviderError(f"cannot {what}: {status.get('message') or status.get('reason')}")
