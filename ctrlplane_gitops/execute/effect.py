"""Actions on their way: intended, then in flight in the pool, then done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import timedelta

from ctrlplane_gitops.errors import CancelledError, CtrlplaneError, ProviderError
from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.execute.material import Materials
from ctrlplane_gitops.execute.perform import address_of, describe, describe_done, perform
from ctrlplane_gitops.execute.pool import Pool, wait_any
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.state.action import (
    Action,
    Material,
    Outcome,
    PrepareRelease,
    RemoveInstance,
    RemoveTenant,
    ScaleReplicaSet,
    UpdateResources,
)
from ctrlplane_gitops.state.recorded import Intent

_EVENTS = {
    PrepareRelease: EventType.RELEASE_PREPARED,
    ScaleReplicaSet: EventType.REPLICAS_SCALED,
    UpdateResources: EventType.RESOURCES_UPDATED,
    RemoveInstance: EventType.INSTANCE_REMOVED,
    RemoveTenant: EventType.TENANT_REMOVED,
}


class Effects:
    """``intend`` writes an intent into the journal; once the caller has flushed it, ``submit``
    performs. ``count`` is the number of mutating calls made so far. What has not begun when
    ``is_stopped`` or after ``stop`` ends in a ``CancelledError`` instead: many stand in the queue
    of the pool."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        journal: Journal,
        materials: Materials,
        pool: Pool,
        is_stopped: Callable[[], bool],
    ) -> None:
        self._providers = providers
        self._journal = journal
        self._materials = materials
        self._pool = pool
        self._is_stopped = is_stopped
        self._has_ended = threading.Event()
        self._intended: list[tuple[Intent, Action]] = []
        self._in_flight: dict[Future[Outcome], Intent] = {}
        self.count = 0
        self.warnings: set[str] = set()

    def intend(self, action: Action) -> None:
        self._intended.append((self._journal.open_intent(action), action))

    def submit(self) -> None:
        """Have everything intended performed; its intents must be committed by now."""
        for intent, action in self._intended:
            self._in_flight[self._pool.submit(self._call(action))] = intent
        self._intended = []

    def collect(self) -> list[Outcome]:
        """What has ended since; its outcome goes into the journal."""
        done = [future for future in self._in_flight if future.done()]
        outcomes = []
        for future in done:
            outcome = self._journal.scrub_outcome(future.result())
            self._journal.close_intent(self._in_flight.pop(future), outcome)
            self._tell(outcome)
            self.count += outcome.effects
            self.warnings.update(outcome.warnings)
            outcomes.append(outcome)
        return outcomes

    def stop(self) -> None:
        """Begin nothing more."""
        self._has_ended.set()

    def wait(self) -> None:
        """Until nothing is in flight. Every call has a time limit of its own."""
        while pending := [item for item in self._in_flight if not item.done()]:
            wait_any(pending, timedelta(seconds=1))

    def flush(self) -> None:
        self._journal.flush()

    @property
    def running(self) -> list[Future[Outcome]]:
        return list(self._in_flight)

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(sorted(self._providers))

    @property
    def journal(self) -> Journal:
        return self._journal

    def _call(self, action: Action) -> Callable[[], Outcome]:
        def run() -> Outcome:
            if self._has_ended.is_set() or self._is_stopped():
                return Outcome(action, CancelledError("stopped before it was begun"))
            provider = self._providers.get(action.provider)
            if provider is None:
                return Outcome(action, ProviderError(f"no provider is named {action.provider!r}"))
            try:
                material = self._material_of(action)
            except CtrlplaneError as error:
                return Outcome(action, error)
            return perform(provider, action, material)

        return run

    def _material_of(self, action: Action) -> Material:
        is_start = isinstance(action, ScaleReplicaSet) and action.replicas > 0
        if isinstance(action, PrepareRelease) or (is_start and isinstance(action, ScaleReplicaSet)):
            return self._materials.for_release(action.release)
        return Material()

    def _tell(self, outcome: Outcome) -> None:
        action, error = outcome.action, outcome.error
        address = address_of(action)
        if isinstance(error, CancelledError):
            return
        if error is not None:
            text = f"{describe(action)}: {error.explained}"
            self._journal.tell(EventType.ACTION_FAILED, address, text, {"code": error.code})
        elif outcome.effects:
            self._journal.tell(_EVENTS[type(action)], address, describe_done(action))
