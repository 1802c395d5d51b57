"""A server of a test, in a thread of its own."""

from __future__ import annotations

import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread


@contextmanager
def served(server: socketserver.BaseServer) -> Iterator[None]:
    """It answers for the block; closing it is its owner's."""
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
