"""One HTTP/1.1 connection of the load: it carries one request at a time and never sends it twice.

A server may close a connection between two requests. A client that has seen it opens another one,
which is no failure; it looks directly before it sends. A request that was sent and is not answered
is a failure, whatever its method and however young the connection: a retry would hide exactly what
is measured here. Reasons tell the cases apart.
"""

from __future__ import annotations

import asyncio
import os
import select
from dataclasses import dataclass


class LostError(Exception):
    """No whole answer came; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]  # lower-case names
    body: bytes


class Connection(asyncio.Protocol):
    """Opened by ``open_connection``. ``is_open`` until either side has closed it."""

    def __init__(self) -> None:
        self.is_open = False
        self._has_answered = False
        self._received = bytearray()
        self._waiter: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.is_open = transport, True
        self._poll = select.poll()
        self._poll.register(
            transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLRDHUP
        )

    @property
    def is_usable(self) -> bool:
        """Nothing has come since the last answer, the end of the stream neither."""
        return self.is_open and not self._poll.poll(0)

    async def ask(self, request: bytes) -> Answer:
        """LostError when it is not answered whole."""
        self._received.clear()
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            answer = await self._waiter
        finally:
            self._waiter = None
        self._has_answered = True
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    def close(self) -> None:
        self.is_open = False
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._look(is_over=False)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._look(is_over=True)
        if self._waiter is not None and not self._waiter.done():
            how = "reset" if isinstance(error, ConnectionResetError) else "closed"
            if self._received:
                when = "in the middle of an answer"
            else:
                when = "unanswered on a kept connection" if self._has_answered else "unanswered"
            self._waiter.set_exception(LostError(f"{how} {when}"))

    def _look(self, is_over: bool) -> None:
        if self._waiter is None or self._waiter.done():
            return
        answer = parse_answer(bytes(self._received), is_over)
        if answer is not None:
            self._waiter.set_result(answer)


def parse_answer(received: bytes, is_over: bool) -> Answer | None:
    """None while it is not whole; without a length it is whole when the stream ``is_over``.

    >>> parse_answer(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok", False)
    Answer(status=200, headers={'content-length': '2'}, body=b'ok')
    >>> parse_answer(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\no", True)
    """
    head, is_there, body = received.partition(b"\r\n\r\n")
    if not is_there:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): text.strip() for name, _, text in pairs}
    if "content-length" in headers:
        is_whole = len(body) >= int(headers["content-length"])
    elif headers.get("transfer-encoding") == "chunked":
        is_whole = body == b"0\r\n\r\n" or body.endswith(b"\r\n0\r\n\r\n")
    else:
        is_whole = is_over
    return Answer(int(first.split()[1]), headers, body) if is_whole else None


async def open_connection(port: int) -> Connection:
    """To 127.0.0.1; LostError when it is refused."""
    loop = asyncio.get_running_loop()
    try:
        _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    except OSError as error:
        raise LostError(f"not connected: {os.strerror(error.errno or 0)}") from error
    return connection
