"""What our store wrote down. Memory, not truth: losing it loses no replica."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from ctrlplane_gitops.state.desired import Json
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.state.text import Text, read_text
from ctrlplane_gitops.value import field, struct


@struct
class RecordedResource:
    """The last applied spec of one resource. ``attributes_json``, kept as ``text``, is parsed only
    when a plan shows a difference; equality is by ``fingerprint``. ``path`` is the file it came
    from."""

    key: ResourceKey
    fingerprint: str
    text: Text
    is_protected: bool = False
    path: str = ""
    commit: str = ""

    @property
    def attributes_json(self) -> str:
        return read_text(self.text)

    @property
    def attributes(self) -> Json:
        loaded: Json = json.loads(self.attributes_json)
        return loaded


class RolloutPhase(StrEnum):
    """``idle`` covers never rolled out and completed; ``failed`` has no release to return to."""

    IDLE = "idle"
    PROGRESSING = "progressing"
    ROLLING_BACK = "rollingBack"
    ROLLED_BACK = "rolledBack"
    FAILED = "failed"


@struct
class RolloutStatus:
    """Where a rollout stands. ``best_available`` is the most target replicas that were available
    at one time: only a new best is progress, a flickering replica is not. ``step`` counts the
    steps that are over; ``step_at`` is since when the present one is what is served (None: not
    yet). ``replicas`` is how many it makes where an autoscaler decides that, 0: not known."""

    phase: RolloutPhase = RolloutPhase.IDLE
    target: int | None = None
    previous: int | None = None
    started_at: datetime | None = None
    progress_at: datetime | None = None
    best_available: int = 0
    message: str = ""
    step: int = 0
    step_at: datetime | None = None
    replicas: int = 0


@struct
class RecordedInstance:
    """``release`` is the active one; ``pin`` the one a user rolled back to (None: follow Git)."""

    key: ResourceKey
    provider: str
    release: int | None = None
    pin: int | None = None
    rollout: RolloutStatus = RolloutStatus()


@struct
class Order:
    """What a person asked of the rollout of an instance to ``target``; of any other it says
    nothing. ``promoted`` is the number of steps to be over at least, ``is_full``: all of them."""

    instance: ResourceKey
    target: int
    is_paused: bool = False
    is_aborted: bool = False
    is_full: bool = False
    promoted: int = 0


@struct
class RecordedState:
    """Everything recorded. ``plane_id`` None means the store has no identity row: it is new or was
    lost, so what carries our labels is adopted. ``releases`` are sorted by number."""

    plane_id: str | None = None
    resources: Mapping[ResourceKey, RecordedResource] = field(default_factory=dict)
    instances: Mapping[ResourceKey, RecordedInstance] = field(default_factory=dict)
    releases: Mapping[ResourceKey, tuple[Release, ...]] = field(default_factory=dict)
    orders: Mapping[ResourceKey, Order] = field(default_factory=dict)


@struct
class Event:
    """Something that happened, in past tense: ``rollout.completed``. ``address`` may be empty."""

    id: str
    at: datetime
    type: str
    address: str
    message: str
    data: Mapping[str, str] = field(default_factory=dict)


@struct
class AuditEntry:
    """Who did what to which resource, from which commit, with what outcome. Actors are
    ``user:<name>`` or ``system:<worker>``."""

    id: str
    at: datetime
    actor: str
    action: str
    address: str
    commit: str
    outcome: str


@struct
class Intent:
    """An action about to be performed; ``closed_at`` and ``outcome`` are filled when it ended."""

    id: str
    at: datetime
    address: str
    action: str
    closed_at: datetime | None = None
    outcome: str = ""


@struct
class RecordBatch:
    """What one store transaction writes; all of it or none. Puts replace by key (releases by
    instance and number); removals win over nothing: a key is in puts or in removals."""

    plane_id: str | None = None
    resources: tuple[RecordedResource, ...] = ()
    removed_resources: tuple[ResourceKey, ...] = ()
    instances: tuple[RecordedInstance, ...] = ()
    removed_instances: tuple[ResourceKey, ...] = ()
    releases: tuple[Release, ...] = ()
    removed_releases: tuple[tuple[ResourceKey, int], ...] = ()
    removed_orders: tuple[ResourceKey, ...] = ()
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    intents: tuple[Intent, ...] = ()
    events: tuple[Event, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
