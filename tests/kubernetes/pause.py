"""Holds the network of a pod, and passes connections into it.

``pause.py FD``: over that socket come the ports and, with them, sockets that listen to them on the
machine's side; each connection there becomes one to the same port of the pod's own loopback. The
other way goes one port, the API server's, as often as a pod needs it. A line with a port asks
whether anybody listens there, and is answered with 1 or 0. It ends with the socket.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import isolation

_CHUNK = 1 << 16
# Made before this process leaves the machine's network, which they stay in.
_WAYS_OUT = 128
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class End:
    """One side of a connection. ``waiting`` is what it has still to be sent."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.peer: End = self
        self.waiting = b""
        self.has_ended = False
        self.is_shut = False
        self.is_connecting = False
        self.mask = 0

    def wanted(self) -> int:
        if self.is_connecting:
            return _WRITE
        may_read = not self.has_ended and not self.peer.waiting and not self.peer.is_connecting
        return (_READ if may_read else 0) | (_WRITE if self.waiting else 0)


class Relay:
    def __init__(self, control: socket.socket, listeners: dict[socket.socket, int]) -> None:
        self._control = control
        self._ways_out: list[socket.socket] = []
        self._out: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, _READ)
        for listener, port in listeners.items():
            listener.setblocking(False)
            self._selector.register(listener, _READ, port)

    def let_out(self, port: int, ways_out: list[socket.socket]) -> None:
        """The same port of the machine's loopback is that of the pod's."""
        self._ways_out, self._out = ways_out, socket.create_server(("127.0.0.1", port))
        self._out.setblocking(False)
        self._selector.register(self._out, _READ, port)

    def run(self) -> None:
        while True:
            for key, mask in self._selector.select():
                if key.fileobj is self._control:
                    asked = self._control.recv(16)
                    if not asked:
                        return
                    self._control.sendall(b"1" if _is_listening(int(asked)) else b"0")
                elif isinstance(key.data, int):
                    self._accept(key.fileobj, key.data)
                elif key.data.mask:
                    self._move(key.data, mask)

    def _accept(self, listener: object, port: int) -> None:
        assert isinstance(listener, socket.socket)
        with suppress(BlockingIOError):
            while True:
                accepted = listener.accept()[0]
                if listener is not self._out:
                    self._open(accepted, socket.socket(), port)
                elif self._ways_out:
                    self._open(accepted, self._ways_out.pop(), port)
                else:
                    accepted.close()

    def _open(self, accepted: socket.socket, onward: socket.socket, port: int) -> None:
        near, far = End(accepted), End(onward)
        near.peer, far.peer = far, near
        for end in (near, far):
            end.socket.setblocking(False)
            end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        far.is_connecting = True
        with suppress(BlockingIOError):
            try:
                far.socket.connect(("127.0.0.1", port))
            except BlockingIOError:
                pass
            except OSError:
                self._reset(near)
                return
        self._watch(near)
        self._watch(far)

    def _move(self, end: End, mask: int) -> None:
        try:
            if mask & _WRITE and end.is_connecting:
                number = end.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if number:
                    raise OSError(number, "connect")
                end.is_connecting = False
            elif mask & _WRITE:
                self._push(end)
            if mask & _READ and end.wanted() & _READ:
                data = end.socket.recv(_CHUNK)
                end.has_ended = not data
                end.peer.waiting = data
                self._push(end.peer)
        except BlockingIOError:
            pass
        except OSError:
            self._reset(end)
            return
        self._settle(end)

    def _push(self, end: End) -> None:
        if end.waiting:
            with suppress(BlockingIOError):
                end.waiting = end.waiting[end.socket.send(end.waiting) :]
        if end.peer.has_ended and not end.waiting and not end.is_shut:
            end.is_shut = True
            end.socket.shutdown(socket.SHUT_WR)

    def _settle(self, end: End) -> None:
        if end.is_shut and end.peer.is_shut:
            self._close(end)
        else:
            self._watch(end)
            self._watch(end.peer)

    def _watch(self, end: End) -> None:
        wanted = end.wanted()
        if wanted == end.mask:
            return
        if not end.mask:
            self._selector.register(end.socket, wanted, end)
        elif not wanted:
            self._selector.unregister(end.socket)
        else:
            self._selector.modify(end.socket, wanted, end)
        end.mask = wanted

    def _reset(self, end: End) -> None:
        """Both sides learn that the connection is no more."""
        for one in (end, end.peer):
            with suppress(OSError):
                one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._close(end)

    def _close(self, end: End) -> None:
        for one in (end, end.peer):
            if one.mask:
                self._selector.unregister(one.socket)
                one.mask = 0
            one.socket.close()


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def main(number: str) -> None:
    isolation.die_with_parent()
    ways_out = [socket.socket() for _ in range(_WAYS_OUT)]
    isolation.leave(isolation.NEW_NETWORK)
    isolation.raise_loopback()
    control = socket.socket(fileno=int(number))
    data, descriptors, _, _ = socket.recv_fds(control, 1 << 14, 250)
    ports, out = json.loads(data)
    listeners = {
        socket.socket(fileno=descriptor): port
        for descriptor, port in zip(descriptors, ports, strict=True)
    }
    relay = Relay(control, listeners)
    relay.let_out(out, ways_out)
    control.sendall(b"r")
    with suppress(ConnectionError):
        relay.run()


if __name__ == "__main__":
    main(sys.argv[1])
