"""What is to be told to others, as every store has it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from ctrlplane_gitops.state.notification import Attempt, Closed, Message, MessageState, Notice
from ctrlplane_gitops.value import struct

NoticeKey = tuple[str, str, str, str]

# What is kept of messages that have their outcome: the newest rows, for a week.
KEPT = 5_000
KEPT_FOR = timedelta(days=7)
# What nobody could be told for so long, or is too much for one subscription, will not be.
GIVEN_UP_AFTER = timedelta(days=3)
MAX_PENDING = 10_000


@struct
class MessageFilter:
    """What is asked for; None is any. ``address`` matches itself."""

    subscription: str | None = None
    state: MessageState | None = None
    address: str | None = None


@struct
class Reading:
    """The log read on, from the event with the number ``before`` (None: from nowhere yet) to that
    with ``after`` (None: to nowhere, nobody reads it any more), and what follows from it. ``old``
    are the notices that change or go, as they were read; ``new`` as they are now."""

    before: int | None
    after: int | None
    old: tuple[Notice, ...] = ()
    new: tuple[Notice, ...] = ()
    messages: tuple[Message, ...] = ()


class Outbox(Protocol):
    """No lease is needed: it is about what happened, not what runs. For many threads.

    All methods raise ``StoreError`` when the store cannot be read or written."""

    def read_cursor(self) -> int | None:
        """The number of the last event that was read; None before the first time."""
        ...

    def read_notices(self) -> Sequence[Notice]:
        """By subscription, address, kind and identity."""
        ...

    def read_on(self, reading: Reading) -> bool:
        """Write down all of it, or nothing: False when somebody else has read on meanwhile, or
        changed what was noticed."""
        ...

    def find_due(self) -> Mapping[str, datetime]:
        """When something is to be sent next, by subscription."""
        ...

    def claim(self, subscription: str, now: datetime, until: datetime) -> Message | None:
        """The oldest message that is due, put off until then: whoever claims it and does not come
        back has it sent again, by whoever comes next. None where nothing is due."""
        ...

    def end_attempt(self, id: str, attempt: Attempt, now: datetime) -> bool:
        """Write down what came of an attempt. A message that has its outcome keeps it: False."""
        ...

    def give_up(self, subscription: str, reason: str, now: datetime) -> int:
        """End all that is pending for a subscription as failed; how many there were. What was
        noticed for it is forgotten."""
        ...

    def close_subscription(self, closed: Closed) -> None:
        """Write down that nothing is sent any more."""
        ...

    def open_subscription(self, subscription: str) -> None:
        """Forget that it was closed."""
        ...

    def read_closed(self) -> Mapping[str, Closed]: ...

    def read_subscriptions(self) -> Collection[str]:
        """Of whom something is pending, noticed or closed."""
        ...

    def read_messages(
        self, where: MessageFilter, *, before: int | None = None, limit: int = 100
    ) -> Sequence[Message]:
        """Newest first; ``before`` is the ``number`` of the last one of the page before."""
        ...

    def prune(self, now: datetime) -> None:
        """End as failed what is too old or too much, and drop what had its outcome long ago."""
        ...
