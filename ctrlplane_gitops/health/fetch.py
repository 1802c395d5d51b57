"""One GET of a URL of the specs, within a hard time limit.

Link-local and metadata addresses are refused as for probes, redirects are reported rather than
followed, no proxy is asked, certificates are verified, and a body is cut off at its cap.
"""

from __future__ import annotations

import io
import socket
from datetime import timedelta
from typing import Any, cast
from urllib.parse import urlsplit

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.health.address import AddressError, dial, explain, time_left
from ctrlplane_gitops.value import struct

MAX_BODY_BYTES = 1024 * 1024
_HEADERS = {
    "User-Agent": "ctrlplane-gitops-analysis",
    "Accept": "application/json",
    "Connection": "close",
}


class FetchError(Exception):
    """There is no answer, or none that may be used; the text says why and quotes no body."""


@struct
class Reply:
    status: int
    body: bytes


def fetch(url: str, timeout: timedelta) -> Reply:
    """The answer, whatever its status but a redirect's; FetchError. Takes no longer than
    ``timeout`` (resolving a host name excepted)."""
    # Nobody who measures nothing over HTTP waits for these.
    import ssl
    from http.client import HTTPException, RemoteDisconnected

    try:
        reply = _ask(url, monotonic_s() + timeout.total_seconds())
    except AddressError as failure:
        raise FetchError(str(failure)) from None
    except TimeoutError:
        raise FetchError(f"no answer within {timeout.total_seconds():g}s") from None
    except ssl.SSLCertVerificationError as failure:
        raise FetchError(f"its certificate is not trusted: {failure.verify_message}") from None
    except ssl.SSLError as failure:
        raise FetchError(f"no TLS: {(failure.reason or 'error').lower()}") from None
    except RemoteDisconnected:
        raise FetchError("closed without an answer") from None
    except OSError as failure:
        raise FetchError(explain(failure)) from None
    except (HTTPException, ValueError) as failure:
        raise FetchError(f"not an HTTP answer ({type(failure).__name__})") from None
    if 300 <= reply.status < 400:
        raise FetchError(f"status {reply.status}: redirects are not followed")
    if len(reply.body) > MAX_BODY_BYTES:
        raise FetchError(f"the answer is longer than {MAX_BODY_BYTES // 2**20} MiB")
    return reply


def _ask(url: str, deadline: float) -> Reply:
    from http.client import HTTPConnection, IncompleteRead

    parts = urlsplit(url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with (
        dial(host, parts.port or (443 if is_tls else 80), deadline) as plain,
        _secure(plain, host, deadline) if is_tls else plain as connection,
    ):
        asking = HTTPConnection(host)
        # Typed as a socket, used for no more than this.
        asking.sock = cast(Any, _Wire(connection, deadline))
        asking.request("GET", target, headers={"Host": parts.netloc, **_HEADERS})
        with asking.getresponse() as answer:
            body = answer.read(MAX_BODY_BYTES + 1)
            if answer.length and len(body) <= MAX_BODY_BYTES:
                # Half a number is a number too.
                raise IncompleteRead(body)
            return Reply(answer.status, body)


def _secure(plain: socket.socket, host: str, deadline: float) -> socket.socket:
    import ssl

    plain.settimeout(time_left(deadline))
    return ssl.create_default_context().wrap_socket(plain, server_hostname=host)


class _Wire:
    """What http.client needs of a socket, with one deadline for all of it: a socket's own timeout
    begins anew with every byte. Whoever opened the connection closes it."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._connection.settimeout(time_left(self._deadline))
        self._connection.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Stream(self._connection, self._deadline))

    def close(self) -> None:
        """Not ours to close."""


class _Stream(io.RawIOBase):
    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(time_left(self._deadline))
        return self._connection.recv_into(buffer)
