"""The store as those who only read have it: by a connection of their own, so that who lists ten
thousand rows holds up no pass."""

from __future__ import annotations

import threading

from ctrlplane_gitops.app import App, Plane, open_plane_store
from ctrlplane_gitops.serving.planes import Planes
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.memory import MemoryStore


class ReadingStores:
    """Opened again when the control plane's own spec has changed."""

    def __init__(self, app: App, planes: Planes) -> None:
        self._app, self._planes = app, planes
        self._lock = threading.Lock()
        self._opened: tuple[Plane, Store] | None = None
        self._earlier: Store | None = None

    def read_store(self) -> Store:
        """StoreError before the first pass."""
        plane = self._planes.plane
        if isinstance(plane.store, MemoryStore):
            return plane.store
        with self._lock:
            if self._opened is None or self._opened[0] is not plane:
                made = open_plane_store(self._app, plane.spec, is_read_only=True)
                self._put_aside()
                self._opened = (plane, made)
            return self._opened[1]

    def close(self) -> None:
        with self._lock:
            self._put_aside()
            self._put_aside()

    def _put_aside(self) -> None:
        """Somebody may still be reading from the one that is replaced."""
        if self._earlier is not None:
            self._earlier.close()
        self._earlier = None if self._opened is None else self._opened[1]
        self._opened = None
