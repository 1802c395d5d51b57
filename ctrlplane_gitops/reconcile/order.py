"""What people ask of a rollout under way: ``promote``, ``abort``, ``pause`` and ``resume``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from ctrlplane_gitops.errors import ConflictError
from ctrlplane_gitops.events.event import EventType, make_event
from ctrlplane_gitops.ids import IdPrefix, new_id
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import AuditEntry, Order, RecordedInstance, RolloutPhase
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import struct


@struct
class Steer:
    """``change`` makes the new order of the one there is; ``said`` is how it is written down.
    ``is_followed``: something has to be done now."""

    name: str
    event: EventType
    said: str
    change: Callable[[Order, RecordedInstance], Order]
    is_followed: bool = True


def promote(*, is_full: bool = False) -> Steer:
    """Pass the present step, or all of them."""

    def change(order: Order, known: RecordedInstance) -> Order:
        promoted = max(order.promoted, known.rollout.step + 1)
        return replace(order, promoted=promoted, is_full=order.is_full or is_full, is_paused=False)

    name = "promote --full" if is_full else "promote"
    said = "all steps are passed" if is_full else "the present step is passed"
    return Steer(name, EventType.ROLLOUT_PROMOTED, said, change)


def _resume(order: Order, known: RecordedInstance) -> Order:
    if not order.is_paused:
        raise ConflictError(
            f"the rollout of {known.key} is not paused",
            hint="it goes on by itself or waits for promote; status shows which",
        )
    return replace(order, is_paused=False)


ABORT = Steer(
    "abort",
    EventType.ROLLOUT_ABORTED,
    "the release before is returned to",
    lambda order, known: replace(order, is_aborted=True, is_paused=False),
)
PAUSE = Steer(
    "pause",
    EventType.ROLLOUT_PAUSED,
    "nothing is moved until resume",
    lambda order, known: replace(order, is_paused=True),
    is_followed=False,
)
RESUME = Steer("resume", EventType.ROLLOUT_RESUMED, "the rollout goes on", _resume)


def give_order(store: Store, now: datetime, actor: str, key: ResourceKey, steer: Steer) -> Order:
    """Write the order down, which needs no lease; ConflictError where it fits no rollout."""
    state = store.load_state([key.tenant])
    known = state.instances.get(key)
    target = None if known is None else known.rollout.target
    if known is None or target is None or known.rollout.phase is not RolloutPhase.PROGRESSING:
        raise ConflictError(
            f"no rollout of {key} is under way", hint="status shows what is; history what was"
        )
    order = state.orders.get(key)
    if order is None or order.target != target:
        order = Order(key, target)
    order = steer.change(order, known)
    text = f"v{target}: {steer.said}"
    event = make_event(steer.event, now, key.address, text, {"release": f"v{target}"})
    entry = AuditEntry(
        new_id(IdPrefix.AUDIT, now), now, actor, f"{steer.name} v{target}", key.address, "", "told"
    )
    store.give_order(order, event, entry)
    return order
