"""The ledger of deliveries in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from ctrlplane_gitops.state.delivery import DeliveryOutcome, DeliveryRecord
from ctrlplane_gitops.store.delivery import KEPT, KEPT_REJECTIONS, DeliveryFilter
from ctrlplane_gitops.value import replace


class MemoryDeliveries:
    """``_found`` has the number of a row by what it is recognised by."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._rows: dict[int, DeliveryRecord] = {}
        self._found: dict[tuple[str, ...], int] = {}

    def accept(self, record: DeliveryRecord) -> DeliveryRecord:
        return self.accept_all([record])[0]

    def accept_all(self, records: Sequence[DeliveryRecord]) -> Sequence[DeliveryRecord]:
        with self._lock:
            return [self._accept(item) for item in records]

    def _accept(self, record: DeliveryRecord) -> DeliveryRecord:
        known = self._find(*_signs_of(record))
        if known is None:
            return self._add(record, *_signs_of(record))
        return self._count(("copy", known.id), copy_of(known, record))

    def tally(self, key: str, record: DeliveryRecord) -> None:
        with self._lock:
            self._count(("tally", key), record)

    def end(self, records: Sequence[DeliveryRecord]) -> None:
        with self._lock:
            for item in records:
                row = self._rows.get(item.number)
                if row is not None and row.outcome is DeliveryOutcome.ACCEPTED:
                    self._rows[row.number] = replace(
                        row,
                        outcome=item.outcome,
                        commit=item.commit,
                        ended_at=item.ended_at,
                        message=item.message,
                    )

    def read_open(self) -> Sequence[DeliveryRecord]:
        with self._lock:
            return [
                item for item in self._rows.values() if item.outcome is DeliveryOutcome.ACCEPTED
            ]

    def read(
        self, where: DeliveryFilter, *, before: int | None = None, limit: int = 100
    ) -> Sequence[DeliveryRecord]:
        with self._lock:
            found = [
                item
                for item in reversed(self._rows.values())
                if where.sender in (None, item.sender)
                and where.outcome in (None, item.outcome)
                and (before is None or item.number < before)
            ]
        return found[: max(limit, 0)]

    def prune(self, before: datetime) -> int:
        with self._lock:
            old = [
                number
                for number, item in self._rows.items()
                if item.at < before and item.outcome is not DeliveryOutcome.ACCEPTED
            ]
            for number in old:
                del self._rows[number]
            return len(old)

    def _find(self, *signs: tuple[str, ...]) -> DeliveryRecord | None:
        numbers = (self._found.get(sign, 0) for sign in signs)
        return next((self._rows[number] for number in numbers if number in self._rows), None)

    def _add(self, record: DeliveryRecord, *signs: tuple[str, ...]) -> DeliveryRecord:
        self._last += 1
        row = self._rows[self._last] = replace(record, number=self._last)
        self._found.update(dict.fromkeys(signs, self._last))
        if row.outcome is DeliveryOutcome.REJECTED:
            rejected = (x for x in reversed(self._rows.values()) if x.outcome is row.outcome)
            for item in list(islice(rejected, KEPT_REJECTIONS, None)):
                del self._rows[item.number]
        old = self._rows.get(self._last - KEPT)
        if old is not None and old.outcome is not DeliveryOutcome.ACCEPTED:
            del self._rows[old.number]
        return row

    def _count(self, sign: tuple[str, ...], record: DeliveryRecord) -> DeliveryRecord:
        row = self._find(sign)
        if row is None:
            return self._add(record, sign)
        counted = self._rows[row.number] = replace(
            row,
            count=row.count + record.count,
            ended_at=record.ended_at,
            message=record.message,
        )
        return counted


def _signs_of(record: DeliveryRecord) -> list[tuple[str, ...]]:
    given = ("given", record.sender, record.given_id) if record.given_id else None
    digest = ("digest", record.digest) if record.digest else None
    return [sign for sign in (given, digest) if sign is not None]


def copy_of(known: DeliveryRecord, record: DeliveryRecord) -> DeliveryRecord:
    """The row of the copies of ``known``, of which ``record`` is the first or one more."""
    return replace(
        record,
        outcome=DeliveryOutcome.DUPLICATE,
        original=known.id,
        ended_at=record.at,
        message=f"{known.id} was the same delivery",
    )
