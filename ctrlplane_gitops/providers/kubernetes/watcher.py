"""Keeping a mirror current: list, watch, and do so again when that ends, breaks or is refused."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.cluster.api import Api
from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.watch import WatchType, open_watch
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.providers.kubernetes.mirror import Mirror, RewoundError
from ctrlplane_gitops.providers.kubernetes.pace import Pace


class Watcher:
    """``run`` is for a thread of its own, ``stop`` for any. ``on_change`` is told of every object
    whose row has changed."""

    def __init__(
        self,
        api: Api,
        mirror: Mirror[Any],
        on_change: Callable[[Mapping[str, Any]], None],
        pace: Pace,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._api = api
        self._mirror = mirror
        self._on_change = on_change
        self._pace = pace
        self._chance = chance
        self._halt = threading.Event()
        # When it was lost, None while it is not; whether everything is to be listed.
        self._lost_s: float | None = None
        self._must_list = True
        self._opened_s: float | None = None
        self._failures = 0

    def stop(self) -> None:
        self._halt.set()
        self._mirror.close()

    def run(self) -> None:
        """Until it is stopped."""
        self._mirror.await_list(self._pace.start_s)
        self._must_list = not self._mirror.version
        while not self._halt.is_set():
            try:
                self._follow()
                self._failures, self._must_list = 0, True
            except RewoundError:
                self._must_list = True
                self._fail()
            except CtrlplaneError as error:
                self._take_error(error)
            finally:
                self._mirror.close()

    def _take_error(self, error: CtrlplaneError) -> None:
        if isinstance(error, ApiError) and not error.is_retryable:
            self._mirror.trouble = error.message
            self._halt.wait(self._pace.refused_s)
            return
        # 410: what has changed since then is not known any more.
        self._must_list |= isinstance(error, ApiError) and error.status == 410
        self._fail()

    def _fail(self) -> None:
        """Wait for the next try."""
        now, pace = monotonic_s(), self._pace
        if self._lost_s is None:
            self._lost_s = now
        if self._opened_s is not None and now - self._opened_s >= pace.well_s:
            self._failures = 0
        self._opened_s = None
        wait_s = min(pace.longest_wait_s, pace.first_wait_s * (1 << min(self._failures, 16)))
        self._failures += 1
        self._halt.wait(wait_s * (1 - self._chance() / 2))

    def _follow(self) -> None:
        """One watch, from its beginning to its end."""
        floor = self._prepare()
        mirror, pace = self._mirror, self._pace
        if not mirror.version:
            # We may not look at them, or there are no such things: there is nothing to watch.
            self._halt.wait(pace.refused_s)
            return
        selection = mirror.selection
        life_s = max(1, round(pace.life_s * (1 - self._chance() / 10)))
        with open_watch(
            self._api.connection,
            selection.kind,
            selection.labels,
            mirror.version,
            life_s,
            is_meta=selection.is_meta,
        ) as stream:
            mirror.open(stream.cut, floor)
            if self._halt.is_set():
                return
            self._lost_s, self._opened_s, before = None, monotonic_s(), 0
            for event in stream.read():
                if event.version < before:
                    raise RewoundError
                before = event.version
                change = mirror.take(event)
                if change is not None and event.type is not WatchType.BOOKMARK:
                    self._on_change(event.object)

    def _prepare(self) -> int:
        """List where that is needed; how far what is watched has to come before it is believed."""
        mirror, lost_s = self._mirror, self._lost_s
        is_lost = lost_s is not None and monotonic_s() - lost_s > self._pace.trust_s
        if not self._must_list and lost_s is not None and not is_lost:
            floor = self._api.read_version(mirror.selection.kind)
            if floor >= mirror.version:
                return floor
        if self._must_list or is_lost or lost_s is not None or not mirror.version:
            mirror.refresh(self._api)
            self._must_list = False
        return 0
