"""A WebSocket whose messages begin with the number of a stream, as Kubernetes has them."""

from __future__ import annotations

import base64
import hashlib
import struct
import threading
from typing import BinaryIO

STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CLOSE, _PING, _PONG = 0x2, 0x8, 0x9, 0xA


def accept_key(key: str) -> str:
    """What proves that a handshake was understood.

    >>> accept_key("dGhlIHNhbXBsZSBub25jZQ==")
    's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    """
    return base64.b64encode(hashlib.sha1(key.encode() + _MAGIC).digest()).decode()


class Channel:
    """The server's side. ``send`` may be called by several threads."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._lock = threading.Lock()
        self._is_closed = False

    def send(self, stream: int, data: bytes) -> None:
        self._frame(_BINARY, bytes([stream]) + data)

    def close(self) -> None:
        self._frame(_CLOSE, (1000).to_bytes(2, "big"))

    def receive(self) -> tuple[int, bytes] | None:
        """Stream and data of the next message; None at the end."""
        content = b""
        while True:
            head = self._source.read(2)
            if len(head) < 2:
                return None
            kind, is_last = head[0] & 0x0F, bool(head[0] & 0x80)
            data = self._payload(head[1])
            if data is None or kind == _CLOSE:
                return None
            if kind == _PING:
                self._frame(_PONG, data)
            elif kind != _PONG:
                content += data
                if is_last and content:
                    return content[0], content[1:]
                if is_last:
                    content = b""

    def _payload(self, second: int) -> bytes | None:
        length = second & 0x7F
        if length >= 126:
            extended = self._source.read(2 if length == 126 else 8)
            length = int.from_bytes(extended, "big")
        mask = self._source.read(4) if second & 0x80 else b""
        data = self._source.read(length)
        if len(data) < length:
            return None
        if not mask:
            return data
        key = (mask * (length // 4 + 1))[:length]
        number = int.from_bytes(data, "big") ^ int.from_bytes(key, "big")
        return number.to_bytes(length, "big")

    def _frame(self, kind: int, data: bytes) -> None:
        head = bytes([0x80 | kind])
        if len(data) < 126:
            head += bytes([len(data)])
        elif len(data) < 1 << 16:
            head += b"\x7e" + struct.pack(">H", len(data))
        else:
            head += b"\x7f" + struct.pack(">Q", len(data))
        with self._lock:
            if not self._is_closed:
                self._is_closed = kind == _CLOSE
                self._sink.write(head + data)
                self._sink.flush()
