"""What the replicas of the tests of routes run. It starts quickly, keeps connections, takes its
time over ``/slow``, and ends at SIGTERM at once, whatever it has not answered yet.

A version that begins with "bad" leaves the file ``served`` with the first request it is sent; one
that begins with "never" is never healthy.
"""

import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

VERSION = os.environ.get("VERSION", "")
SLOW_S = 0.4


def answer(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, connection.makefile("rb") as lines:
        while line := lines.readline():
            path = line.split()[1].decode()
            while lines.readline().strip():
                pass
            if path.endswith("/slow"):
                time.sleep(SLOW_S)
            if path != "/healthz" and VERSION.startswith("bad"):
                Path("served").touch()
            body = f"{VERSION} {path}".encode()
            is_well = path != "/healthz" or not VERSION.startswith("never")
            status = "200 OK" if is_well else "500 Internal Server Error"
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)


def serve(connection):
    with suppress(OSError):  # who asked is gone
        answer(connection)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    host = "0.0.0.0" if Path("/.dockerenv").exists() else "127.0.0.1"
    with socket.create_server((host, int(os.environ["PORT"])), backlog=128) as server:
        print(f"version {VERSION} listens", file=sys.stderr, flush=True)
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
