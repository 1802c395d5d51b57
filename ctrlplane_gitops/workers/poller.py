"""The worker that looks at the source."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.source.latest import LatestSource
from ctrlplane_gitops.workers.backoff import backoff
from ctrlplane_gitops.workers.worker import Ran


class Poller:
    """Has the newest snapshot, and less and less often while it is not to be had. ``on_begin`` is
    told before every look. ``on_snapshot`` is told when it was had, and says how soon to come back
    (None: on the interval); ``on_look`` is told of every look with why it failed ("" where not)."""

    def __init__(
        self,
        source: LatestSource,
        on_snapshot: Callable[[], timedelta | None],
        on_look: Callable[[str], None] = lambda error: None,
        chance: Callable[[], float] = random.random,
        on_begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._on_begin = on_begin
        self._on_snapshot = on_snapshot
        self._on_look = on_look
        self._chance = chance
        self._failures = 0

    def run(self) -> Ran:
        """One look."""
        self._on_begin()
        try:
            self._source.refresh()
        except SourceError as error:
            self._failures += 1
            self._on_look(error.message)
            return Ran(backoff(self._failures, self._chance()), error.message)
        self._failures = 0
        self._on_look("")
        return Ran(self._on_snapshot())
