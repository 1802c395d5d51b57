"""One request to a URL of the specs, within a hard time limit.

Link-local and metadata addresses are refused as for probes, redirects are never followed, no proxy
is asked, certificates are verified, and a body is cut off at its cap.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.http.address import AddressError, dial, explain, time_left
from ctrlplane_gitops.value import field, struct

if TYPE_CHECKING:
    from http.client import HTTPResponse

MAX_BODY_BYTES = 1024 * 1024
_READ = {"User-Agent": "ctrlplane-gitops-analysis", "Accept": "application/json"}
_SAY = {"User-Agent": "ctrlplane-gitops"}


class FetchError(Exception):
    """There is no answer, or none that may be used; the text says why and quotes no body."""


@struct
class Reply:
    """``headers`` by lower-case name, the last one where there are several."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def fetch(url: str, timeout: timedelta) -> Reply:
    """The answer to a GET, whatever its status but a redirect's; FetchError. Takes no longer than
    ``timeout`` (resolving a host name excepted)."""
    reply = _send("GET", url, _READ, None, timeout)
    if 300 <= reply.status < 400:
        raise FetchError(f"status {reply.status}: redirects are not followed")
    if len(reply.body) > MAX_BODY_BYTES:
        raise FetchError(f"the answer is longer than {MAX_BODY_BYTES // 2**20} MiB")
    return reply


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout: timedelta,
    *,
    reads_answer: bool = False,
) -> Reply:
    """What a POST is answered, whatever its status, a redirect's included; FetchError as above.
    The body of the answer is left unread unless it is asked for: whoever posts has been heard with
    the status."""
    return _send("POST", url, {**_SAY, **headers}, body, timeout, reads_answer=reads_answer)


def _send(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    timeout: timedelta,
    *,
    reads_answer: bool = True,
) -> Reply:
    # Nobody who asks nobody over HTTP waits for these.
    import ssl
    from http.client import HTTPException, RemoteDisconnected

    try:
        deadline = monotonic_s() + timeout.total_seconds()
        return _ask(method, url, headers, body, deadline, reads_answer=reads_answer)
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


def _ask(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    deadline: float,
    *,
    reads_answer: bool,
) -> Reply:
    from http.client import HTTPConnection

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
        given = {"Host": parts.netloc, **headers, "Connection": "close"}
        asking.request(method, target, body=body, headers=given)
        with asking.getresponse() as answer:
            content = _read_body(answer) if reads_answer else b""
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, content, found)


def _read_body(answer: HTTPResponse) -> bytes:
    """One byte more than the cap where it is longer."""
    from http.client import IncompleteRead

    body = answer.read(MAX_BODY_BYTES + 1)
    if answer.length and len(body) <= MAX_BODY_BYTES:
        # Half a number is a number too.
        raise IncompleteRead(body)
    return body


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
