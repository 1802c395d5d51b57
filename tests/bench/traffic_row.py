"""Row 5: what rollouts cost those who send requests meanwhile.

One instance of three replicas behind a router, and the same open-loop load all the time: for a
while nothing happens, then so many rollouts run one after the other, then nothing happens again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import product
from pathlib import Path

from ctrlplane_gitops.clock import monotonic_s, sleep
from tests.bench.measure import Run, Verdict, python_environ, run_process
from tests.engines.program import MissingEngineError
from tests.engines.router import find_haproxy, find_traefik
from tests.load.report import Report, Shape
from tests.load.run import run_load
from tests.load.specs import HOST, STRATEGIES, Traffic
from tests.load.stage import Stage

_ROUTERS = {"traefik": find_traefik, "haproxy": find_haproxy}
# Until a released listener, a first probe and the like of the beginning are over.
_SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """``only`` are patterns of ``engine/router/strategy``; ``steady_s`` is the quiet before, and
    the same after."""

    rollouts: int = 20
    rate: float = 200.0
    steady_s: float = 10.0
    only: str = "*"


@dataclass(frozen=True, slots=True)
class Met:
    """What the load met before, during and after the rollouts; ``runs`` are the applies."""

    before: Report
    during: Report
    after: Report
    runs: tuple[Run, ...]

    @property
    def all(self) -> Report:
        return Report((*self.before.samples, *self.during.samples, *self.after.samples))

    @property
    def steady(self) -> Report:
        return Report((*self.before.samples, *self.after.samples))

    def drift(self, bar_ms: float) -> float:
        """Nothing can be told once the quiet p99 has moved by as much as may be added: 1.2 then,
        which is where a verdict becomes noisy. Fractions of a millisecond double easily."""
        moved_ms = abs(self.before.latency_ms(0.99) - self.after.latency_ms(0.99))
        return 1 + 0.2 * moved_ms / bar_ms


class NotYetError(Exception):
    """This version of the product does not do it; the text is its own reason."""


def measure_traffic(root: Path, engine: str | None, plan: Plan) -> Iterator[Verdict]:
    """``engine`` is the socket of a Docker engine, None for none."""
    providers: dict[str, Mapping[str, object] | None] = {
        "process": {"type": "process"},
        "docker": {"type": "docker", "host": f"unix://{engine}"} if engine else None,
    }
    trials = list(product(providers.items(), _ROUTERS, STRATEGIES))
    for number, ((provider, options), router, strategy) in enumerate(trials):
        name = f"{provider}/{router}/{strategy}"
        if not any(fnmatch(name, pattern) for pattern in plan.only.split(",")):
            continue
        try:
            if options is None:
                raise NotYetError("no Docker engine answers")
            traffic = Traffic(options, {"type": router, "binary": _ROUTERS[router]()}, strategy)
            met = Trial(root / f"traffic-{number}", traffic).measure(plan)
        except (NotYetError, MissingEngineError) as reason:
            yield Verdict("5", name, note=str(reason))
            continue
        yield from judge(name, met)


def judge(name: str, met: Met) -> Iterator[Verdict]:
    """Nothing is lost, and nobody waits noticeably longer."""
    failed, count = len(met.all.failures), len(met.all.samples)
    took = max(run.wall_s for run in met.runs)
    note = f"of {count} requests, {len(met.runs)} rollouts, the longest {took:.1f} s"
    note += "".join(f"; {number} x {why}" for why, number in met.all.reasons.most_common(4))
    yield Verdict("5", f"{name}: failed requests", failed, 0, "", note)
    steady, during = (it.latency_ms(0.99) for it in (met.steady, met.during))
    medians = f"p50 {met.steady.latency_ms(0.5):.1f} and {met.during.latency_ms(0.5):.1f} ms"
    note = f"p99 {steady:.1f} ms without and {during:.1f} ms during rollouts, {medians}, "
    note += f"slowest {met.during.latency_ms(1):.0f} ms; ratio {during / max(steady, 0.01):.2f}; "
    note += f"the generator late by {met.during.lateness_ms(0.99):.1f} ms at p99"
    bar = round(max(0.1 * steady, 3.0), 1)
    yield Verdict("5", f"{name}: p99 added", during - steady, bar, "ms", note, met.drift(bar))


class Trial:
    """One combination, measured."""

    def __init__(self, root: Path, traffic: Traffic) -> None:
        self._stage = Stage(root, traffic)
        self._environ = python_environ(self._stage.environ, root.parent / "pyc")

    def measure(self, plan: Plan) -> Met:
        stage = self._stage
        if problems := stage.begin():
            raise NotYetError(problems[0])
        with stage.standing(), run_load(stage.traffic.port, HOST, Shape(rate=plan.rate)) as load:
            load.gather(1)
            sleep(_SETTLE_S)
            began = monotonic_s()
            sleep(plan.steady_s)
            first = monotonic_s()
            runs = tuple(self._roll_out(number) for number in range(2, plan.rollouts + 2))
            last = monotonic_s()
            sleep(plan.steady_s)
            ended = monotonic_s()
            # Else it would not have been what was asked for.
            live = load.report.between(last).versions
            if set(live) != {str(plan.rollouts + 1)}:
                raise RuntimeError(f"after the last rollout these versions answer: {dict(live)}")
        spans = ((began, first), (first, last), (last, ended))
        before, during, after = (load.report.between(*span) for span in spans)
        return Met(before, during, after, runs)

    def _roll_out(self, number: int) -> Run:
        self._stage.commit(str(number))
        return run_process(self._stage.argv("apply", "-y"), self._environ)[0]
