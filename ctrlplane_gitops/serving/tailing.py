"""The logs of an instance, followed for somebody who asks over HTTP and may go away."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from ctrlplane_gitops.api.action import LogRow
from ctrlplane_gitops.app import App, open_providers
from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.execute.pool import Begun, Pool
from ctrlplane_gitops.providers.base import LogLine
from ctrlplane_gitops.providers.halt import Halt
from ctrlplane_gitops.reconcile.inside import find_replicas, open_logs
from ctrlplane_gitops.state.desired import ControlPlane
from ctrlplane_gitops.state.key import ResourceKey

# Whoever prints faster than somebody reads waits for them, but no longer than they are there.
_MOST = 1000
_PATIENCE_S = 0.2
_ENDING_S = 2.0


class Tailing:
    """A thread reads each replica; ``take`` and ``close`` are for one thread. What cannot be read
    is a line of the stream ``log``."""

    def __init__(
        self,
        app: App,
        spec: ControlPlane,
        looks: Pool,
        key: ResourceKey,
        index: int | None,
        tail: int,
    ) -> None:
        self._halt = Halt()
        self._lines: queue.Queue[LogRow] = queue.Queue(_MOST)
        self._stack = ExitStack()
        try:
            providers = self._stack.enter_context(open_providers(app, spec))
            found = find_replicas(providers, looks, key, index)
        except BaseException:
            self._stack.close()
            raise
        streams = open_logs(found, tail=tail, is_follow=True, is_merged=True, halt=self._halt)
        names = [item.replica.name for item in found]
        self._readers = [
            Begun(self._reader(name, stream)) for name, stream in zip(names, streams, strict=True)
        ]

    def take(self) -> Sequence[LogRow] | None:
        """What was printed since it was last asked; None once every replica has ended."""
        is_over = all(item.is_done for item in self._readers)
        found: list[LogRow] = []
        while len(found) < _MOST:
            try:
                found.append(self._lines.get_nowait())
            except queue.Empty:
                break
        return None if is_over and not found else found

    def close(self) -> None:
        self._halt.set()
        deadline = monotonic_s() + _ENDING_S
        while not all(item.is_done for item in self._readers) and monotonic_s() < deadline:
            sleep(0.01)
        self._stack.close()

    def _reader(self, name: str, stream: Iterator[LogLine | CtrlplaneError]) -> Callable[[], None]:
        def read() -> None:
            for item in stream:
                if self._halt.is_set:
                    return
                is_line = isinstance(item, LogLine)
                self._put(log_row(item) if is_line else LogRow(name, "log", None, str(item)))

        return read

    def _put(self, row: LogRow) -> None:
        while not self._halt.is_set:
            try:
                self._lines.put(row, timeout=_PATIENCE_S)
            except queue.Full:
                continue
            return


def log_row(item: LogLine | CtrlplaneError) -> LogRow:
    assert isinstance(item, LogLine)
    return LogRow(item.replica, item.stream, item.at, item.text)
