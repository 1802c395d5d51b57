"""What is known of an instance's replicas, and the verdict it comes to. No clock, no thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.verdict import CheckState, judge, next_state
from ctrlplane_gitops.state.desired import DesiredInstance, HealthCheck
from ctrlplane_gitops.state.health import WHOLE, Health, HealthSpan, Subject
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedReplica, ObservedReplicaSet, ReplicaPhase
from ctrlplane_gitops.value import struct

# A replica that is missing in one look may be on its way; in two it is not.
_MISSING_LOOKS = 2
# What is asked for anew has to be started first: a minute of looks.
_NEW_LOOKS = 12
_QUOTED = 3


class Probed:
    """One check of one replica: what is probed. ``due`` is when it is next, ``is_slow`` whether the
    last probe took long; ``is_live`` False ends it, whatever is still under way."""

    __slots__ = ("check", "due", "instance", "is_live", "is_slow", "provider", "replica", "state")

    def __init__(
        self, instance: ResourceKey, provider: str, replica: ObservedReplica, check: HealthCheck
    ) -> None:
        self.instance = instance
        self.provider = provider
        self.replica = replica
        self.check = check
        self.due: datetime | None = None
        self.is_slow = False
        self.is_live = True
        self.state: CheckState | None = None

    @property
    def endpoint(self) -> tuple[str, int] | None:
        """Where the port that the check names answers; None where the replica offers none."""
        for item in self.replica.endpoints:
            if item.port == self.check.port:
                return (item.host, item.number)
        return None

    @property
    def is_healthy(self) -> bool | None:
        """None: not verified yet."""
        return self.state.is_healthy if self.state else None

    def take(self, result: ProbeResult, now: datetime) -> bool:
        """One more result; True when it turned healthy, unhealthy or verified by it."""
        before = self.is_healthy
        self.state = next_state(self.state, result, self.check.retries, now)
        return before is not self.state.is_healthy


Identity = tuple[str, str, datetime | None]


class _Replica:
    __slots__ = ("provider", "replica", "subjects")

    def __init__(
        self, provider: str, replica: ObservedReplica, subjects: tuple[Probed, ...]
    ) -> None:
        self.provider = provider
        self.replica = replica
        self.subjects = subjects

    @property
    def identity(self) -> Identity:
        return (self.provider, self.replica.id, self.replica.started_at)

    @property
    def is_healthy(self) -> bool | None:
        """None while it is not known. Without checks, living is enough."""
        if self.replica.phase is ReplicaPhase.CRASHING:
            return False
        if self.replica.phase is not ReplicaPhase.RUNNING:
            return None
        if (said := self.replica.verdict) is not None:
            return True if said.is_ready else (False if said.failures else None)
        known = [item.is_healthy for item in self.subjects]
        if False in known:
            return False
        return None if None in known else True

    def find(self, check: str) -> bool | None:
        """What one check says of it."""
        if self.replica.phase is not ReplicaPhase.RUNNING or self.replica.verdict is not None:
            return self.is_healthy
        return next((item.is_healthy for item in self.subjects if item.check.name == check), None)

    def explain(self, check: str) -> Iterator[str]:
        """Why it is not healthy, as the check (``WHOLE``: each of them) says."""
        if self.replica.phase is not ReplicaPhase.RUNNING:
            yield f"{self.replica.name} {self.replica.phase}"
            return
        if self.replica.verdict is not None and self.is_healthy is False:
            yield f"{self.replica.name}: {self.replica.verdict.message or 'not ready'}"
            return
        for item in self.subjects:
            if item.is_healthy is False and item.state and check in (WHOLE, item.check.name):
                yield f"{self.replica.name} {item.check.name}: {item.state.message}"


def _is_other(before: ObservedReplica, now: ObservedReplica) -> bool:
    """Whether what was seen of one replica is news."""
    return before.phase is not now.phase or before.verdict != now.verdict


@struct
class Turns:
    """What a settling changed. ``begun`` spans end those of the same subject; ``ended`` are those
    after which nothing is known. ``told`` is the verdict on the whole where it is another than was
    told last, with the one before, None where there was none."""

    begun: tuple[HealthSpan, ...] = ()
    ended: tuple[Subject, ...] = ()
    told: tuple[Health | None, HealthSpan] | None = None


_SAME = Turns()


class Tally:
    """One instance, of which there are many, so that there is little of each. ``told`` is the last
    verdict that was told of, by this process or one before: what was held meanwhile, because
    nobody could say, is no news."""

    __slots__ = (
        "_checks", "_declared", "_has_lived", "_is_autoscaled", "_is_blind", "_missing", "_open",
        "_replicas", "key", "provider", "told", "wanted",
    )  # fmt: skip

    def __init__(self, key: ResourceKey, told: Health | None = None) -> None:
        self.key = key
        self.provider = ""
        self.told = told
        self.wanted = self._declared = 0
        self._is_autoscaled = False
        self._checks: tuple[HealthCheck, ...] = ()
        self._has_lived = told is not None
        self._is_blind = False
        self._missing = 0
        self._replicas: tuple[_Replica, ...] = ()
        self._open: tuple[HealthSpan, ...] = ()

    @property
    def spans(self) -> dict[str, HealthSpan]:
        """What holds now, by check and for the whole. What is not in it is unverified."""
        return {item.check: item for item in self._open}

    @property
    def health(self) -> Health:
        return next((it.health for it in self._open if it.check == WHOLE), Health.UNKNOWN)

    @property
    def is_missing(self) -> bool:
        """Whether fewer live than should, and it is not certain yet."""
        return len(self._replicas) < self.wanted and self._missing < _MISSING_LOOKS

    @property
    def replicas(self) -> Iterator[tuple[ObservedReplica, bool | None, tuple[Probed, ...]]]:
        """Each with whether it is healthy, None: unverified."""
        for item in self._replicas:
            yield item.replica, item.is_healthy, item.subjects

    def take_desired(self, desired: DesiredInstance) -> bool:
        """What it should be; True when that is news. Other checks than before begin anew."""
        wanted = desired.replicas if desired.template is not None else 0
        asked = (wanted, desired.is_autoscaled, desired.provider, desired.health)
        if asked == (self._declared, self._is_autoscaled, self.provider, self._checks):
            return False
        if wanted > self.wanted:
            self._missing = _MISSING_LOOKS - _NEW_LOOKS
        self.wanted = self._declared = wanted
        self._is_autoscaled, self.provider = desired.is_autoscaled, desired.provider
        if desired.health != self._checks:
            self._checks = desired.health
            self._end_replicas(self._replicas)
            self._replicas = ()
        return True

    def take_look(self, sets: Iterable[ObservedReplicaSet]) -> tuple[bool, list[Probed]]:
        """What is there now; whether that is news, and the checks to begin. Those of replicas that
        are gone have ended."""
        before = {item.identity: item for item in self._replicas}
        found: list[_Replica] = []
        new: list[Probed] = []
        has_changed = False
        sets = tuple(sets)
        if self._is_autoscaled and self._declared:
            scales = [item.scale for item in sets if item.scale is not None]
            self.wanted = max(scales, default=self._declared)
        for item in sets:
            self._has_lived |= bool(item.replicas)
            for replica in item.live:
                identity = (item.provider, replica.id, replica.started_at)
                known = before.pop(identity, None)
                has_changed |= known is None or _is_other(known.replica, replica)
                if known is None:
                    known = self._make_replica(item.provider, replica)
                    new += known.subjects
                elif known.replica != replica:
                    known.replica = replica
                    for subject in known.subjects:
                        subject.replica = replica
                found.append(known)
        self._replicas = tuple(found)
        self._end_replicas(before.values())
        is_short = len(self._replicas) < self.wanted
        was_blind, self._is_blind = self._is_blind, False
        self._missing = self._missing + 1 if is_short else 0
        return bool(before) or has_changed or is_short or was_blind, new

    def take_gap(self) -> bool:
        """Nobody could look; True when that is news."""
        was_blind, self._is_blind = self._is_blind, True
        return not was_blind

    def is_worse(self) -> bool:
        """Whether to settle now would be bad news."""
        now, held = self._judge_whole(), self.health
        order = (Health.UNHEALTHY, Health.DEGRADED)
        return now in order and (held not in order or order.index(now) < order.index(held))

    def settle(self, now: datetime) -> Turns:
        """Come to verdicts. What nobody can say at the moment is held to be as it was."""
        if not self.wanted or (self._is_blind and not self._checks):
            return self.end()
        verdicts = {check.name: self._judge_check(check.name) for check in self._checks}
        verdicts[WHOLE] = self._judge_whole()
        begun, spans = [], self.spans
        for name, health in verdicts.items():
            held = spans.get(name)
            if health is not Health.UNKNOWN and (held is None or held.health is not health):
                spans[name] = self._build_span(name, health, now)
                begun.append(spans[name])
        ended = [(self.key, name) for name in spans if name not in verdicts]
        for _, name in ended:
            del spans[name]
        self._open = tuple(spans.values())
        return Turns(tuple(begun), tuple(ended), self._tell()) if begun or ended else _SAME

    def end(self) -> Turns:
        """Nothing is known from here on: it is suspended or removed, or nobody can look."""
        ended = tuple(item.subject for item in self._open)
        self._open = ()
        return Turns(ended=ended) if ended else _SAME

    def close(self) -> tuple[Subject, ...]:
        """The same, and its checks end; what was known until now."""
        self._end_replicas(self._replicas)
        self._replicas = ()
        return self.end().ended

    def _tell(self) -> tuple[Health | None, HealthSpan] | None:
        span, before = self.spans.get(WHOLE), self.told
        if span is None or span.health is before:
            return None
        self.told = span.health
        return before, span

    def _make_replica(self, provider: str, replica: ObservedReplica) -> _Replica:
        # Those that the provider probes are not ours to probe.
        checks = self._checks if replica.verdict is None else ()
        return _Replica(
            provider, replica, tuple(Probed(self.key, provider, replica, check) for check in checks)
        )

    def _end_replicas(self, replicas: Iterable[_Replica]) -> None:
        for item in replicas:
            for subject in item.subjects:
                subject.is_live = False

    def _judge_whole(self) -> Health:
        return self._judge([item.is_healthy for item in self._replicas])

    def _judge_check(self, name: str) -> Health:
        return self._judge([item.find(name) for item in self._replicas])

    def _judge(self, known: Sequence[bool | None]) -> Health:
        if not self.wanted or not self._has_lived:
            return Health.UNKNOWN
        is_coming = self._missing < _MISSING_LOOKS
        coming = max(0, self.wanted - len(known)) if is_coming else 0
        return judge(known.count(True), known.count(None) + coming, self.wanted)

    def _build_span(self, name: str, health: Health, now: datetime) -> HealthSpan:
        replicas = self._replicas
        known = [item.find(name) if name else item.is_healthy for item in replicas]
        healthy = min(known.count(True), self.wanted)
        reasons = sorted({text for item in replicas for text in item.explain(name)})
        missing = self.wanted - len(known)
        if missing > 0 and health is not Health.HEALTHY:
            reasons.append(f"{missing} missing")
        text = "; ".join(reasons[:_QUOTED]) if health is not Health.HEALTHY else ""
        more = len(reasons) - _QUOTED
        message = f"{text} and {more} more" if text and more > 0 else text
        return HealthSpan(self.key, name, health, now, None, healthy, self.wanted, message)
