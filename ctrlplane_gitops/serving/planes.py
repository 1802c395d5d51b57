"""The control plane that passes work with, opened anew when its own spec has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress

from ctrlplane_gitops.app import App, Plane, build_pass, open_plane
from ctrlplane_gitops.errors import CtrlplaneError, StoreError
from ctrlplane_gitops.execute.holder import describe_holder
from ctrlplane_gitops.execute.lease import LEASE
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.providers.counted import CountedProvider
from ctrlplane_gitops.reconcile.run import PassParts
from ctrlplane_gitops.serving.output import Output
from ctrlplane_gitops.serving.watching import OnChange, Watches
from ctrlplane_gitops.state.desired import ControlPlane
from ctrlplane_gitops.state.recorded import Event
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import replace


class Planes:
    """``on_call`` is told of every call to a provider: alias, and ``observe`` or ``perform``.
    ``on_store`` is given the store whenever it was opened. With ``on_change`` the providers are
    watched, and it is told whose replicas have changed."""

    def __init__(
        self,
        app: App,
        output: Output,
        on_call: Callable[[str, str], None],
        on_store: Callable[[Store], None] = lambda store: None,
        on_change: OnChange | None = None,
    ) -> None:
        self._app, self._output, self._on_call = app, output, on_call
        self._on_store, self._on_change = on_store, on_change
        self._watches: Watches | None = None
        self._stack = ExitStack()
        self._plane: Plane | None = None

    def open_parts(self, spec: ControlPlane, stop: threading.Event) -> PassParts:
        """For the thread that makes the passes."""
        spec = _essence(spec)
        if self._plane is None or self._plane.spec != spec:
            self.close()
            self._plane = self._stack.enter_context(open_plane(self._app, spec, is_read_only=False))
            self._on_store(self._plane.store)
            if self._on_change is not None:
                self._watches = Watches(self._output, self._on_change)
        plane = self._plane
        if self._watches is not None:
            self._watches.begin(plane.providers)
        counted = {
            name: CountedProvider(item, self._on_call) for name, item in plane.providers.items()
        }
        output = self._output
        parts = build_pass(self._app, plane, stop, _ignore, output.on_wait)
        return replace(parts, providers=counted)

    @property
    def plane(self) -> Plane:
        """What passes work with; StoreError before the first."""
        plane = self._plane
        if plane is None:
            raise StoreError("the store is not open yet", is_retryable=True)
        return plane

    def find_watched(self, spec: ControlPlane) -> Mapping[str, Provider]:
        """Those providers of this control plane that need not be asked for what there is."""
        plane, watches = self._plane, self._watches
        if plane is None or watches is None or plane.spec != _essence(spec):
            return {}
        return {name: item for name, item in plane.providers.items() if name in watches.aliases}

    def check_store(self) -> None:
        """StoreError when it does not answer."""
        self.plane.store.read_lease(LEASE)

    def break_lease(self) -> None:
        """Give back what a pass that will never end holds."""
        plane = self._plane
        if plane is None:
            return
        with suppress(CtrlplaneError):
            known = plane.store.read_lease(LEASE)
            ours = describe_holder().rpartition("+")[0]
            if known is not None and known.holder.rpartition("+")[0] == ours:
                plane.store.break_lease(LEASE, known.number)

    def close(self) -> None:
        """Only when no pass is under way."""
        self._plane = None
        if self._watches is not None:
            self._watches.close()
            self._watches = None
        self._stack.close()


def _essence(spec: ControlPlane) -> ControlPlane:
    """Who may come in, and who is told, makes no other store of it."""
    return replace(spec, tokens=(), notifications=())


def _ignore(event: Event) -> None:
    """Whoever writes it tells of it: see ``on_events``."""
