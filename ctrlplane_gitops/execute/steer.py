"""Between the works of an apply and what steers them from outside: the router, people, and what is
measured of a canary."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ctrlplane_gitops.errors import CtrlplaneError, ProviderError
from ctrlplane_gitops.execute.analysing import Analysing
from ctrlplane_gitops.execute.run import InstanceRun
from ctrlplane_gitops.execute.step import Act, End, Pause, Surroundings
from ctrlplane_gitops.execute.traffic import Traffic
from ctrlplane_gitops.health.measure import RunCommand
from ctrlplane_gitops.health.traffic import count_release
from ctrlplane_gitops.plan.change import Plan, Work
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.rollout.view import TrafficView, wishes_of
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedReplicaSet, ObservedState, ReplicaPhase
from ctrlplane_gitops.state.recorded import Order, RolloutPhase
from ctrlplane_gitops.state.traffic import TrafficCount

_ASK_EVERY = timedelta(milliseconds=250)
_PATIENCE = timedelta(seconds=1)
Sets = tuple[ObservedReplicaSet, ...]


class Steering:
    """``traffic`` None: no router is concerned, and every question about it is answered at once."""

    def __init__(
        self,
        traffic: Traffic | None,
        analysing: Analysing,
        providers: Mapping[str, Provider],
        read_orders: Callable[[], Mapping[ResourceKey, Order]],
    ) -> None:
        self._traffic = traffic
        self._analysing = analysing
        self._providers = providers
        self._read_orders = read_orders
        self._orders: Mapping[ResourceKey, Order] = {}
        self._asked_at: datetime | None = None
        self._seen: set[ResourceKey] = set()
        self._expected: dict[ResourceKey, datetime] = {}

    def begin(
        self,
        plan: Plan,
        secrets: Mapping[ResourceKey, SecretValue],
        observed: ObservedState | None = None,
    ) -> None:
        """Have the router run where the plan is about anything it serves. ``observed`` is the look
        at everything that the plan was made from, None where it was about a part."""
        traffic = self._traffic
        if traffic is None:
            return
        traffic.show(secrets)
        routed = [work for work in plan.works if work.is_routed]
        is_needed = routed or plan.unrouted or plan.certificates
        if is_needed or plan.starts_router or plan.stops_router:
            # A work brings its routes up to what Git says, all at once: a host that moves from
            # one of them to another is served all the while.
            synced = {work.instance for work in routed if _brings_routes(work)}
            rotated = [item.key for item in plan.certificates]
            seen = None if observed is None else observed.router
            traffic.begin(plan.unrouted, synced, rotated, seen)

    def expect(self, run: InstanceRun, now: datetime) -> None:
        """A work has begun. Nothing is written before it has said what its routes are, so that a
        host that moves from one instance to another is served all the while; but not for long."""
        if _brings_routes(run.work):
            self._expected[run.work.instance] = now + _PATIENCE

    def surround(self, run: InstanceRun, sets: Sets, now: datetime) -> Surroundings:
        """What the strategy is shown besides the replicas."""
        key, desired, target = run.work.instance, run.work.desired, run.target
        wishes = wishes_of(self._orders_now(now).get(key), target.number if target else 0)
        if self._traffic is None or desired is None or not self._is_steered(run):
            return replace(self._judge(run, None, sets), wishes=wishes)
        is_first = key not in self._seen
        self._seen.add(key)
        # What Git says of the routes and where the members are now; who gets what share is for
        # the strategy to say.
        self._traffic.sync(desired, sets)
        self._expected.pop(key, None)
        traffic = self._traffic.view(desired, sets, now, is_first=is_first)
        return replace(self._judge(run, traffic, sets), traffic=traffic, wishes=wishes)

    def _judge(self, run: InstanceRun, traffic: TrafficView | None, sets: Sets) -> Surroundings:
        """What is measured of the target, from when it gets requests (where no router is concerned:
        from when it runs) until it turns back."""
        key, desired, target = run.work.instance, run.work.desired, run.target
        if desired is None or desired.params.analysis is None or target is None:
            return Surroundings()
        is_back = run.status.phase is RolloutPhase.ROLLING_BACK
        if is_back or target.number == run.work.active:
            self._analysing.forget(key)
            return Surroundings()
        number = target.number
        is_there = any(item.release == number and item.live for item in sets)
        if is_there if traffic is None else traffic.weights.get(number):
            routes = [route.key for route in desired.routes]
            self._analysing.follow(
                key,
                number,
                run.work.active,
                desired.params.analysis,
                lambda: self._count(routes, number),
                _runner(self._providers, sets, number),
            )
        verdict = self._analysing.verdict_of(key, number)
        if verdict is None:
            return Surroundings()
        return Surroundings(analysis=verdict.view, note=verdict.message)

    def _count(self, routes: Collection[ResourceKey], release: int) -> TrafficCount:
        """In the pool."""
        assert self._traffic is not None
        return count_release(self._traffic.count_traffic(), routes, release)

    def forget(self, run: InstanceRun) -> None:
        """The work has ended."""
        self._expected.pop(run.work.instance, None)
        self._analysing.forget(run.work.instance)

    def follow(self, run: InstanceRun, step: Act | Pause | End, sets: Sets) -> None:
        """Tell the router what a decision asks for."""
        desired = run.work.desired
        if self._traffic is None or desired is None or not self._is_steered(run):
            return
        if isinstance(step, Act) and step.route is not None:
            self._traffic.want(desired, step.route, sets)

    def _is_steered(self, run: InstanceRun) -> bool:
        return self._is_routed(run) and not _is_removal(run)

    def lets_go(self, run: InstanceRun, now: datetime) -> bool:
        """Whether an instance that is removed gets no request any more."""
        if (
            self._traffic is None
            or not _is_removal(run)
            or not self._traffic.has(run.work.instance)
        ):
            return True
        return self._traffic.drop(run.work.instance, now, run.drain_timeout)

    def error_of(self, run: InstanceRun) -> CtrlplaneError | None:
        """Why nothing can be done about a work that needs the router."""
        traffic = self._traffic
        if traffic is None or not self._is_routed(run):
            return None
        if traffic.error is not None and _is_removal(run) and not traffic.error.is_retryable:
            # One that cannot be started sends nobody anything.
            return None
        return traffic.error_of(run.work.instance)

    def _is_routed(self, run: InstanceRun) -> bool:
        """By the plan, or by what the router has served since."""
        traffic = self._traffic
        return traffic is not None and (run.work.is_routed or traffic.has(run.work.instance))

    def served_of(self, run: InstanceRun) -> frozenset[str]:
        """The names of the replicas that the router sends requests to."""
        traffic = self._traffic
        return frozenset() if traffic is None else traffic.served_of(run.work.instance)

    def describe_wait(self) -> str:
        message = "" if self._traffic is None else self._traffic.message
        return f"; the router: {message}" if message else ""

    def start_due(self) -> None:
        self._analysing.start_due()

    def intend(self, now: datetime) -> None:
        if self._traffic is not None and all(now >= until for until in self._expected.values()):
            self._traffic.intend()

    def submit(self) -> None:
        if self._traffic is not None:
            self._traffic.submit()

    def collect(self) -> bool:
        has_turned = self._analysing.collect()
        return (self._traffic is not None and self._traffic.collect()) or has_turned

    def finish(self, *, may_stop: bool) -> tuple[CtrlplaneError, ...]:
        """Let what is in flight end; why what was wanted is not served."""
        if self._traffic is None:
            return ()
        self._traffic.finish(may_stop=may_stop)
        return self.find_errors()

    def find_errors(self) -> tuple[CtrlplaneError, ...]:
        """Why what is wanted is not served now."""
        return () if self._traffic is None else self._traffic.find_errors()

    @property
    def warnings(self) -> tuple[str, ...]:
        return () if self._traffic is None else self._traffic.warnings

    @property
    def is_settled(self) -> bool:
        return self._traffic is None or self._traffic.is_settled

    @property
    def count(self) -> int:
        return 0 if self._traffic is None else self._traffic.count

    @property
    def running(self) -> list[Future[Any]]:
        written = [] if self._traffic is None else self._traffic.running
        return [*written, *self._analysing.running]

    def next_due(self) -> datetime | None:
        write = None if self._traffic is None else self._traffic.next_due()
        return min(filter(None, (write, self._analysing.next_due())), default=None)

    def _orders_now(self, now: datetime) -> Mapping[ResourceKey, Order]:
        if self._asked_at is None or now - self._asked_at >= _ASK_EVERY:
            self._orders, self._asked_at = self._read_orders(), now
        return self._orders


def _is_removal(run: InstanceRun) -> bool:
    return run.work.release is None or run.work.desired is None


def _runner(providers: Mapping[str, Provider], sets: Sets, release: int) -> RunCommand:
    """Runs a command in the first running replica of a release."""
    found = [
        (item.provider, replica.name)
        for item in sets
        for replica in item.replicas
        if item.release == release and replica.phase is ReplicaPhase.RUNNING
    ]

    def run_command(command: Sequence[str], timeout: timedelta) -> int:
        if not found:
            raise ProviderError(f"v{release} has no running replica")
        provider, name = found[0]
        return providers[provider].execute(name, command, timeout).exit_code

    return run_command


def _brings_routes(work: Work) -> bool:
    """Whether the work goes on serving requests, and says by which routes."""
    return work.release is not None and work.desired is not None and bool(work.desired.routes)
