"""Does a Docker engine answer? Standard library only: CI asks before anything is installed.

``python3 tests/engines/ping.py unix:///var/run/docker.sock`` exits 0 when it does.
"""

import socket
import sys
from urllib.parse import urlsplit


def is_answering(host: str, timeout_s: float = 5) -> bool:
    """``host`` is ``unix:///path`` or ``tcp://name:port`` (without TLS)."""
    address = urlsplit(host)
    is_unix = address.scheme == "unix"
    try:
        with socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET) as connection:
            connection.settimeout(timeout_s)
            where = (address.hostname or "127.0.0.1", address.port or 2375)
            connection.connect(address.path if is_unix else where)
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if is_answering(sys.argv[1]) else 1)
