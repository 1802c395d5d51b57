"""Any number of probes with few threads, of which those that hang hold up none of the others.

What goes over the network is done in the caller's own thread, commands and gRPC in bounded pools.
Both keep places free that no target may have which was slow the last time it was asked.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Protocol

from ctrlplane_gitops.clock import Clock, monotonic_s
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.execute.probing import run_probe
from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.loop import ProbeLoop, can_loop
from ctrlplane_gitops.health.tally import Probed
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.value import struct

# Sockets at a time: of targets that answer quickly or have just been asked, and of the others.
_QUICK, _SLOW, _MOST = 192, 384, 768
_QUICK_THREADS, _SLOW_THREADS = 12, 8
_SLOW_S = 0.5


@struct
class Answer:
    """``lateness`` is how long after it was due a probe was begun."""

    item: Probed
    result: ProbeResult
    lateness: timedelta


class Probes(Protocol):
    """Runs probes. For one thread."""

    def start(self, item: Probed, provider: Provider) -> None:
        """As soon as there is room. Never raises for a target that fails."""
        ...

    def collect(self, timeout: timedelta) -> list[Answer]:
        """What has ended; waits where nothing has yet."""
        ...

    @property
    def pending(self) -> int:
        """How many have not ended."""
        ...


class _Begun:
    __slots__ = ("at_s", "is_quick", "item", "lateness")

    def __init__(self, item: Probed, lateness: timedelta) -> None:
        self.item = item
        self.lateness = lateness
        self.at_s = monotonic_s()
        self.is_quick = True


class Prober:
    """The real one. ``close`` when nobody collects any more."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop: ProbeLoop[_Begun] = ProbeLoop()
        self._quick_pool = Pool(_QUICK_THREADS, "health-quick")
        self._slow_pool = Pool(_SLOW_THREADS, "health-slow")
        self._answers: SimpleQueue[tuple[_Begun, ProbeResult]] = SimpleQueue()
        self._waiting: tuple[deque[Probed], deque[Probed]] = (deque(), deque())
        self._young: deque[_Begun] = deque()
        self._quick = self._slow = self._threads = 0
        self._stop = threading.Event()

    @property
    def pending(self) -> int:
        waiting = sum(map(len, self._waiting))
        return self._quick + self._slow + self._threads + waiting

    def start(self, item: Probed, provider: Provider) -> None:
        if can_loop(item.check, item.endpoint):
            self._waiting[item.is_slow].append(item)
            self._fill()
            return
        # Whoever has not shown yet that it is quick waits with those that are not.
        is_proven = item.state is not None and not item.is_slow
        self._threads += 1
        (self._quick_pool if is_proven else self._slow_pool).submit(self._call(item, provider))

    def collect(self, timeout: timedelta) -> list[Answer]:
        self._fill()
        # Even a collect that finds nothing has to look at who has become slow.
        wait_s = min(timeout.total_seconds(), _SLOW_S)
        found = []
        for begun, result in self._loop.poll(max(0.0, wait_s)):
            if begun.is_quick:
                self._quick -= 1
            else:
                self._slow -= 1
            found.append(self._answer(begun, result))
        try:
            while True:
                begun, result = self._answers.get_nowait()
                self._threads -= 1
                found.append(self._answer(begun, result))
        except Empty:
            self._fill()
            return found

    def close(self) -> None:
        """Waits for the commands under way, which have a time limit each."""
        self._stop.set()
        self._quick_pool.close()
        self._slow_pool.close()
        self._loop.close()

    def _answer(self, begun: _Begun, result: ProbeResult) -> Answer:
        begun.item.is_slow = monotonic_s() - begun.at_s > _SLOW_S
        begun.at_s = 0.0
        return Answer(begun.item, result, begun.lateness)

    def _fill(self) -> None:
        """Begin what there is room for; who is asked for long gives its place among the quick to
        somebody else."""
        before = monotonic_s() - _SLOW_S
        young = self._young
        while young and young[0].at_s < before:
            begun = young.popleft()
            if begun.at_s:
                begun.is_quick = False
                self._quick -= 1
                self._slow += 1
        quick, slow = self._waiting
        while quick and self._quick < _QUICK and self._quick + self._slow < _MOST:
            self._begin(quick.popleft(), is_quick=True)
        while slow and self._slow < _SLOW:
            self._begin(slow.popleft(), is_quick=False)

    def _begin(self, item: Probed, *, is_quick: bool) -> None:
        endpoint = item.endpoint
        if not item.is_live:
            return
        begun = _Begun(item, self._lateness(item, self._clock.now()))
        if endpoint is None:
            # It had one when it was to be probed.
            self._threads += 1
            self._answers.put((begun, ProbeResult(False, "the replica offers no such port")))
            return
        begun.is_quick = is_quick
        if is_quick:
            self._quick += 1
            self._young.append(begun)
        else:
            self._slow += 1
        self._loop.start(begun, item.check, endpoint)

    def _lateness(self, item: Probed, now: datetime) -> timedelta:
        return max(timedelta(), now - item.due) if item.due else timedelta()

    def _call(self, item: Probed, provider: Provider) -> Callable[[], None]:
        def run() -> None:
            begun = _Begun(item, self._lateness(item, self._clock.now()))
            if item.is_live and not self._stop.is_set():
                result = run_probe(provider, item.replica, item.check)
            else:
                result = ProbeResult(False, "given up")
            self._answers.put((begun, result))
            self._loop.wake()

        return run
