"""Asking a router over HTTP: its API, and its entry points under any name."""

from __future__ import annotations

import errno
import http.client
import json
import socket
import ssl
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from ctrlplane_gitops.errors import UnreachableError
from ctrlplane_gitops.network.options import EntryPoint
from ctrlplane_gitops.value import struct

_MAX_BYTES = 64 * 2**20
SENTINEL_STATUS = 418


@struct
class Answer:
    """``location`` is where it sends on to, "" for nowhere."""

    status: int
    body: bytes
    location: str = ""


def fetch(url: str, timeout_s: float = 5.0) -> Answer:
    """GET it, without proxies or redirects; UnreachableError when nobody answers."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    return _ask(connection, target, {}, f"{parts.scheme}://{parts.netloc}")


def fetch_json(url: str) -> Any:
    """The JSON behind it; UnreachableError when there is none."""
    answer = fetch(url)
    try:
        if answer.status == 200:
            return json.loads(answer.body)
    except ValueError:
        pass
    raise UnreachableError(f"{url} answers {answer.status}, not with what was asked for")


def knock(
    point: EntryPoint, name: str, *, tls_name: str | None = None, timeout_s: float = 2.0
) -> int:
    """The status of ``/`` under that host name at an entry point; UnreachableError when nobody
    answers. ``tls_name`` is what is asked for in the handshake, where that is another name."""
    return call(point, "/", name, tls_name=tls_name, timeout_s=timeout_s).status


def call(
    point: EntryPoint,
    target: str,
    name: str,
    *,
    tls_name: str | None = None,
    timeout_s: float = 2.0,
) -> Answer:
    """What a path answers under that host name, over a connection of its own. Certificates are not
    judged: this is about who answers at all."""
    connection: http.client.HTTPConnection
    if point.is_tls:
        connection = _NamedConnection(point, tls_name or name, timeout_s)
    else:
        connection = http.client.HTTPConnection(point.probe_host, point.port, timeout=timeout_s)
    return _ask(connection, target, {"Host": name}, f"entry point {point.name!r}")


def is_taken(point: EntryPoint) -> bool:
    """Whether somebody listens where an entry point of this machine is to be. Where we may not
    listen ourselves that cannot be told, and is not said."""
    family = socket.AF_INET6 if ":" in point.host else socket.AF_INET
    with socket.socket(family) as probe:
        # What was closed a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((point.host, point.port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _ask(
    connection: http.client.HTTPConnection, target: str, headers: dict[str, str], who: str
) -> Answer:
    try:
        connection.request("GET", target, headers={"Connection": "close", **headers})
        answer = connection.getresponse()
        location = answer.getheader("Location", "")
        return Answer(answer.status, answer.read(_MAX_BYTES), location)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreachableError(f"{who} does not answer: {reason}") from None
    finally:
        connection.close()


@cache
def _unjudging() -> ssl.SSLContext:
    """Made once: a probe that judges no certificate has no authorities to load."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _NamedConnection(http.client.HTTPSConnection):
    """TLS to an entry point under a name of our choice."""

    def __init__(self, point: EntryPoint, name: str, timeout_s: float) -> None:
        self._tls = _unjudging()
        super().__init__(point.probe_host, point.port, timeout=timeout_s, context=self._tls)
        self._name = name

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self._name)
        except OSError:
            plain.close()
            raise
