"""The router as the works of an apply share it: one table, one write at a time.

A work says how the requests of its instance are to be shared; what all of them want is written
together, and counts only once the router itself and a probe through it have confirmed it. Who is
taken out of the table is drained before anybody may stop it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import CtrlplaneError, ProviderError
from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.drain import live_members, members_in
from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.execute.line import NOTHING, Line, Sets, entries_of
from ctrlplane_gitops.execute.pool import Pool, wait_any
from ctrlplane_gitops.execute.table_write import Written, count_members, write_table
from ctrlplane_gitops.network.router import Router
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.rollout.routing import read_step
from ctrlplane_gitops.rollout.view import RouteStep, TrafficView
from ctrlplane_gitops.state.desired import DesiredInstance
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.recorded import Intent
from ctrlplane_gitops.state.traffic import (
    RouteEntry,
    RouterCapability,
    RouterState,
    RouteTable,
    TrafficCount,
)

_RETRY = timedelta(milliseconds=500)


class Traffic:
    """``begin`` first. Then, turn by turn: ``view`` what is, say with ``want`` what is to be,
    ``intend``, and after the journal was flushed ``submit``; ``collect`` takes in what came of it.

    ``message`` says what a write that is not live yet is missing."""

    def __init__(
        self,
        router: Router,
        plane: str,
        pool: Pool,
        clock: Clock,
        journal: Journal,
    ) -> None:
        self._router = router
        self._address = ResourceKey(Kind.CONTROL_PLANE, "", plane).address
        self._pool = pool
        self._clock = clock
        self._journal = journal
        self._certificates: Mapping[ResourceKey, SecretValue] = {}
        self._lines: dict[ResourceKey, Line] = {}
        self._owners: dict[ResourceKey, ResourceKey] = {}
        self._wanted = 0
        self._live = 0
        self._job: Future[Written] | None = None
        self._counting: Future[dict[ResourceKey, int | None]] | None = None
        self._intent: Intent | None = None
        self._not_before: datetime | None = None
        self._has_begun = False
        self._is_observable = RouterCapability.OBSERVABLE_DRAIN in router.capabilities
        self.message = ""
        self.error: CtrlplaneError | None = None
        self.count = 0

    def show(self, certificates: Mapping[ResourceKey, SecretValue]) -> None:
        """Values that routes may name from now on."""
        self._certificates = {**self._certificates, **certificates}

    def begin(
        self,
        unrouted: Collection[ResourceKey],
        synced: Collection[ResourceKey] = (),
        rotated: Collection[ResourceKey] = (),
        seen: RouterState | None = None,
    ) -> None:
        """Have the router run, see what it serves, and take out the routes that are to go.
        Instances that will be ``synced`` keep their members, for other routes of theirs. What goes
        wrong is ``error``: nothing can be moved in this apply. ``rotated`` are certificates with
        another value: the table is to be written even if it is the same. Begun already, it goes on
        from what it has written; ``seen`` is what somebody has just seen of the router."""
        if self._has_begun and self.error is None:
            self._renew(rotated, seen)
        elif not self._open(rotated):
            return
        for key, line in self._lines.items():
            self._leave_out(line, unrouted, is_served_on=key in synced)

    def _open(self, rotated: Collection[ResourceKey]) -> bool:
        """True when what the router serves is known."""
        self.error = None
        self._lines, self._owners = {}, {}
        try:
            if self._router.ensure_running():
                self._tell(EventType.ROUTER_STARTED, f"the {self._router.name} router was started")
            state = self._router.observe()
        except CtrlplaneError as error:
            self.error = error
            return False
        except Exception as bug:
            self.error = ProviderError(f"unexpected {type(bug).__name__}: {bug}")
            return False
        self._has_begun = True
        if state.gap is not None:
            self.error = ProviderError(f"the router did not answer: {state.gap}", is_retryable=True)
            return False
        # Not live: a write that did not come to its end. The same table is written once more.
        base = 0 if state.is_live else 1
        self._wanted = self._live + (1 if rotated else base)
        for entry in state.table.entries:
            line = self._lines.setdefault(entry.instance, Line(version=self._live + base))
            line.entries = (*line.entries, entry)
            if entry.certificate in rotated:
                line.version = self._wanted
            self._owners[entry.key] = entry.instance
        for line in self._lines.values():
            line.step = read_step(line.entries)
            line.live = (line.step, line.entries)
        return True

    def _renew(self, rotated: Collection[ResourceKey], seen: RouterState | None) -> None:
        """Write the table once more where the router has lost it or shows other certificates."""
        is_idle = self._job is None and self._live >= self._wanted
        is_lost = seen is not None and is_idle and _differs(seen, self._table())
        if is_lost or rotated:
            self._wanted += 1
        for line in self._lines.values():
            if is_lost or any(entry.certificate in rotated for entry in line.entries):
                line.version = self._wanted

    def _leave_out(
        self, line: Line, unrouted: Collection[ResourceKey], *, is_served_on: bool = False
    ) -> None:
        kept = tuple(item for item in line.entries if item.key not in unrouted)
        if not kept and not is_served_on:
            line.drain.leave(members_in(line.entries, None))
            line.step = NOTHING
        self._put(line, kept)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be said of a router that can do less than others."""
        if not self._has_begun or RouterCapability.HITLESS in self._router.capabilities:
            return ()
        return (f"the {self._router.name} router may lose requests with each change of its table",)

    def has(self, instance: ResourceKey) -> bool:
        """Whether requests may reach the instance, or may have until a moment ago."""
        line = self._lines.get(instance)
        return line is not None and (bool(line.entries) or not line.drain.is_over)

    def served_of(self, instance: ResourceKey) -> frozenset[str]:
        """The names of those that are to get requests."""
        line = self._lines.get(instance)
        return frozenset() if line is None else line.served

    def view(
        self,
        instance: DesiredInstance,
        sets: Sets,
        now: datetime,
        *,
        is_first: bool,
    ) -> TrafficView:
        """What the strategy is shown. ``is_first``: nobody of this process has looked before, so
        whoever lives and is no member may have been one a moment ago."""
        line = self._lines.setdefault(instance.key, Line())
        is_live = line.version <= self._live
        if is_first:
            line.drain.suspect(live_members(instance.routes, sets, line.served))
        if is_live:
            line.drain.confirm(now)
        draining = line.drain.busy(now, instance.params.drain_timeout)
        return TrafficView(
            dict(line.step.weights),
            frozenset(line.step.members),
            draining,
            is_live,
            instance.has_preview,
            frozenset(line.step.preview),
        )

    def want(self, instance: DesiredInstance, step: RouteStep, sets: Sets) -> None:
        """Share the requests of an instance like this from now on."""
        line = self._lines.setdefault(instance.key, Line())
        after = {*step.members, *step.preview}
        line.drain.leave(members_in(line.entries, line.served - after))
        entries = entries_of(instance, line.entries, step, sets)
        line.drain.stay(members_in(entries, after))
        if entries and step.weights != line.step.weights:
            shares = ", ".join(f"v{release} {share}%" for release, share in step.weights)
            self._journal.tell(
                EventType.TRAFFIC_SHIFTED,
                instance.key.address,
                shares or "nobody answers",
                {f"v{release}": str(share) for release, share in step.weights},
            )
        line.step = step
        self._put(line, entries)

    def sync(self, instance: DesiredInstance, sets: Sets) -> None:
        """Bring the entries up to what Git says of the routes and to where the members are now;
        who gets what share stays."""
        line = self._lines.setdefault(instance.key, Line())
        self._put(line, entries_of(instance, line.entries, line.step, sets))

    def drop(self, instance: ResourceKey, now: datetime, drain_timeout: timedelta) -> bool:
        """Take an instance out of the table; True once no request can be on its way to it."""
        line = self._lines.get(instance)
        if line is None:
            return True
        self._leave_out(line, [entry.key for entry in line.entries])
        if line.version > self._live:
            return False
        line.drain.confirm(now)
        return not line.drain.busy(now, drain_timeout)

    def count_traffic(self) -> Mapping[tuple[ResourceKey, int], TrafficCount]:
        """What the router has counted so far, by route and release. In a pool: it is asked."""
        return self._router.count_traffic()

    def error_of(self, instance: ResourceKey) -> CtrlplaneError | None:
        """Why the requests of this instance cannot be moved."""
        line = self._lines.get(instance)
        return self.error or (None if line is None else line.error)

    def intend(self) -> None:
        """Write an intent for the write that ``submit`` will begin."""
        is_due = self._not_before is None or self._clock.now() >= self._not_before
        if self._job is None and self._live < self._wanted and is_due and self._intent is None:
            self._intent = self._journal.open_note(self._address, "write the route table")

    def submit(self) -> None:
        """Begin what is due; the intent must be committed by now."""
        if self._intent is not None and self._job is None:
            router, certificates = self._router, self._certificates
            version, table = self._wanted, self._table()
            self._job = self._pool.submit(lambda: write_table(router, version, table, certificates))
        if self._is_observable and self._counting is None:
            asked = {
                key: members
                for key, line in self._lines.items()
                if (members := line.drain.uncounted(self._clock.now()))
            }
            if asked:
                router = self._router
                self._counting = self._pool.submit(lambda: count_members(router, asked))

    def collect(self) -> bool:
        """Take in what has ended; True when something may go on now."""
        has_turned = False
        if self._counting is not None and self._counting.done():
            counts, self._counting = self._counting.result(), None
            for key, count in counts.items():
                has_turned |= self._lines[key].drain.take(count)
        if self._job is not None and self._job.done():
            written, self._job = self._job.result(), None
            self._take(written)
            has_turned = True
        return has_turned

    def finish(self, *, may_stop: bool) -> None:
        """Wait for what is in flight and write down what came of it. A router of ours that serves
        nothing any more is stopped where it may be."""
        running = self.running
        while pending := [item for item in running if not item.done()]:
            wait_any(pending, timedelta(seconds=1))
        self.collect()
        if self._intent is not None:
            self._journal.close_note(self._intent, "not begun")
            self._intent = None
        if may_stop and self.error is None:
            try:
                if self._is_idle():
                    self._router.stop()
            except CtrlplaneError as error:
                self.error = error

    def _is_idle(self) -> bool:
        if self._has_begun:
            entries = [entry for line in self._lines.values() for entry in line.entries]
            return self._live >= self._wanted and not entries
        state = self._router.observe()
        return state.gap is None and not state.table.entries

    def find_errors(self) -> tuple[CtrlplaneError, ...]:
        """What keeps the router from serving what is wanted, besides what a work was told of."""
        if self.error is not None:
            return (self.error,)
        if self._live >= self._wanted:
            return ()
        text = self.message or "the table was not written"
        return (ProviderError(f"the router does not serve the routes yet: {text}"),)

    @property
    def running(self) -> list[Future[Any]]:
        return [item for item in (self._job, self._counting) if item is not None]

    @property
    def is_settled(self) -> bool:
        """Whether everything that is wanted is live."""
        return self._live >= self._wanted or self.error is not None

    def next_due(self) -> datetime | None:
        return self._not_before if self._job is None and self._live < self._wanted else None

    def _put(self, line: Line, entries: tuple[RouteEntry, ...]) -> None:
        if entries == line.entries:
            return
        self._wanted += 1
        line.entries, line.version, line.error = entries, self._wanted, None
        moved = {
            item.key
            for item in entries
            if self._owners.setdefault(item.key, item.instance) != item.instance
        }
        if not moved:
            return
        self._owners.update({item.key: item.instance for item in entries})
        # A route that leads elsewhere now: a table has it once.
        for other in self._lines.values():
            if other is not line and not moved.isdisjoint(item.key for item in other.entries):
                self._leave_out(other, moved)

    def _table(self) -> RouteTable:
        found = [entry for line in self._lines.values() for entry in line.entries]
        return RouteTable(tuple(sorted(found, key=lambda item: (item.key, item.variant))))

    def _take(self, written: Written) -> None:
        assert self._intent is not None
        self.count += 1
        text = "live" if written.is_live else written.message or "not live yet"
        self._journal.close_note(self._intent, text)
        self._intent, self._not_before = None, None
        self.message = "" if written.is_live else self._journal.scrub(written.message)
        if written.is_live:
            self._live = max(self._live, written.version)
            for line in self._lines.values():
                if line.version <= written.version:
                    self._confirm(line, written.refused)
        elif written.error is not None and not written.error.is_retryable:
            self._refuse(written.version, self._journal.scrub_error(written.error))
        else:
            self._not_before = self._clock.now() + _RETRY

    def _confirm(self, line: Line, refused: Mapping[ResourceKey, str]) -> None:
        """A line is live, or some of its routes are refused, which is nobody else's affair."""
        reasons = {it.key: refused[it.key] for it in line.entries if it.key in refused}
        if reasons:
            text = "; ".join(f"{key}: {reason}" for key, reason in reasons.items())
            line.error = ProviderError(self._journal.scrub(text))
        else:
            line.live, line.error = (line.step, line.entries), None

    def _refuse(self, version: int, error: CtrlplaneError) -> None:
        """The table as a whole was not taken. Who changed something in it since the last one that
        was has to give it up; everybody else goes on."""
        self._journal.tell(EventType.ACTION_FAILED, self._address, f"route table: {error.message}")
        self._wanted += 1
        for line in self._lines.values():
            if self._live < line.version <= version:
                (line.step, line.entries), line.version, line.error = line.live, self._wanted, error
        self._not_before = self._clock.now() + _RETRY

    def _tell(self, type: EventType, text: str) -> None:
        self._journal.tell(type, self._address, text)


def _differs(seen: RouterState, table: RouteTable) -> bool:
    """Whether a router shows something else than what was written last."""
    entries = sorted(seen.table.entries, key=lambda item: (item.key, item.variant))
    return seen.gap is not None or not seen.is_live or tuple(entries) != table.entries
