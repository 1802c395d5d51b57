"""waitress beside our own threads: it is bound before anything else is done, and stopped without
cutting off who is being answered."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from waitress import create_server, wasyncore

from ctrlplane_gitops.api.application import MAX_BODY
from ctrlplane_gitops.api.lane import Lane, LaneChannel
from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.execute.pool import Begun

# Streams will hold a thread each (measured: with eight, twelve of them keep others waiting).
_THREADS = 64
_CHANNEL_TIMEOUT_S = 120
_CONNECTIONS = 1000
MakeLane = Callable[[int], Lane]
_REASONS = {
    errno.EADDRINUSE: "the port is in use",
    errno.EACCES: "the port is not ours to take",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


def parse_listen(text: str) -> tuple[str, int]:
    """``HOST:PORT``, ``:PORT`` for every address; UsageError for anything else.

    >>> parse_listen("127.0.0.1:8321"), parse_listen("[::1]:80"), parse_listen(":80")
    (('127.0.0.1', 8321), ('::1', 80), ('0.0.0.0', 80))
    """
    host, colon, port = text.rpartition(":")
    is_number = port.isascii() and port.isdigit() and int(port) < 65536
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not is_number or (":" in bare and bare == host):
        raise UsageError(
            f"--listen: {text!r} is not HOST:PORT", hint="such as 127.0.0.1:8321 or [::1]:8321"
        )
    return bare or "0.0.0.0", int(port)


def bind(host: str, port: int) -> socket.socket:
    """A socket that nobody is answered on yet. UsageError when it cannot be had."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        reason = (error.strerror or "it is no address").lower()
        raise UsageError(f"--listen: cannot listen on {host}: {reason}") from None
    made = socket.socket(family, kind)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        # Whoever else asks for the port from now on is told that it is in use.
        made.listen(1024)
    except OSError as error:
        made.close()
        reason = _REASONS.get(error.errno or 0) or (error.strerror or "error").lower()
        raise UsageError(
            f"--listen: cannot listen on {host}:{port}: {reason}", hint="give another --listen"
        ) from None
    return made


def is_loopback(listening: socket.socket) -> bool:
    """Whether no other machine reaches it."""
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def url_of(listening: socket.socket) -> str:
    """Where it can be asked.

    >>> with bind("127.0.0.1", 0) as made:
    ...     url_of(made).startswith("http://127.0.0.1:")
    True
    """
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Server:
    """Answers from ``start`` until ``stop``. ``make_lane`` makes the lane of webhooks, beside so
    many threads for all else; None where there is none."""

    def __init__(
        self, application: Any, listening: socket.socket, make_lane: MakeLane | None = None
    ) -> None:
        self._server: Any = create_server(
            application,
            _dispatcher=None if make_lane is None else make_lane(_THREADS),
            sockets=[listening],
            threads=_THREADS,
            channel_timeout=_CHANNEL_TIMEOUT_S,
            connection_limit=_CONNECTIONS,
            # select() takes no descriptor above 1023.
            asyncore_use_poll=True,
            # A little more than the application takes, which answers in its own way.
            max_request_body_size=MAX_BODY + 65536,
            ident=None,
            clear_untrusted_proxy_headers=True,
        )
        if make_lane is not None:
            self._server.channel_class = LaneChannel
        self._loop: Begun[None] | None = None

    def start(self) -> None:
        self._loop = Begun(self._server.run)

    def stop(self, within: timedelta) -> None:
        """Take no more connections, let the requests under way be answered for as long as
        ``within``, and close. Once is enough: what it would close is somebody else's by then."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        deadline = monotonic_s() + within.total_seconds()
        dispatcher = self._server.task_dispatcher
        self._in_loop(lambda: wasyncore.dispatcher.close(self._server))
        while self._is_busy() and monotonic_s() < deadline:
            sleep(0.02)
        self._in_loop(lambda: wasyncore.close_all(self._server._map, ignore_all=True))
        while not loop.is_done and monotonic_s() < deadline + 0.2:
            sleep(0.005)
        dispatcher.shutdown(cancel_pending=True, timeout=max(0.1, deadline - monotonic_s()))

    def _is_busy(self) -> bool:
        """Whether somebody is being answered, or is still being sent the answer."""
        if self._server.task_dispatcher.active_count:
            return True
        channels = list(self._server.active_channels.values())
        return any(item.requests or item.total_outbufs_len for item in channels)

    def _in_loop(self, call: Any) -> None:
        """waitress's own objects belong to the thread of its loop."""
        with suppress(OSError):
            self._server.trigger.pull_trigger(call)
