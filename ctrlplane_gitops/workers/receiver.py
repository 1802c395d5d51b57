"""Webhook deliveries as they come in: judged, written down, and then there is a look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import DeliveryError
from ctrlplane_gitops.ids import IdPrefix, new_id
from ctrlplane_gitops.source.hook.delivery import Delivery
from ctrlplane_gitops.source.hook.served import Served, find_other
from ctrlplane_gitops.source.webhook import SENDERS, read_delivery, secret_variable
from ctrlplane_gitops.state.delivery import DeliveryOutcome, DeliveryRecord
from ctrlplane_gitops.workers.ledger import Ledger

# The class of a rejection by the status it was answered with.
_REASONS = {400: "malformed", 401: "signature", 404: "unconfigured", 413: "too-large"}
_MAX_MESSAGE = 500


class Receiver:
    """``secrets`` are those of each sender that is listened to. ``find_served`` says what is
    followed, None before that is known. ``wake`` lets somebody look at the source, ``log`` takes a
    line. For any thread."""

    def __init__(
        self,
        secrets: Mapping[str, tuple[str, ...]],
        ledger: Ledger,
        find_served: Callable[[], Served | None],
        clock: Clock,
        wake: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        self._secrets, self._ledger, self._find_served = secrets, ledger, find_served
        self._clock, self._wake, self._log = clock, wake, log

    def listens_to(self, sender: str) -> bool:
        return sender in self._secrets

    def receive(
        self, sender: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> DeliveryRecord:
        """The row of the delivery, on disk. DeliveryError for one that is refused, StoreError where
        it cannot be written down."""
        try:
            record = self.read(sender, headers, body)
        except DeliveryError as error:
            self.refuse(sender, error.status, error.message)
            raise
        return self.accept([record])[0]

    def read(self, sender: str, headers: Iterable[tuple[str, str]], body: bytes) -> DeliveryRecord:
        """What would be written down of the delivery; DeliveryError for one that is refused, which
        is not counted."""
        secrets = self._secrets.get(sender, ())
        return self._judge(read_delivery(sender, headers, body, secrets, self._clock.now()))

    def accept(self, records: Sequence[DeliveryRecord]) -> Sequence[DeliveryRecord]:
        """The rows of what was read, on disk; StoreError, and none of them is."""
        written = self._ledger.accept(records)
        if any(item.outcome is DeliveryOutcome.ACCEPTED for item in written):
            self._wake()
        return written

    def refuse(self, sender: str, status: int, why: str) -> None:
        """Count a request that is not taken as a delivery; said once within the hour."""
        if sender not in SENDERS:
            return
        if status == 404:
            why = f"no secret is set, so it is answered 404: set {secret_variable(sender)}"
        if self._ledger.reject(sender, _REASONS.get(status, "malformed"), why):
            self._log(f"webhook {sender}: {why}")

    def _judge(self, delivery: Delivery) -> DeliveryRecord:
        now, served = self._clock.now(), self._find_served()
        # Before anything is known of what is followed, nothing is written down either.
        other = find_other(delivery, served) if served else ""
        return DeliveryRecord(
            id=new_id(IdPrefix.DELIVERY, now),
            at=now,
            sender=delivery.sender,
            outcome=DeliveryOutcome.IGNORED if other else DeliveryOutcome.ACCEPTED,
            given_id=delivery.id,
            digest=delivery.digest,
            event=delivery.event.value,
            ref=delivery.ref,
            announced=delivery.after,
            ended_at=now if other else None,
            message=f"it is about {other}"[:_MAX_MESSAGE] if other else "",
        )
