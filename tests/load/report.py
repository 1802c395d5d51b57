"""What a load met, as values."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from math import ceil

KEPT, NEW, SLOW = "kept", "new", "slow"


@dataclass(frozen=True, slots=True)
class Shape:
    """What is sent. Shares are of all requests, 0 to 1; a request's connection, speed and method
    are drawn independently, always the same ones for the same ``seed``."""

    rate: float = 200.0  # requests per second
    new_share: float = 0.4  # on a connection of its own; the others on kept ones
    slow_share: float = 0.01
    slow_s: float = 3.0
    post_share: float = 0.1
    body_bytes: int = 2000
    kept: int = 8  # most idle connections that are held
    timeout_s: float = 10.0  # beyond what a slow request takes by itself
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    seed: int = 1

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Shape:
        found = json.loads(text)
        return cls(**{**found, "headers": tuple(map(tuple, found["headers"]))})


@dataclass(frozen=True, slots=True)
class Sample:
    """One request. Times are seconds of ``clock.monotonic_s``, which all processes of a machine
    share. ``status`` is 0 where no whole answer came; ``reason`` says why it counts as failed, and
    is empty for one that was answered with 2xx."""

    due_s: float
    sent_s: float  # when it was begun: the generator's own lateness is the difference
    ended_s: float
    mode: str  # kept, new or slow
    method: str
    status: int
    version: str
    replica: str
    reason: str

    @property
    def latency_s(self) -> float:
        """From when it should have been sent: a stall is seen by all who would have met it."""
        return self.ended_s - self.due_s

    @property
    def lateness_s(self) -> float:
        return self.sent_s - self.due_s

    def to_line(self) -> str:
        return json.dumps(astuple(self))

    @classmethod
    def from_line(cls, line: str) -> Sample:
        return cls(*json.loads(line))


@dataclass(frozen=True, slots=True)
class Report:
    """``samples`` are in the order of their due times. ``cpu_s`` is what the generator used."""

    samples: tuple[Sample, ...]
    cpu_s: float = 0.0

    @property
    def failures(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.reason]

    @property
    def reasons(self) -> Counter[str]:
        return Counter(sample.reason for sample in self.failures)

    @property
    def versions(self) -> Counter[str]:
        """How many 2xx answers each version gave."""
        return Counter(sample.version for sample in self.samples if not sample.reason)

    @property
    def replicas(self) -> Counter[str]:
        return Counter(sample.replica for sample in self.samples if not sample.reason)

    @property
    def modes(self) -> Counter[str]:
        """How many requests were sent in each mode, failed ones too."""
        return Counter(sample.mode for sample in self.samples)

    def between(self, since_s: float = 0.0, until_s: float = float("inf")) -> Report:
        """What was due from ``since_s`` on and before ``until_s``."""
        kept = (sample for sample in self.samples if since_s <= sample.due_s < until_s)
        return Report(tuple(kept), self.cpu_s)

    def share(self, version: str) -> float:
        """Of all who answered, errors of the application too, 0 to 1."""
        answered = Counter(sample.version for sample in self.samples if sample.version)
        return answered[version] / max(1, answered.total())

    def first_due_s(self, version: str) -> float:
        """When the first request was due that this version answered; ValueError if none was."""
        return min(sample.due_s for sample in self.samples if sample.version == version)

    def last_due_s(self, version: str) -> float:
        return max(sample.due_s for sample in self.samples if sample.version == version)

    def latency_ms(self, share: float, modes: Sequence[str] = (KEPT, NEW)) -> float:
        """The percentile ``share`` (0.99 for p99; 1 is the slowest) of the answered ones."""
        met = (it.latency_s for it in self.samples if it.mode in modes and it.status)
        return percentile(met, share) * 1000

    def lateness_ms(self, share: float) -> float:
        """How late the generator itself was; a load that was not kept up says little."""
        return percentile((sample.lateness_s for sample in self.samples), share) * 1000

    def summary(self) -> str:
        """One line for people, and one for each kind of failure with when it was first met."""
        text = f"{len(self.samples)} requests ({_counts(self.modes)}), {len(self.failures)} failed"
        if self.samples:
            p50, p95, p99, most = (self.latency_ms(share) for share in (0.5, 0.95, 0.99, 1))
            text += f"; p50 {p50:.1f} p95 {p95:.1f} p99 {p99:.1f} max {most:.0f} ms"
            text += f"; late p99 {self.lateness_ms(0.99):.1f} max {self.lateness_ms(1):.0f} ms"
        text += f"; versions {_counts(self.versions)}; replicas {_counts(self.replicas)}"
        for reason, count in self.reasons.most_common():
            met = next(it for it in self.samples if it.reason == reason)
            first = met.due_s - self.samples[0].due_s
            modes = _counts(Counter(it.mode for it in self.failures if it.reason == reason))
            text += f"\n  {count} x {reason} ({modes}), first after {first:.3f} s"
        return text


def percentile(values: Iterable[float], share: float) -> float:
    """The nearest rank; 0 of nothing.

    >>> percentile([3, 1, 2, 4], 0.5), percentile([3, 1, 2, 4], 1), percentile([], 0.5)
    (2, 4, 0.0)
    """
    ranked = sorted(values)
    if not ranked:
        return 0.0
    return ranked[max(1, ceil(share * len(ranked))) - 1]


def _counts(counter: Counter[str]) -> str:
    return " ".join(f"{name}:{count}" for name, count in sorted(counter.items())) or "none"
