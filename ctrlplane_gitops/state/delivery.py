"""The ledger of deliveries: what made us look at the source, and what came of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from ctrlplane_gitops.value import struct


class DeliveryOutcome(StrEnum):
    """How a delivery ended; ``accepted`` until it has.

    ``superseded``: a newer commit was applied in its place. ``ignored``: about something else than
    what is served. ``duplicate``: it was here before. ``rejected``: nobody vouches for it, or it
    cannot be read. ``failed``: its pass did not do all it should, or its commit was never seen."""

    ACCEPTED = "accepted"
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    SUPERSEDED = "superseded"
    IGNORED = "ignored"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    FAILED = "failed"


@struct
class DeliveryRecord:
    """One row: a webhook delivery, or a look that nobody asked for (``sender`` ``poll``).

    ``given_id`` and ``digest`` are the sender's id and ``sha256:<hex>`` of what was signed, both
    empty for looks and for who was rejected. ``ref`` and ``announced`` are what it says was pushed
    (a full ref and commit, each may be empty), ``commit`` what the source said when it ended.
    ``reason`` is the class of a rejection, ``original`` the row a duplicate is a copy of. A row
    with a ``count`` above 1 stands for as many, from ``at`` to ``ended_at``. ``number`` orders the
    rows, 0 before it is written down."""

    id: str
    at: datetime
    sender: str
    outcome: DeliveryOutcome
    given_id: str = ""
    digest: str = ""
    event: str = ""
    ref: str = ""
    announced: str = ""
    commit: str = ""
    ended_at: datetime | None = None
    message: str = ""
    reason: str = ""
    original: str = ""
    count: int = 1
    number: int = 0
