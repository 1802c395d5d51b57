"""A ledger against looks and passes that a test makes up."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.state.delivery import DeliveryOutcome, DeliveryRecord
from ctrlplane_gitops.store.delivery import DeliveryFilter
from ctrlplane_gitops.store.delivery_memory import MemoryDeliveries
from ctrlplane_gitops.workers.ledger import Ledger

SECOND = timedelta(seconds=1)
MAIN = "refs/heads/main"
NAMES = "abcdefgh"


def commit(name: str) -> str:
    return name * 40


class Brittle(MemoryDeliveries):
    """Cannot be written while ``is_broken``."""

    is_broken = False

    def accept_all(self, records: Sequence[DeliveryRecord]) -> Sequence[DeliveryRecord]:
        self._check()
        return super().accept_all(records)

    def tally(self, key: str, record: DeliveryRecord) -> None:
        self._check()
        super().tally(key, record)

    def end(self, records: Collection[DeliveryRecord]) -> None:  # type: ignore[override]
        self._check()
        super().end(list(records))

    def _check(self) -> None:
        if self.is_broken:
            raise StoreError("the disk is full")


class Scene:
    """A source whose history is the alphabet, up to the commit that it ``has``."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.clock = FakeClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
        self.store = Brittle()
        self.told: list[DeliveryRecord] = []
        self.ledger = Ledger(self.clock, self.told.append)
        self.ids = 0
        if is_open:
            self.ledger.open(self.store)

    def deliver(self, announced: str = "", ref: str = MAIN) -> int:
        """The number of an accepted delivery."""
        self.ids += 1
        row = DeliveryRecord(
            f"dlv_{self.ids}", self.clock.now(), "github", DeliveryOutcome.ACCEPTED,
            f"id-{self.ids}", f"sha256:{self.ids}", "push", ref,
            commit(announced) if announced else "",
        )  # fmt: skip
        return self.ledger.accept([row])[0].number

    def snapshot(self, name: str, ref: str = MAIN) -> Snapshot:
        past = {commit(item) for item in NAMES[: NAMES.index(name) + 1]}

        def find(commits: Collection[str]) -> frozenset[str]:
            return frozenset(commits) & past

        return Snapshot({"a": name}, lambda blobs: {}, commit(name), ref, find_ancestors=find)

    def look(self, name: str) -> timedelta | None:
        self.ledger.begin_look()
        return self.ledger.end_look(self.snapshot(name))

    def end_pass(self, name: str, outcome: PassOutcome, note: str = "") -> None:
        report = PassReport(
            self.clock.now(), timedelta(), outcome, commit(name), MAIN, True, True, False,
            notes=(note,) if note else (),
        )  # fmt: skip
        self.ledger.end_pass(report, self.snapshot(name))

    def settle(self, name: str, tried: str = "") -> None:
        self.ledger.settle(self.snapshot(name), self.snapshot(tried or name))

    def rows(self, sender: str | None = "github") -> list[tuple[str, str]]:
        """Outcome and commit, oldest first."""
        found = self.store.read(DeliveryFilter(sender), limit=1000)
        return [(item.outcome.value, item.commit[:1]) for item in reversed(found)]

    def message(self, sender: str = "github") -> str:
        return self.store.read(DeliveryFilter(sender))[0].message
