"""What is told to others: what has been noticed, and the messages about it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from ctrlplane_gitops.value import struct


@struct
class Notice:
    """A failure that was told to a subscription, until it is over.

    ``address`` is what failed (``instance/acme/web``, for its deployment too), ``kind`` what may
    be over at once (``rollout``), ``identity`` what makes one failure the same as another
    (``rollout.failed v5``). ``count`` is how often it has happened since ``since``; ``last_at``,
    ``event`` and ``message`` are of the last time: when, its id, what it said."""

    subscription: str
    address: str
    kind: str
    identity: str
    count: int
    since: datetime
    last_at: datetime
    event: str
    message: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.subscription, self.address, self.kind, self.identity)


class MessageState(StrEnum):
    """``failed`` will not be tried again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@struct
class Message:
    """One thing that one subscription is told, for as long as it takes.

    ``id`` is what the receiver knows it by, the same at each attempt; ``event`` the id of the
    event it is about, ``type`` and ``address`` those of the event. ``body`` is JSON text that is
    sent as it is. ``next_at`` is when it is to be tried (again), None once it has its outcome,
    which is when ``ended_at`` is set. ``status`` is the HTTP status that was answered last, None
    without an answer; ``error`` says what was wrong with the last attempt, "" where nothing was.
    ``number`` is its row's, 0 before it is written."""

    id: str
    subscription: str
    event: str
    type: str
    address: str
    created_at: datetime
    body: str
    state: MessageState = MessageState.PENDING
    attempts: int = 0
    next_at: datetime | None = None
    status: int | None = None
    error: str = ""
    ended_at: datetime | None = None
    number: int = 0


@struct
class Attempt:
    """What came of sending a message once. ``next_at`` is when to try again, None when that was
    the end of it; ``is_gone``: the receiver wants nothing any more."""

    state: MessageState
    status: int | None = None
    error: str = ""
    next_at: datetime | None = None
    is_gone: bool = False


@struct
class Closed:
    """A subscription that is sent nothing any more, because its receiver said so (410). ``target``
    is a digest of where that was: another URL opens it again."""

    subscription: str
    target: str
    at: datetime
