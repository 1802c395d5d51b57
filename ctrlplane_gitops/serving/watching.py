"""Being told of what changes at the providers that can tell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.execute.pool import Begun
from ctrlplane_gitops.providers.base import Provider, Watching
from ctrlplane_gitops.providers.halt import Halt
from ctrlplane_gitops.serving.output import Output
from ctrlplane_gitops.state.key import ResourceKey

# What does not end in time ends with the process.
_ENDING_S = 2.0

OnChange = Callable[[Collection[ResourceKey]], None]


class Watches:
    """A thread for each call that watches. ``begin`` and ``close`` are for one thread;
    ``on_change`` is told, by many, whose replicas have changed."""

    def __init__(self, output: Output, on_change: OnChange) -> None:
        self._output = output
        self._on_change = on_change
        self._halt = Halt()
        self._begun: dict[str, list[Begun[None]]] = {}
        self._failed: dict[str, str] = {}

    @property
    def aliases(self) -> frozenset[str]:
        """Of the providers that are watched."""
        return frozenset(name for name, calls in list(self._begun.items()) if calls)

    def begin(self, providers: Mapping[str, Provider]) -> None:
        """Watch whoever can be watched and is not yet; who cannot be now is tried the next time."""
        for name, provider in providers.items():
            if name in self._begun or not isinstance(provider, Watching):
                continue
            try:
                calls = provider.watch(self._on_change, self._halt)
            except CtrlplaneError as error:
                if self._failed.get(name) != error.message:
                    self._output.log(f"{name} is not watched yet: {error.message}")
                self._failed[name] = error.message
                continue
            self._begun[name] = [Begun(self._guard(name, call)) for call in calls]

    def close(self) -> None:
        self._halt.set()
        deadline = monotonic_s() + _ENDING_S
        calls = [call for found in self._begun.values() for call in found]
        while not all(call.is_done for call in calls) and monotonic_s() < deadline:
            sleep(0.01)

    def _guard(self, name: str, call: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                call()
            except Exception as bug:
                text = f"unexpected {type(bug).__name__} while watching {name}"
                self._output.log(f"error: a bug: {text}; it is looked at as often as before")

        return run
