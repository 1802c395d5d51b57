"""Every delivery, and every look that found something, from when it came to its outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from ctrlplane_gitops.clock import Clock, monotonic_s
from ctrlplane_gitops.errors import StoreError
from ctrlplane_gitops.ids import IdPrefix, new_id
from ctrlplane_gitops.reconcile.report import PassReport
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.state.delivery import DeliveryOutcome, DeliveryRecord
from ctrlplane_gitops.store.delivery import Deliveries
from ctrlplane_gitops.value import replace
from ctrlplane_gitops.workers.ending import LAG, PATIENCE, ending_of, lag_wait, sign_of

POLL = "poll"
_MAX_MESSAGE = 500
_MAX_LOOKS = 1000
_MAX_REPORTS = 100
# Rows that only count are written this often: anybody can cause them.
_TALLY_S = 1.0


class Ledger:
    """Keeps the rows of a store's ``deliveries``. Before ``open`` nothing can be accepted; looks
    are kept until then.

    ``accept`` and ``reject`` are for any thread, ``begin_look``, ``end_look`` and ``fail_look`` for
    the one that looks, in this order, ``end_pass`` for the one that makes the passes. ``on_end`` is
    told of every row that has its outcome."""

    def __init__(
        self, clock: Clock, on_end: Callable[[DeliveryRecord], None] = lambda record: None
    ) -> None:
        self._clock, self._on_end = clock, on_end
        self._lock = threading.Lock()
        self._store: Deliveries | None = None
        self._open: dict[int, DeliveryRecord] = {}
        # By number of a row: the look that has seen its commit. Looks that saw something new are
        # counted, and found by what they saw.
        self._marks: dict[int, int] = {}
        self._looks: dict[str, int] = {}
        self._look = 0
        self._last = ""
        self._considered: tuple[DeliveryRecord, ...] = ()
        # Of the newest commits that a pass was made of: one of an older commit may end later.
        self._reports: dict[str, PassReport] = {}
        # What could not be written yet: looks that found something, outcomes, rows that count.
        self._found: list[tuple[DeliveryRecord, int]] = []
        self._ended: list[DeliveryRecord] = []
        self._tallies: dict[str, DeliveryRecord] = {}
        self._tallied_at = float("-inf")
        self._told: dict[str, str] = {}

    def open(self, store: Deliveries) -> bool:
        """Write there from now on. Whether somebody before us has left rows without an outcome:
        then there has to be a look."""
        left = store.read_open()
        with self._lock:
            self._store = store
            self._open = {item.number: item for item in left}
            self._marks = {}
            found, self._found = self._found, []
        for record, look in found:
            self._write_found(record, look)
        return bool(left)

    def accept(self, records: Sequence[DeliveryRecord]) -> Sequence[DeliveryRecord]:
        """The rows they have become, for good: each its own, or that of its copies. StoreError
        when they cannot be written down; then none of them is."""
        store = self._store
        if store is None:
            raise StoreError("nothing is recorded yet", is_retryable=True)
        written = store.accept_all(records)
        with self._lock:
            for item in written:
                if item.outcome is DeliveryOutcome.ACCEPTED:
                    self._open[item.number] = item
        for item in written:
            if item.outcome is not DeliveryOutcome.ACCEPTED:
                self._on_end(item)
        return written

    def reject(self, sender: str, reason: str, message: str) -> bool:
        """Count who was sent away. Whether it is the first for this reason within the hour."""
        now = self._clock.now()
        row = self._make(sender, DeliveryOutcome.REJECTED, now, message, reason=reason)
        self._on_end(row)
        kind, hour = f"{sender}/{reason}", f"{now:%Y-%m-%dT%H}"
        self._tally(f"{kind}/{hour}", row)
        self.flush()
        with self._lock:
            before, self._told[kind] = self._told.get(kind), hour
        return before != hour

    def begin_look(self) -> None:
        """What comes from now on, this look may have missed."""
        with self._lock:
            self._considered = tuple(self._open.values())

    def fail_look(self, error: str) -> None:
        now, considered = self._clock.now(), self._considered
        row = self._make(POLL, DeliveryOutcome.FAILED, now, error)
        self._tally(f"{POLL}/failed/{now:%Y-%m-%d}", row)
        unseen = (item for item in considered if not self._is_seen(item))
        message = f"the source could not be had: {error}"
        self._end(
            (item, DeliveryOutcome.FAILED, "", message)
            for item in unseen
            if now - item.at > PATIENCE
        )
        self.flush(is_all=True)

    def end_look(self, snapshot: Snapshot) -> timedelta | None:
        """How soon to look again for a commit that is not to be seen yet; None: on the interval."""
        now, considered = self._clock.now(), self._considered
        missing = self._find_missing(considered, snapshot)
        lacking = {item.number for item in missing}
        covered = [item for item in considered if item.number not in lacking]
        look, is_new = self._count_look(snapshot)
        with self._lock:
            for item in covered:
                self._marks.setdefault(item.number, look)
        if is_new and all(item.sender == POLL for item in covered):
            row = self._make(POLL, DeliveryOutcome.ACCEPTED, now, "")
            found = replace(row, ref=snapshot.ref, announced=snapshot.commit, ended_at=None)
            self._write_found(found, look)
        elif not is_new and all(item.sender == POLL for item in considered):
            row = self._make(POLL, DeliveryOutcome.UNCHANGED, now, "nothing is new")
            self._tally(f"{POLL}/unchanged/{now:%Y-%m-%d}", row)
        waiting = self._give_up(missing, covered, snapshot, now)
        self.flush(is_all=True)
        return lag_wait(min(now - item.at for item in waiting)) if waiting else None

    def end_pass(self, report: PassReport, tried: Snapshot) -> None:
        """A pass of ``tried`` came to an end: so do those that were waiting for it."""
        sign = sign_of(tried)
        with self._lock:
            self._reports.pop(report.commit, None)
            self._reports[report.commit] = report
            if len(self._reports) > _MAX_REPORTS:
                del self._reports[next(iter(self._reports))]
            look = self._looks.get(sign, 0)
        self._settle(tried, report, look)

    def settle(self, snapshot: Snapshot, tried: Snapshot) -> None:
        """The source says by now (``snapshot``) what was ``tried`` last, be it of another commit,
        and no pass is to come."""
        sign = sign_of(snapshot)
        with self._lock:
            # A look that has ended meanwhile may have seen more than this.
            report, look = self._reports.get(tried.commit), self._looks.get(sign, 0)
        self._settle(snapshot, report, look)

    def flush(self, *, is_all: bool = False) -> None:
        """Write down what only counts, not oftener than every second unless ``is_all``; and what
        could not be written before. Never raises: what cannot be written now is kept."""
        with self._lock:
            store, now = self._store, monotonic_s()
            if store is None or not (is_all or now - self._tallied_at >= _TALLY_S):
                return
            self._tallied_at = now
            tallies, self._tallies = self._tallies, {}
        written = []
        try:
            for key, row in tallies.items():
                store.tally(key, row)
                written.append(key)
        except StoreError:
            for key in tallies.keys() - set(written):
                self._tally(key, tallies[key])
        self._end(())

    def _is_seen(self, row: DeliveryRecord) -> bool:
        return row.sender == POLL or row.number in self._marks

    def _find_missing(
        self, considered: Iterable[DeliveryRecord], snapshot: Snapshot
    ) -> list[DeliveryRecord]:
        """Those whose commit has not been seen and is not to be seen here either."""
        named = [
            item
            for item in considered
            if snapshot.ref and item.announced not in ("", snapshot.commit)
        ]
        unseen = [item for item in named if not self._is_seen(item)]
        if not unseen:
            return []
        known = snapshot.find_ancestors({item.announced for item in unseen})
        return [item for item in unseen if item.announced not in known]

    def _count_look(self, snapshot: Snapshot) -> tuple[int, bool]:
        """The number of the look, and whether it saw something else than the one before."""
        sign = sign_of(snapshot)
        with self._lock:
            is_new, self._last = sign != self._last, sign
            if is_new:
                # What is there again, after it was not, is new as well.
                self._looks.pop(sign, None)
                self._looks[sign] = self._look = self._look + 1
                if len(self._looks) > _MAX_LOOKS:
                    del self._looks[next(iter(self._looks))]
            return self._look, is_new

    def _give_up(
        self,
        missing: Sequence[DeliveryRecord],
        covered: Sequence[DeliveryRecord],
        snapshot: Snapshot,
        now: datetime,
    ) -> list[DeliveryRecord]:
        """End those that were overtaken, or were looked for long enough; the others."""
        commit = snapshot.commit
        pushes = [item.number for item in covered if item.announced and item.sender != POLL]
        newest = max(pushes, default=0)
        overtaken = [item for item in missing if item.number < newest]
        left = [item for item in missing if item.number > newest]
        late = [item for item in left if now - item.at >= LAG]
        after = f"{commit[:12]} came after it"
        unseen = f"its commit has not been seen; {snapshot.ref} is at {commit[:12]}"
        self._end((item, DeliveryOutcome.SUPERSEDED, commit, after) for item in overtaken)
        self._end((item, DeliveryOutcome.FAILED, commit, unseen) for item in late)
        return [item for item in left if now - item.at < LAG]

    def _write_found(self, record: DeliveryRecord, look: int) -> None:
        try:
            [written] = self.accept([record])
        except StoreError:
            with self._lock:
                # One that is older is of no use to anybody by then.
                self._found = [*self._found, (record, look)][-100:]
            return
        with self._lock:
            self._marks[written.number] = look

    def _settle(self, snapshot: Snapshot, report: PassReport | None, look: int) -> None:
        """End those that a look up to this one has seen."""
        with self._lock:
            waiting = [
                self._open[number]
                for number, mark in self._marks.items()
                if mark <= look and number in self._open
            ]
        commit = snapshot.commit
        endings = [(item, ending_of(item, commit, report)) for item in waiting]
        self._end(
            (item, ending[0], commit, ending[1]) for item, ending in endings if ending is not None
        )

    def _end(self, endings: Iterable[tuple[DeliveryRecord, DeliveryOutcome, str, str]]) -> None:
        now = self._clock.now()
        ended = [
            replace(item, outcome=outcome, commit=commit, ended_at=now, message=text[:_MAX_MESSAGE])
            for item, outcome, commit, text in endings
        ]
        with self._lock:
            # Two may come to the same end at once: the first counts.
            ended = [item for item in ended if self._open.pop(item.number, None) is not None]
            for item in ended:
                self._marks.pop(item.number, None)
            self._ended += ended
            store, due = self._store, self._ended
            self._ended = []
        for item in ended:
            self._on_end(item)
        if store is None or not due:
            return
        try:
            store.end(due)
        except StoreError:
            with self._lock:
                self._ended = [*due, *self._ended]

    def _tally(self, key: str, row: DeliveryRecord) -> None:
        with self._lock:
            known = self._tallies.get(key)
            count = row.count + (known.count if known else 0)
            self._tallies[key] = replace(row, at=known.at if known else row.at, count=count)

    def _make(
        self, sender: str, outcome: DeliveryOutcome, now: datetime, message: str, reason: str = ""
    ) -> DeliveryRecord:
        return DeliveryRecord(
            new_id(IdPrefix.DELIVERY, now), now, sender, outcome,
            message=message[:_MAX_MESSAGE], ended_at=now, reason=reason,
        )  # fmt: skip
