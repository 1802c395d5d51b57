"""Requests to one API server, over connections that are kept. Raw bytes and JSON: typed answers
take ten times as long to read as they take to come."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from ctrlplane_gitops import __version__
from ctrlplane_gitops.clock import Clock, SystemClock, monotonic_s, sleep
from ctrlplane_gitops.cluster.access import Access
from ctrlplane_gitops.cluster.credential import Credential, build_tls
from ctrlplane_gitops.cluster.failure import ApiError, build_error
from ctrlplane_gitops.errors import UnreachableError
from ctrlplane_gitops.value import struct

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON = "application/json"

# More writes side by side get into each other's way at the server; looks are not counted.
_MOST_WRITES = 8
# As many threads as there are that may ask at a time: what is kept beyond that is connected anew.
_MOST_CONNECTIONS = 40
# How long a server that asks us to wait is waited for, within one call.
_PATIENCE_S = 5.0
_FIRST_WAIT_S = 0.25
# A peer that is gone without a word is found out within half a minute, also where nothing is said.
_KEPT_ALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
_REPEATABLE = frozenset({"GET", "PATCH", "PUT", "DELETE"})


@struct
class Answer:
    """``content`` is the body as it came."""

    status: int
    content: bytes
    warnings: tuple[str, ...] = ()

    def json(self) -> Any:
        return json.loads(self.content)


class Connection:
    """One API server. For several threads; ``close`` when nobody asks any more.

    Errors: UnreachableError when it does not answer, ApiError when it says no."""

    def __init__(self, access: Access, timeout_s: float = 30.0, clock: Clock | None = None) -> None:
        self.access = access
        self.timeout_s = timeout_s
        self.credential = Credential(access, clock or SystemClock())
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(_MOST_WRITES)
        self._pool: urllib3.PoolManager | None = None

    def request(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Answer:
        """One request; ``what`` says what it is for, as in ``cannot <what>``.

        Waits and asks again while the server says that it has too much to do (for some seconds in
        all), once more where a kept connection was cut and the request is one that may be
        repeated, and once more with a fresh credential."""
        deadline = monotonic_s() + _PATIENCE_S
        wait_s, is_renewed = _FIRST_WAIT_S, False
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        while True:
            with nullcontext() if method == "GET" else self._turns:
                response = self._send(method, path, what, query, data, content_type, accept)
            if response.status < 400:
                warnings = _warnings(response.headers)
                return Answer(response.status, response.data, warnings)
            error = build_error(what, response.status, response.headers, response.data)
            if error.status == 401 and not is_renewed:
                is_renewed = True
                self._renew()
                continue
            if not _may_wait(error):
                raise error
            pause_s = wait_s if error.retry_after_s is None else error.retry_after_s
            wait_s *= 2
            if monotonic_s() + pause_s > deadline:
                raise error
            sleep(pause_s)

    @contextmanager
    def open(
        self,
        path: str,
        what: str,
        *,
        query: Mapping[str, Any] | None = None,
        read_s: float | None,
        accept: str = "*/*",
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """A GET whose answer is read as it comes; ``read_s`` is how long it may be silent, None:
        for ever. Asked once more with a fresh credential where this one is not valid any more."""
        response = self._send("GET", path, what, query, None, JSON, accept, False, read_s)
        if response.status == 401:
            response.drain_conn()
            response.release_conn()
            self._renew()
            response = self._send("GET", path, what, query, None, JSON, accept, False, read_s)
        try:
            if response.status >= 400:
                raise build_error(what, response.status, response.headers, response.read())
            yield response
        finally:
            # Not all of it was read: nobody else can use this connection.
            response.close()
            response.release_conn()

    def headers(self) -> dict[str, str]:
        """What every request says of us."""
        found = {"User-Agent": f"ctrlplane-gitops/{__version__}"}
        authorization = self.credential.authorization()
        return found | ({"Authorization": authorization} if authorization else {})

    def close(self) -> None:
        with self._lock:
            if self._pool is not None:
                self._pool.clear()
                self._pool = None

    def _send(
        self,
        method: str,
        path: str,
        what: str,
        query: Mapping[str, Any] | None,
        data: bytes | None,
        content_type: str,
        accept: str,
        is_whole: bool = True,
        read_s: float | None = 0,
    ) -> urllib3.BaseHTTPResponse:
        url = self.access.server + path + (f"?{urlencode(query, doseq=True)}" if query else "")
        headers = self.headers() | {"Accept": accept}
        if data is not None:
            headers["Content-Type"] = content_type
        timeout = urllib3.Timeout(
            connect=min(10.0, self.timeout_s), read=self.timeout_s if read_s == 0 else read_s
        )
        for attempt in (1, 2):
            try:
                return self._pooled().request(
                    method, url, body=data, headers=headers, timeout=timeout, retries=False,
                    preload_content=is_whole, redirect=False,
                )  # fmt: skip
            except HTTPError as error:
                # The server may have closed a connection that was kept, before it read anything.
                if attempt == 2 or method not in _REPEATABLE or not _is_cut(error):
                    raise UnreachableError(
                        f"cannot {what}: the API server {self.access.server} does not answer: "
                        f"{_explain(error)}",
                        hint=f"reached by {self.access.origin}",
                    ) from None
        raise AssertionError("the second attempt returns or raises")

    def _pooled(self) -> urllib3.PoolManager:
        with self._lock:
            if self._pool is None:
                # No proxy of the environment: what is said here is said to the cluster alone.
                self._pool = urllib3.PoolManager(
                    num_pools=1,
                    maxsize=_MOST_CONNECTIONS,
                    socket_options=_socket_options(),
                    ssl_context=build_tls(self.access, self.credential),
                    server_hostname=self.access.server_name,
                    assert_hostname=self.access.server_name,
                )
            return self._pool

    def _renew(self) -> None:
        self.credential.forget()
        if self.access.plugin is not None:
            # The certificate may be another one as well.
            self.close()


def _socket_options() -> list[tuple[int, int, int]]:
    """Answers are not held back, and silence is looked into."""
    found = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]
    for name, value in _KEPT_ALIVE:
        # Not every system has them.
        if (option := getattr(socket, name, None)) is not None:
            found.append((socket.IPPROTO_TCP, option, value))
    return found


def _may_wait(error: ApiError) -> bool:
    return error.status == 429 or (error.status == 503 and error.retry_after_s is not None)


def _warnings(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The texts of ``Warning`` headers.

    >>> _warnings({"Warning": '299 - "would violate PodSecurity"'})
    ('would violate PodSecurity',)
    """
    text = headers.get("Warning") or ""
    parts = (part.partition('"')[2].rpartition('"')[0] for part in text.split(", 299 "))
    return tuple(part for part in parts if part)


def _is_cut(error: HTTPError) -> bool:
    return isinstance(error, urllib3.exceptions.ProtocolError)


def _explain(error: HTTPError) -> str:
    """Without the address of a Python object, which urllib3 begins its texts with."""
    cause = error.__context__ if isinstance(error.__context__, OSError) else None
    if cause is not None and cause.strerror:
        return cause.strerror.lower()
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "timed out"
    text = str(cause or error)
    return text.rpartition("object at 0x")[2].partition(": ")[2] or text
