"""What a webhook delivery comes down to, the same for every sender."""

from __future__ import annotations

from enum import StrEnum

from ctrlplane_gitops.source.hook.digest import sha256_of
from ctrlplane_gitops.value import struct


class Event(StrEnum):
    """``push`` means look again, ``ping`` that somebody tries the hook, ``other`` neither."""

    PUSH = "push"
    PING = "ping"
    OTHER = "other"


@struct
class Push:
    """The ref that moved, full (``refs/heads/main``), and its commits before and after, full hex.

    Each is empty where the payload does not say: for several refs at once, and for no commit."""

    ref: str = ""
    before: str = ""
    after: str = ""


@struct
class Delivery:
    """A delivery whose sender knows a secret of ours. What it says is a hint: Git is asked.

    ``id`` is the sender's, the same for a repeated attempt, or ``digest`` where there is none. Most
    senders do not sign it: who replays a delivery may have changed it, so both have to be new.
    ``digest`` is ``sha256:<hex>`` of what is signed, which is the body, or the payload in a form.
    ``repository`` are the clone URLs the payload names, without user names and perhaps without
    ``.git``; it may be empty. ``ref``, ``before`` and ``after`` are those of ``Push``.
    """

    sender: str
    event: Event
    id: str
    digest: str
    repository: tuple[str, ...] = ()
    ref: str = ""
    before: str = ""
    after: str = ""


def digest_of(content: bytes) -> str:
    """
    >>> digest_of(b"")[:20]
    'sha256:e3b0c44298fc1'
    """
    return f"sha256:{sha256_of(content).hex()}"
