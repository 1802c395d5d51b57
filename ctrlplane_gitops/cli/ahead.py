"""Looking at the providers while the specs are still being read: a plan waits for the slower of the
two, not for both."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

from ctrlplane_gitops.app import (
    App,
    Plane,
    open_plane,
    open_plane_store,
    open_providers,
    open_router,
)
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.execute.pool import Begun
from ctrlplane_gitops.reconcile.observe import observe_all
from ctrlplane_gitops.state.desired import ControlPlane
from ctrlplane_gitops.state.observed import ObservedState


class Ahead:
    """``begin`` is called as soon as the control plane seems to be known, ``take`` when it is.
    Only for looking: whoever acts must look under the lease."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._stack = ExitStack()
        self._plane: Plane | None = None
        self._observed: Begun[ObservedState] | None = None

    def begin(self, spec: ControlPlane) -> None:
        """What is wrong here is said by ``take``, or not at all where the specs are wrong too."""
        try:
            providers = self._stack.enter_context(open_providers(self._app, spec))
            router = self._stack.enter_context(open_router(self._app, spec))
            self._observed = Begun(lambda: observe_all(providers, self._app.looks, router=router))
            store = open_plane_store(self._app, spec, is_read_only=True)
            self._stack.callback(store.close)
            self._plane = Plane(spec, store, providers, router)
            # Read again when they have answered, which takes no time where it is the same.
            store.load_state()
        except CtrlplaneError:
            return
        # All that can be done already, while the engine is at work and perhaps a second process
        # parses: what decides is needed next.
        import ctrlplane_gitops.catalog.build
        import ctrlplane_gitops.reconcile.look  # noqa: F401

    def take(self, spec: ControlPlane) -> tuple[Plane, ObservedState]:
        """The opened control plane, and what its providers show."""
        plane, observed = self._plane, self._observed
        if plane is not None and observed is not None and plane.spec == spec:
            return plane, observed.result()
        plane = self._stack.enter_context(open_plane(self._app, spec, is_read_only=True))
        return plane, observe_all(plane.providers, self._app.looks, router=plane.router)

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A look that nobody waits for may take its time; what it uses is closed by the end.
        if self._observed is None or self._observed.is_done:
            self._stack.close()
