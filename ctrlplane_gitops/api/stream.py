"""Server-sent events: the log of events and rollouts, as they go on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

from flask import Response, request

from ctrlplane_gitops.api.action import OF_LOGS, Actions
from ctrlplane_gitops.api.errors import Refusal
from ctrlplane_gitops.api.guard import not_found
from ctrlplane_gitops.api.query import TENANT, natural, parse_natural, text
from ctrlplane_gitops.api.read import API
from ctrlplane_gitops.api.route import Call, Reach, Route
from ctrlplane_gitops.auth.roles import Permission
from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.status.board import Board
from ctrlplane_gitops.status.history import LogWhere
from ctrlplane_gitops.status.shown import as_json
from ctrlplane_gitops.value import struct

MEDIA = "text/event-stream"
# Each holds one of the server's threads, and others want to be answered too.
MOST = 40
_KEEP_ALIVE = timedelta(seconds=15)
# Whoever follows comes back by themselves, and is asked again who they are.
_LIFETIME = timedelta(minutes=5)
_EVENTS, _ROLLOUT = timedelta(milliseconds=500), timedelta(seconds=1)
_LOGS = timedelta(milliseconds=250)
_BLOCK = 100
_MAX_NUMBER = 2**63 - 1


@struct
class Source:
    """``parts`` gives what there is to say at this moment, None when that was all; ``close`` ends
    what it takes."""

    parts: Callable[[], Iterable[str] | None]
    close: Callable[[], None] = lambda: None


class Streams:
    """At most ``MOST`` at a time, which end when ``stop`` is set. Safe to use from several
    threads."""

    def __init__(self, clock: Clock, stop: threading.Event) -> None:
        self._clock, self._stop = clock, stop
        self._free = threading.Semaphore(MOST)

    def open(self, begin: Callable[[], Source], interval: timedelta) -> Response:
        """A stream of what ``begin`` gives, asked every ``interval``."""
        if request.method == "HEAD":
            return Response(content_type=f"{MEDIA}; charset=utf-8")
        if not self._free.acquire(blocking=False):
            raise Refusal(
                503, "too-many-streams", f"there are {MOST} streams already", {"Retry-After": "5"}
            )
        try:
            source = begin()
        except BaseException:
            self._free.release()
            raise

        def close() -> None:
            try:
                source.close()
            finally:
                self._free.release()

        body = _Body(self._run(source.parts, interval), close)
        headers = {"X-Accel-Buffering": "no"}
        return Response(body, headers=headers, content_type=f"{MEDIA}; charset=utf-8")

    def _run(
        self, parts: Callable[[], Iterable[str] | None], interval: timedelta
    ) -> Iterator[bytes]:
        clock = self._clock
        said_at = clock.now()
        ends_at = said_at + _LIFETIME
        yield b"retry: 2000\n\n"
        while not self._stop.is_set() and clock.now() < ends_at:
            try:
                found = parts()
                said = "" if found is None else "".join(found)
            except CtrlplaneError:
                # Whoever follows comes back, and is told then.
                return
            if said:
                said_at = clock.now()
                yield said.encode()
            if found is None:
                return
            if clock.now() - said_at >= _KEEP_ALIVE:
                # A proxy may give up what is silent, and we would not learn that nobody listens.
                said_at = clock.now()
                yield b": keep-alive\n\n"
            clock.wait(self._stop, interval)


class _Body:
    """What is sent, and what is given back when it is over, however that comes: a generator that
    was never begun does not learn that it is closed."""

    def __init__(self, chunks: Iterator[bytes], on_close: Callable[[], None]) -> None:
        self._chunks, self._on_close, self._is_closed = chunks, on_close, False

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            close: Any = getattr(self._chunks, "close", lambda: None)
            try:
                close()
            finally:
                self._on_close()


def message(event: str, data: Any, id: str = "") -> str:
    """One message of a stream.

    >>> message("event", {"a": 1}, "7")
    'id: 7\\nevent: event\\ndata: {"a": 1}\\n\\n'
    """
    head = f"id: {id}\n" if id else ""
    # JSON has no line ends of its own.
    return f"{head}event: {event}\ndata: {json.dumps(as_json(data), ensure_ascii=False)}\n\n"


def build_stream_routes(board: Board, actions: Actions, streams: Streams) -> tuple[Route, ...]:
    return (
        _build_logs(actions, streams),
        Route(
            "GET",
            f"{API}/events/stream",
            Permission.READ,
            Reach.LIST,
            "Events as they are written: 'event' with a row of /events. Goes on after the number "
            "of Last-Event-ID or 'after'; begins with what comes from now on.",
            _events_of(board, streams),
            (
                TENANT,
                text("type", "Only types that begin so, such as rollout."),
                natural("after", "After the event of this number.", _MAX_NUMBER),
            ),
            media=MEDIA,
        ),
        Route(
            "GET",
            f"{API}/instances/<tenant>/<name>/rollout/stream",
            Permission.READ,
            Reach.TENANT,
            "A rollout as it goes on: 'rollout' with all that is known, whenever that changes.",
            _rollout_of(board, streams),
            media=MEDIA,
        ),
    )


def _build_logs(actions: Actions, streams: Streams) -> Route:
    def follow_logs(call: Call) -> Response:
        key = instance_key(call.path["tenant"], call.path["name"])

        def begin() -> Source:
            index, tail = call.get("replica", None), call.get("tail", 100)
            followed = actions.follow_logs(key, index, tail)

            def parts() -> Iterable[str] | None:
                rows = followed.take()
                return None if rows is None else (message("log", row) for row in rows)

            return Source(parts, followed.close)

        return streams.open(begin, _LOGS)

    return Route(
        "GET",
        f"{API}/instances/<tenant>/<name>/logs/stream",
        Permission.LOGS,
        Reach.TENANT,
        "What the replicas of an instance print, as they do: 'log' with a row of /logs. Ends with "
        "the replicas that were there when it began.",
        follow_logs,
        OF_LOGS,
        media=MEDIA,
    )


def _events_of(board: Board, streams: Streams) -> Callable[[Call], Response]:
    def follow_events(call: Call) -> Response:
        where = LogWhere(call.who.tenants, call.get("tenant"), call.get("type"))
        last = call.get("after", None)
        last = _read_last() if last is None else last
        place = [board.last_event() if last is None else last]

        def parts() -> Iterator[str]:
            for item in board.read_events_after(where, place[0], _BLOCK):
                place[0] = item.number
                yield message("event", item, str(item.number))

        return streams.open(lambda: Source(parts), _EVENTS)

    return follow_events


def _rollout_of(board: Board, streams: Streams) -> Callable[[Call], Response]:
    def follow_rollout(call: Call) -> Response:
        tenant, name = call.path["tenant"], call.path["name"]
        if board.get_rollout(tenant, name) is None:
            raise not_found()
        said: list[Any] = [None]

        def parts() -> Iterator[str]:
            found = board.get_rollout(tenant, name)
            if found is not None and found != said[0]:
                said[0] = found
                yield message("rollout", found)

        return streams.open(lambda: Source(parts), _ROLLOUT)

    return follow_rollout


def _read_last() -> int | None:
    """What a browser that comes back says it has seen."""
    given = request.headers.get("Last-Event-ID", "")
    try:
        found: int = parse_natural(_MAX_NUMBER)(given)
    except ValueError:
        return None
    return found
