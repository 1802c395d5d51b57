"""The ledger of deliveries as every store has it, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from ctrlplane_gitops.clock import rfc3339
from ctrlplane_gitops.state.delivery import DeliveryOutcome, DeliveryRecord
from ctrlplane_gitops.value import struct

# What is kept: the newest rows, and of rejections fewer, which anybody can cause. What has no
# outcome yet is always kept.
KEPT = 20_000
KEPT_REJECTIONS = 1_000


@struct
class DeliveryFilter:
    """``sender`` and ``outcome`` are those asked for, None for any."""

    sender: str | None = None
    outcome: DeliveryOutcome | None = None


class Deliveries(Protocol):
    """No lease is needed: it is a record of what came, not of what runs. For many threads.

    All methods raise ``StoreError`` when the store cannot be read or written."""

    def accept(self, record: DeliveryRecord) -> DeliveryRecord:
        """Write a delivery down for good, and give it its number. One whose ``digest`` is known,
        or whose ``given_id`` is for its sender, is not written again: what comes back is the one
        row of the copies of that delivery, ``duplicate``, counted up."""
        ...

    def accept_all(self, records: Sequence[DeliveryRecord]) -> Sequence[DeliveryRecord]:
        """The same for each, in this order, in one transaction: all of them, or none."""
        ...

    def tally(self, key: str, record: DeliveryRecord) -> None:
        """Count ``record`` onto the row that was begun with this ``key``, whose end and message
        become those of ``record``; without one, begin it."""
        ...

    def end(self, records: Sequence[DeliveryRecord]) -> None:
        """Write down the outcome, commit, end and message of rows. One that has its outcome keeps
        it."""
        ...

    def read_open(self) -> Sequence[DeliveryRecord]:
        """Those without an outcome, oldest first."""
        ...

    def read(
        self, where: DeliveryFilter, *, before: int | None = None, limit: int = 100
    ) -> Sequence[DeliveryRecord]:
        """Newest first; ``before`` is the ``number`` of the last one of the page before."""
        ...

    def prune(self, before: datetime) -> int:
        """Remove some of what came earlier and has its outcome, in one short transaction; how
        many, 0 when nothing is left."""
        ...


def delivery_as_json(record: DeliveryRecord) -> dict[str, Any]:
    """What is not known is null; ``number`` is what to go on reading from."""
    return {
        "id": record.id,
        "number": record.number,
        "at": rfc3339(record.at),
        "sender": record.sender,
        "delivery_id": record.given_id or None,
        "digest": record.digest or None,
        "event": record.event or None,
        "ref": record.ref or None,
        "announced_commit": record.announced or None,
        "outcome": record.outcome.value,
        "commit": record.commit or None,
        "ended_at": None if record.ended_at is None else rfc3339(record.ended_at),
        "message": record.message or None,
        "reason": record.reason or None,
        "duplicate_of": record.original or None,
        "count": record.count,
    }
