"""Signals: the first lets what is in flight end, the second ends at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ctrlplane_gitops.cli.exit_codes import ExitCode


@contextmanager
def stopping(cancel: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set ``cancel`` for the block; a second one exits 130 on the spot, which
    is as safe as a crash: leases run out and intents are written down before effects."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if cancel.is_set():
            os._exit(ExitCode.KILLED)
        cancel.set()

    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
