"""A lane of their own for webhooks: one thread takes all that wait at once, so that they are one
transaction, and nobody who delivers waits for the threads that answer others, or they for it.

What the lane does not simply take, the application answers, which knows how to say no.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

from waitress.channel import HTTPChannel
from waitress.task import ThreadedTaskDispatcher, WSGITask

from ctrlplane_gitops.api.application import HARDENED, is_addressed
from ctrlplane_gitops.api.hook import Post
from ctrlplane_gitops.execute.pool import Begun

Answer = tuple[int, bytes]
Answering = Callable[[Iterable[Post]], Sequence[Answer | None]]
_PREFIX = "/hooks/"
# The first of so many waits for the last of them, and for a body that is larger nobody does.
_MOST = 64
_LARGEST = 128 * 1024
_log = logging.getLogger(__name__)


class Lane(ThreadedTaskDispatcher):  # type: ignore[misc]
    """waitress's dispatcher of requests, with a thread more. ``hosts`` are the names that requests
    may be addressed to; () is any."""

    def __init__(self, answer: Answering, hosts: Collection[str], threads: int) -> None:
        super().__init__()
        self._answer, self._hosts = answer, hosts
        self._changed = threading.Condition()
        self._waiting: deque[Any] = deque()
        self._is_over = False
        self.set_thread_count(threads)
        Begun(self._run)

    def add_task(self, task: Any) -> None:
        request = task.requests[0]
        is_post = request.error is None and request.command == "POST"
        if not (is_post and request.path.startswith(_PREFIX)):
            super().add_task(task)
            return
        with self._changed:
            self._waiting.append(task)
            self._changed.notify()

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        with self._changed:
            left, self._waiting = self._waiting, deque()
            self._is_over = True
            self._changed.notify()
        for channel in left:
            channel.cancel()
        return bool(super().shutdown(cancel_pending, timeout))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._is_over:
                    self._changed.wait()
                if self._is_over:
                    return
            try:
                self._serve()
            except Exception:
                _log.exception("webhooks were not answered")

    def _serve(self) -> None:
        channels: list[Any] = []
        try:
            answers = self._answer(self._take(channels))
        except Exception:
            # The application tells of bugs, and answers.
            answers = [None] * len(channels)
        for channel, answer in zip(channels, answers, strict=True):
            if answer is None:
                super().add_task(channel)
                continue
            channel.requests[0].answer = answer
            try:
                channel.service()
            except Exception:
                _log.exception("a webhook was not answered")

    def _take(self, channels: list[Any]) -> Iterator[Post]:
        """What waits, and what comes while the others are being read: whoever comes later has to
        wait for the disk twice. Each is that of the last of ``channels``."""
        while len(channels) < _MOST:
            with self._changed:
                if not self._waiting:
                    return
                channel = self._waiting.popleft()
            post = self._read(channel.requests[0])
            if post is None:
                super().add_task(channel)
            else:
                channels.append(channel)
                yield post

    def _read(self, request: Any) -> Post | None:
        """None for what is not plainly a delivery to somebody who may be addressed."""
        stream = request.get_body_stream()
        is_plain = not request.query and is_addressed(request.headers.get("HOST"), self._hosts)
        if not is_plain or request.body_rcv is None or len(request.body_rcv) > _LARGEST:
            return None
        body = stream.read()
        # The application may have to read it as well.
        stream.seek(0)
        headers = [(name.replace("_", "-"), value) for name, value in request.headers.items()]
        return Post(request.path.removeprefix(_PREFIX), headers, body)


class _Task(WSGITask):  # type: ignore[misc]
    """What was answered in the lane is only sent."""

    def execute(self) -> None:
        answer: Answer | None = getattr(self.request, "answer", None)
        if answer is None:
            super().execute()
            return
        status, content = answer
        self.complete = True
        self.status = f"{status} {HTTPStatus(status).phrase}"
        self.content_length = self.content_bytes_written = len(content)
        self.response_headers = [("Content-Type", "application/json"), *HARDENED.items()]
        # Head and content are one packet.
        head = self.build_response_header()
        self.wrote_header = True
        self.channel.write_soon(head + content)


class LaneChannel(HTTPChannel):  # type: ignore[misc]
    task_class = _Task
