"""The worker that probes what runs, and says when that turns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.events.event import EventType, make_event
from ctrlplane_gitops.execute.pool import Begun
from ctrlplane_gitops.execute.prober import Answer, Probes
from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.view import InstanceHealth, view_tally
from ctrlplane_gitops.health.watch import Turned, Watch
from ctrlplane_gitops.state.desired import DesiredInstance, DesiredState
from ctrlplane_gitops.state.health import Health, HealthSpan
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import Event
from ctrlplane_gitops.store.health import HealthBatch
from ctrlplane_gitops.value import struct
from ctrlplane_gitops.workers.fleet import Fleet, Looks, Seen
from ctrlplane_gitops.workers.turn import Turn
from ctrlplane_gitops.workers.worker import Ran

# A run goes on while there is something to do, and comes up for air.
_RUN = timedelta(seconds=10)
_WRITE = timedelta(seconds=1)
_SAID = timedelta(seconds=30)
# What is missing is looked for sooner than everything is looked at.
_MISSING = timedelta(seconds=5)
_NAP = timedelta(milliseconds=250)
_POLL = timedelta(milliseconds=50)
# Until there is something to watch, or until somebody else has stopped watching it.
_NOT_YET = timedelta(seconds=1)


class Job(Protocol):
    """A call that was begun."""

    @property
    def is_done(self) -> bool: ...

    def result(self) -> Any:
        """Wait for it; raises what the call raised."""
        ...


@struct
class HealthFigures:
    """Instances by health; of the answers since the last figures, how many passed and failed, and
    how late each of their probes was begun, in seconds."""

    instances: Mapping[Health, int]
    passed: int = 0
    failed: int = 0
    lateness_s: Sequence[float] = ()


class HealthRunner:
    """Probes every live replica of the fleet on each check's own interval, and writes down what
    turned: who follows the store's events hears of it. ``run`` is for one thread, the rest for any.

    All providers are looked at every ``interval``, and an instance once more before bad news of it
    are believed: what was stopped on purpose fails as well. Of several processes with one store
    one probes. ``begin`` looks and writes in a thread of its own: no provider that hangs and no
    disk that is busy holds up a probe."""

    def __init__(
        self,
        find_fleet: Callable[[], Fleet | None],
        looks: Looks,
        probes: Probes,
        clock: Clock,
        cancel: threading.Event,
        interval: timedelta,
        on_figures: Callable[[HealthFigures], None] = lambda figures: None,
        begin: Callable[[Callable[[], Any]], Job] = Begun,
    ) -> None:
        self._find_fleet = find_fleet
        self._looks = looks
        self._probes = probes
        self._clock = clock
        self._cancel = cancel
        self._interval = interval
        self._on_figures = on_figures
        self._begin = begin
        self._turn = Turn("health", interval * 2 + timedelta(seconds=30))
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._desired: DesiredState | None = None
        self._instances: Mapping[ResourceKey, DesiredInstance] = {}
        self._seen: Seen | None = None
        self._unwritten: HealthBatch | None = None
        # Whether more has turned than is written at once.
        self._has_more = False
        self._looking: Job | None = None
        self._checking: tuple[list[ResourceKey], Job] | None = None
        self._writing: Job | None = None
        self._answers: list[Answer] = []
        self._look_at = self._write_at = self._say_at = clock.now()

    def read(self) -> dict[ResourceKey, InstanceHealth] | None:
        """What is known at this moment; None where this process does not probe."""
        with self._lock:
            if self._watch is None:
                return None
            return {key: view_tally(tally) for key, tally in self._watch.tallies.items()}

    def read_one(self, key: ResourceKey) -> InstanceHealth | None:
        """Of one instance; None also where there is none of that name."""
        with self._lock:
            tally = None if self._watch is None else self._watch.tallies.get(key)
            return None if tally is None else view_tally(tally)

    def run(self) -> Ran:
        """Probe what is due until nothing is for a while."""
        fleet, began = self._find_fleet(), self._clock.now()
        if fleet is None:
            return Ran(_NOT_YET)
        watch = self._take_turn(fleet, began)
        if watch is None:
            return Ran(_NOT_YET)
        if fleet.desired is not self._desired:
            self._take_desired(fleet.desired, watch)
            self._look_at = began
        now = began
        while not self._cancel.is_set():
            self._look(fleet, watch, now)
            self._start_due(fleet, watch, now)
            self._collect(watch, self._next_at(watch) - now)
            now = self._clock.now()
            if now >= self._write_at:
                self._write(fleet, watch)
            if not self._probes.pending and self._next_at(watch) - now > _NAP:
                break
            if now - began >= _RUN:
                return Ran(timedelta())
        self._write_all(fleet, watch)
        return Ran(max(timedelta(), self._next_at(watch) - self._clock.now()))

    def close(self) -> None:
        """Say when was looked last, and let somebody else go on. Only when it does not run."""
        fleet, watch = self._find_fleet(), self._watch
        if fleet is not None and watch is not None:
            self._say_at = self._clock.now()
            self._write_all(fleet, watch)
            self._turn.give_back(fleet.store)

    def _take_turn(self, fleet: Fleet, now: datetime) -> Watch | None:
        """None while somebody else probes; what was known is as good as forgotten then."""
        was_ours = self._turn.is_ours
        is_ours = self._turn.take(fleet.store, now)
        if is_ours and was_ours and self._watch is not None:
            return self._watch
        watch = Watch(fleet.store.health.resume()) if is_ours else None
        self._desired = self._seen = self._unwritten = None
        self._looking = self._checking = self._writing = None
        self._has_more = False
        with self._lock:
            before, self._watch = self._watch, watch
        if before is not None:
            before.close()
        return watch

    def _take_desired(self, desired: DesiredState, watch: Watch) -> None:
        """A tenant that is frozen is watched as it was: nobody has changed what it runs."""
        before = self._instances.items()
        kept = {key: item for key, item in before if key.tenant in desired.frozen}
        self._desired, self._instances = desired, {**kept, **desired.instances}
        with self._lock:
            watch.take_desired(self._instances)

    def _next_at(self, watch: Watch) -> datetime:
        due, is_busy = watch.next_due(), self._looking or self._checking
        look_at = self._clock.now() + _POLL if is_busy else self._look_at
        return look_at if due is None else min(due, look_at)

    def _look(self, fleet: Fleet, watch: Watch, now: datetime) -> None:
        if self._looking is None and now >= self._look_at:
            self._looking = self._begin(partial(self._looks.read, fleet, _MISSING))
        if self._looking is None or not self._looking.is_done:
            return
        seen, self._looking = self._looking.result(), None
        now, is_missing = self._clock.now(), False
        if seen is not self._seen:
            with self._lock:
                is_missing = watch.take_look(seen.observed, now)
            self._seen = seen
        self._look_at = now + (min(_MISSING, self._interval) if is_missing else self._interval)

    def _start_due(self, fleet: Fleet, watch: Watch, now: datetime) -> None:
        for item in watch.take_due(now):
            provider = fleet.providers.get(item.provider)
            if provider is None:
                watch.take(item, ProbeResult(False, f"no provider {item.provider!r}"), now)
            else:
                self._probes.start(item, provider)

    def _collect(self, watch: Watch, wait: timedelta) -> None:
        """Wait for answers, at most until something is due or to be written."""
        if self._probes.pending:
            wait = min(wait, self._write_at - self._clock.now())
            answers = self._probes.collect(max(timedelta(), min(wait, _NAP)))
        elif wait <= _NAP:
            self._clock.wait(self._cancel, max(timedelta(), wait))
            return
        else:
            return
        now, was_dirty = self._clock.now(), watch.is_dirty
        with self._lock:
            for answer in answers:
                watch.take(answer.item, answer.result, now)
        if watch.is_dirty and not was_dirty:
            # What turns at the same time is one piece of news.
            self._write_at = max(self._write_at, now + _NAP)
        self._answers += answers

    def _write_all(self, fleet: Fleet, watch: Watch) -> None:
        """To the end. StoreError where that fails; it is kept for the next time."""
        self._is_written(fleet, is_awaited=True)
        self._write(fleet, watch)
        self._is_written(fleet, is_awaited=True)
        while self._has_more:
            self._clock.wait(self._cancel, _POLL)
            self._write(fleet, watch)
            self._is_written(fleet, is_awaited=True)

    def _write(self, fleet: Fleet, watch: Watch) -> None:
        """Settle what has changed; write it down, and from time to time that somebody looks."""
        self._write_at = self._clock.now() + (_POLL if self._has_more else _WRITE)
        if not self._is_written(fleet):
            return
        doubted = self._check_doubts(fleet, watch)
        now = self._clock.now()
        with self._lock:
            turned = watch.settle(now, doubted)
        self._has_more = turned.has_more
        if self._has_more:
            self._write_at = now + _POLL
        if turned != _NOTHING or now >= self._say_at:
            events = tuple(_make_event(before, span) for before, span in turned.told)
            self._unwritten = HealthBatch(now, turned.begun, turned.ended, events)
            self._writing = self._begin(partial(fleet.store.health.record, self._unwritten))
            self._say_at = now + _SAID
        self._tell(watch)

    def _is_written(self, fleet: Fleet, *, is_awaited: bool = False) -> bool:
        """Whether nothing waits to be written: until then nothing new is settled. What failed
        before is begun again; StoreError where it fails now."""
        if self._unwritten is not None and self._writing is None:
            self._writing = self._begin(partial(fleet.store.health.record, self._unwritten))
        writing = self._writing
        if writing is None:
            return True
        if not (is_awaited or writing.is_done):
            return False
        self._writing = None
        writing.result()
        self._unwritten = None
        return True

    def _check_doubts(self, fleet: Fleet, watch: Watch) -> list[ResourceKey]:
        """Those of whom there would be bad news that another look has not confirmed yet."""
        certain = self._take_check(watch)
        doubted = [key for key in watch.find_worse() if key not in certain]
        if doubted and self._checking is None:
            look = partial(self._looks.look_again, fleet, doubted)
            self._checking = (doubted, self._begin(look))
            certain |= self._take_check(watch)
        return [] if self._checking is None else [key for key in doubted if key not in certain]

    def _take_check(self, watch: Watch) -> frozenset[ResourceKey]:
        """What the other look has shown; whom it was about."""
        if self._checking is None or not self._checking[1].is_done:
            return frozenset()
        (keys, job), self._checking = self._checking, None
        seen = job.result()
        known = [key for key in keys if key in watch.tallies]
        with self._lock:
            if watch.take_look(seen.observed, seen.at, known):
                self._look_at = min(self._look_at, self._clock.now() + _MISSING)
        return frozenset(known)

    def _tell(self, watch: Watch) -> None:
        answers, self._answers = self._answers, []
        passed = sum(item.result.is_ok for item in answers)
        late = [item.lateness.total_seconds() for item in answers]
        self._on_figures(HealthFigures(watch.count(), passed, len(answers) - passed, late))


_NOTHING = Turned()
_TYPES = {
    Health.HEALTHY: EventType.HEALTH_RECOVERED,
    Health.DEGRADED: EventType.HEALTH_DEGRADED,
    Health.UNHEALTHY: EventType.HEALTH_FAILED,
}


def _make_event(before: Health | None, span: HealthSpan) -> Event:
    """Healthy for the first time is passed; after anything else it is recovered."""
    is_first = before is None and span.health is Health.HEALTHY
    type = EventType.HEALTH_PASSED if is_first else _TYPES[span.health]
    because = f": {span.message}" if span.message else ""
    return make_event(
        type,
        span.began_at,
        span.instance.address,
        f"{span.healthy} of {span.replicas} replicas healthy{because}",
        {"healthy": str(span.healthy), "replicas": str(span.replicas)},
    )
