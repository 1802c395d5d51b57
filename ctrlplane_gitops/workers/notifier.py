"""The worker that tells others: follows the log, decides what is worth a message, sends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import SecretError, StoreError
from ctrlplane_gitops.events.cloudevent import build_body
from ctrlplane_gitops.events.notice import Fold, Told, fold, settle
from ctrlplane_gitops.ids import IdPrefix, new_id
from ctrlplane_gitops.state.desired import Notification
from ctrlplane_gitops.state.notification import Message, Notice
from ctrlplane_gitops.store.outbox import Outbox, Reading
from ctrlplane_gitops.value import replace
from ctrlplane_gitops.workers.sender import Outlet, Sender
from ctrlplane_gitops.workers.worker import Ran

INTERVAL = timedelta(seconds=5)
_BATCH = 500
_SETTLE_EVERY = timedelta(minutes=1)
_PRUNE_EVERY = timedelta(minutes=10)
# Another process may serve a commit that is newer than ours.
_GRACE = timedelta(minutes=10)
_NOT_YET = timedelta(seconds=1)


class Notifier:
    """``open_outlet`` gives what there is to tell and to whom, None while that is not known.
    ``run`` is for one thread. Several processes may do this for one store: each message is
    written by one of them, and sent by whoever claims it."""

    def __init__(
        self, open_outlet: Callable[[], Outlet | None], sender: Sender, clock: Clock
    ) -> None:
        self._open_outlet = open_outlet
        self._sender = sender
        self._clock = clock
        self._read_to: int | None = None
        self._idle_since: datetime | None = None
        self._missing: dict[str, datetime] = {}
        self._settled_at: datetime | None = None
        self._pruned_at: datetime | None = None

    def run(self) -> Ran:
        """What was written since the last time becomes messages, and what is due goes out."""
        outlet = self._open_outlet()
        if outlet is None:
            return Ran(_NOT_YET)
        try:
            return self._run(outlet)
        except StoreError:
            current = self._open_outlet()
            if current is not None and current.store is outlet.store:
                raise
            # The control plane was opened anew meanwhile, and its store with it.
            return Ran(_NOT_YET)

    def _run(self, outlet: Outlet) -> Ran:
        active = self._find_active(outlet)
        self._read_log(outlet, active)
        now = self._clock.now()
        if self._pruned_at is None or now - self._pruned_at >= _PRUNE_EVERY:
            self._pruned_at = now
            outlet.store.outbox.prune(now)
        at = self._sender.send_due(replace(outlet, subscriptions=active))
        after = INTERVAL if at is None else min(INTERVAL, max(timedelta(), at - now))
        return Ran(after, "; ".join(self._sender.errors()))

    def _find_active(self, outlet: Outlet) -> tuple[Notification, ...]:
        """Whom to tell: who is no longer there is given up, and who has said that it wants no more
        is left out, until it has another URL."""
        box, closed = outlet.store.outbox, outlet.store.outbox.read_closed()
        names, now = {item.name for item in outlet.subscriptions}, self._clock.now()
        known = [name for name in box.read_subscriptions() if name not in names]
        self._missing = {name: self._missing.get(name, now) for name in known}
        for name, since in self._missing.items():
            self._sender.forget(name)
            if now - since >= _GRACE:
                box.give_up(name, "it is no longer among the notifications", now)
                box.open_subscription(name)
        active = []
        for item in outlet.subscriptions:
            if item.name in closed:
                if self._has_target(outlet, item, closed[item.name].target):
                    continue
                box.open_subscription(item.name)
            active.append(item)
        return tuple(active)

    def _has_target(self, outlet: Outlet, subscription: Notification, target: str) -> bool:
        try:
            return self._sender.target_of(outlet, subscription) == target
        except SecretError:
            return True

    def _read_log(self, outlet: Outlet, active: Sequence[Notification]) -> None:
        """From where it was read the last time. Who is new hears of what has come since nobody
        was there to hear, or since this process began."""
        store, box = outlet.store, outlet.store.outbox
        cursor, last = box.read_cursor(), store.last_event()
        if not outlet.subscriptions:
            now = self._clock.now()
            self._read_to, self._idle_since = last, self._idle_since or now
            if cursor is not None and now - self._idle_since >= _GRACE:
                box.read_on(Reading(cursor, None))
            return
        self._idle_since = None
        if cursor is None or cursor > last:
            start = outlet.start if self._read_to is None else self._read_to
            before, cursor = cursor, min(start, last)
            if not box.read_on(Reading(before, cursor)):
                return  # somebody else reads it
        while rows := store.read_events_after(cursor, _BATCH):
            notices = box.read_notices()
            found = fold(notices, [row.event for row in rows], active)
            reading = self._build_reading(outlet, notices, found, cursor, rows[-1].number)
            if not box.read_on(reading):
                return  # somebody else reads it
            cursor = rows[-1].number
        self._read_to = cursor
        self._settle(outlet, box, cursor)

    def _settle(self, outlet: Outlet, box: Outbox, cursor: int) -> None:
        now = self._clock.now()
        if self._settled_at is not None and now - self._settled_at < _SETTLE_EVERY:
            return
        self._settled_at = now
        notices = box.read_notices()
        found = settle(notices, now)
        if len(found.notices) < len(notices):
            box.read_on(self._build_reading(outlet, notices, found, cursor, cursor))

    def _build_reading(
        self, outlet: Outlet, notices: Iterable[Notice], found: Fold, before: int, after: int
    ) -> Reading:
        known = {item.key: item for item in notices}
        return Reading(
            before,
            after,
            tuple(item for key, item in known.items() if found.notices.get(key) != item),
            tuple(item for key, item in found.notices.items() if known.get(key) != item),
            tuple(self._build_message(outlet, item) for item in found.told),
        )

    def _build_message(self, outlet: Outlet, told: Told) -> Message:
        now = self._clock.now()
        return Message(
            new_id(IdPrefix.MESSAGE, now),
            told.subscription,
            told.event.id,
            told.event.type,
            told.event.address,
            now,
            build_body(outlet.plane, told),
            next_at=now,
        )
