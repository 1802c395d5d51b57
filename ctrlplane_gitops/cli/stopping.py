"""Signals: the first lets what is in flight end, the second ends at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ctrlplane_gitops.cli.exit_codes import ExitCode


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt for the block: while somebody is asked, nothing
    is in flight that would have to end first."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handling(stop):
        yield


@contextmanager
def stopping(cancel: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set ``cancel`` for the block; a second one exits 130 on the spot, which
    is as safe as a crash: leases run out and intents are written down before effects."""

    def stop(number: int, frame: FrameType | None) -> None:
        if cancel.is_set():
            os._exit(ExitCode.KILLED)
        cancel.set()

    with _handling(stop):
        yield


@contextmanager
def _handling(stop: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Signals can be handled in the main thread alone; elsewhere the block is just run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
