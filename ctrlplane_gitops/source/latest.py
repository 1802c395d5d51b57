"""The last good snapshot of another source: looking whether something is new, and reading it, are
two steps."""

from __future__ import annotations

import threading

from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.source.base import Snapshot, Source


class LatestSource:
    """``fetch`` gives what ``refresh`` last had. While the source cannot be had, that stays in
    force: what runs is kept as it was last known to be wanted. For many threads."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        """None before the first one."""
        return self._snapshot

    def refresh(self) -> Snapshot:
        """Look at the source itself; SourceError when it cannot be had."""
        with self._lock:
            self._snapshot = snapshot = self._source.fetch()
        return snapshot

    def fetch(self) -> Snapshot:
        """SourceError when there has not been one yet."""
        snapshot = self._snapshot
        if snapshot is None:
            raise SourceError("the source has not been read yet", is_retryable=True)
        return snapshot


def is_same(one: Snapshot | None, other: Snapshot | None) -> bool:
    """Whether two snapshots say the same, be it of the same commit or not."""
    if one is None or other is None:
        return one is other
    return one is other or (one.entries == other.entries and one.problems == other.problems)
