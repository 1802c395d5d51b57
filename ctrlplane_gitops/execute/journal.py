"""What an apply writes down, gathered and written in one transaction per turn of its loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.events.event import EventType, make_event
from ctrlplane_gitops.execute.perform import address_of, describe
from ctrlplane_gitops.ids import IdPrefix, new_id
from ctrlplane_gitops.redact import Redactor, SecretValue
from ctrlplane_gitops.state.action import Action, Outcome
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import (
    AuditEntry,
    Event,
    Intent,
    RecordBatch,
    RecordedInstance,
    RecordedResource,
)
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.store.base import Fence, Store

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(slots=True)
class _Pending:
    """Later puts win over earlier ones and over removals, as they would one by one."""

    resources: dict[ResourceKey, RecordedResource | None] = field(default_factory=dict)
    instances: dict[ResourceKey, RecordedInstance | None] = field(default_factory=dict)
    releases: dict[tuple[ResourceKey, int], Release | None] = field(default_factory=dict)
    orders: set[ResourceKey] = field(default_factory=set)
    blobs: dict[str, bytes] = field(default_factory=dict)
    intents: dict[str, Intent] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    audit: list[AuditEntry] = field(default_factory=list)
    plane_id: str | None = None


class Journal:
    """Collects puts, removals, intents and events; ``flush`` writes them under the fence.

    Texts are scrubbed of every known secret value. ``on_event`` is told of an event once it is
    written. ``flush`` raises ``LockError`` when the lease was lost and ``StoreError`` when the
    store cannot be written: nothing may be performed after either."""

    def __init__(
        self,
        store: Store,
        fence: Fence,
        clock: Clock,
        actor: str,
        redactor: Redactor,
        on_event: Callable[[Event], None],
    ) -> None:
        self._store = store
        self._fence = fence
        self._clock = clock
        self._actor = actor
        self._redactor = redactor
        self._on_event = on_event
        self._pending = _Pending()

    def learn(self, secrets: Iterable[SecretValue]) -> None:
        """Values that no text may show from now on."""
        self._redactor.add(secrets)

    def scrub(self, text: str) -> str:
        """The text without any secret value, and without what no store takes for text."""
        return self._redactor.scrub(text).encode("utf-8", "backslashreplace").decode()

    def scrub_error(self, error: CtrlplaneError) -> CtrlplaneError:
        """The same error with its texts scrubbed, as results hold it."""
        clean = copy(error)
        clean.message = self.scrub(error.message)
        clean.hint = None if error.hint is None else self.scrub(error.hint)
        clean.args = (clean.message,)
        return clean

    def scrub_outcome(self, outcome: Outcome) -> Outcome:
        """What came of an action, with all that people may come to read scrubbed."""
        error = None if outcome.error is None else self.scrub_error(outcome.error)
        return replace(outcome, error=error, warnings=tuple(map(self.scrub, outcome.warnings)))

    def put_plane(self, plane_id: str) -> None:
        self._pending.plane_id = plane_id

    def put(
        self,
        *,
        resources: Iterable[RecordedResource] = (),
        instances: Iterable[RecordedInstance] = (),
        releases: Iterable[Release] = (),
        blobs: Mapping[str, bytes] | None = None,
    ) -> None:
        self._pending.resources.update({item.key: item for item in resources})
        for instance in instances:
            rollout = replace(instance.rollout, message=self.scrub(instance.rollout.message))
            self._pending.instances[instance.key] = replace(instance, rollout=rollout)
        for release in releases:
            clean = replace(release, reason=self.scrub(release.reason))
            self._pending.releases[(release.instance, release.number)] = clean
        self._pending.blobs.update(blobs or {})

    def remove(
        self,
        *,
        resources: Iterable[ResourceKey] = (),
        instances: Iterable[ResourceKey] = (),
        releases: Iterable[tuple[ResourceKey, int]] = (),
        orders: Iterable[ResourceKey] = (),
    ) -> None:
        self._pending.orders.update(orders)
        self._pending.resources.update(dict.fromkeys(resources))
        self._pending.instances.update(dict.fromkeys(instances))
        self._pending.releases.update(dict.fromkeys(releases))

    def open_intent(self, action: Action) -> Intent:
        """An intent that the next ``flush`` commits; perform the action only after that."""
        return self.open_note(address_of(action), describe(action))

    def open_note(self, address: str, text: str) -> Intent:
        """The same for what is no action of a provider."""
        now = self._clock.now()
        intent = Intent(new_id(IdPrefix.INTENT, now), now, address, text)
        self._pending.intents[intent.id] = intent
        return intent

    def close_intent(self, intent: Intent, outcome: Outcome) -> None:
        self.close_note(
            intent, "ok" if outcome.error is None else f"error: {outcome.error.message}"
        )

    def close_left_over(self) -> None:
        """Close what an apply that was killed left open: with its lease in our hands nobody else
        will. What came of it is seen by looking at the provider."""
        for intent in self._store.read_open_intents():
            self.close_note(intent, "not known: the process that began it ended")

    def close_note(self, intent: Intent, outcome: str) -> None:
        self._pending.intents[intent.id] = replace(
            intent, closed_at=self._clock.now(), outcome=self.scrub(outcome)
        )

    def tell(
        self,
        type: EventType,
        address: str,
        message: str,
        data: Mapping[str, str] | None = None,
    ) -> None:
        text = self.scrub(message)
        self._pending.events.append(make_event(type, self._clock.now(), address, text, data))

    def audit(self, action: str, address: str, outcome: str, commit: str) -> None:
        now = self._clock.now()
        self._pending.audit.append(
            AuditEntry(
                new_id(IdPrefix.AUDIT, now),
                now,
                self._actor,
                action,
                address,
                commit,
                self.scrub(outcome),
            )
        )

    def flush(self) -> None:
        """Write everything gathered in one transaction; nothing gathered writes nothing."""
        pending = self._pending
        batch = RecordBatch(
            plane_id=pending.plane_id,
            resources=_present(pending.resources),
            removed_resources=_absent(pending.resources),
            instances=_present(pending.instances),
            removed_instances=_absent(pending.instances),
            releases=_present(pending.releases),
            removed_releases=_absent(pending.releases),
            removed_orders=tuple(sorted(pending.orders)),
            blobs=pending.blobs,
            intents=tuple(pending.intents.values()),
            events=tuple(pending.events),
            audit=tuple(pending.audit),
        )
        if batch == RecordBatch():
            return
        self._store.record(batch, self._fence)
        self._pending = _Pending()
        for event in batch.events:
            self._on_event(event)


def _present(puts: Mapping[_K, _V | None]) -> tuple[_V, ...]:
    return tuple(item for item in puts.values() if item is not None)


def _absent(puts: Mapping[_K, _V | None]) -> tuple[_K, ...]:
    return tuple(key for key, item in puts.items() if item is None)
