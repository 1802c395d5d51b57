"""Between the works of an apply and what steers them from outside: the router, and people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any

from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.execute.run import Act, End, InstanceRun, Pause, Surroundings
from ctrlplane_gitops.execute.traffic import Traffic
from ctrlplane_gitops.plan.change import Plan
from ctrlplane_gitops.rollout.view import wishes_of
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedReplicaSet
from ctrlplane_gitops.state.recorded import Order

_ASK_EVERY = timedelta(milliseconds=250)
Sets = tuple[ObservedReplicaSet, ...]


class Steering:
    """``traffic`` None: no router is concerned, and every question about it is answered at once."""

    def __init__(
        self, traffic: Traffic | None, read_orders: Callable[[], Mapping[ResourceKey, Order]]
    ) -> None:
        self._traffic = traffic
        self._read_orders = read_orders
        self._orders: Mapping[ResourceKey, Order] = {}
        self._asked_at: datetime | None = None
        self._seen: set[ResourceKey] = set()

    def begin(self, plan: Plan) -> None:
        """Have the router run where the plan is about anything it serves."""
        traffic = self._traffic
        routed = [work for work in plan.works if work.desired is None or work.desired.routes]
        is_needed = routed or plan.unrouted or plan.certificates or plan.starts_router
        if traffic is not None and is_needed:
            traffic.begin(plan.unrouted, is_rewritten=bool(plan.certificates))

    def surround(self, run: InstanceRun, sets: Sets, now: datetime) -> Surroundings:
        """What the strategy is shown besides the replicas."""
        key, desired, target = run.work.instance, run.work.desired, run.target
        wishes = wishes_of(self._orders_now(now).get(key), target.number if target else 0)
        if self._traffic is None or desired is None or not desired.routes:
            return Surroundings(wishes=wishes)
        is_first = key not in self._seen and not run.was_settled
        self._seen.add(key)
        # What Git says of the routes and where the members are now; who gets what share is for
        # the strategy to say.
        self._traffic.sync(desired, sets)
        return Surroundings(self._traffic.view(desired, sets, now, is_first=is_first), wishes)

    def follow(self, run: InstanceRun, step: Act | Pause | End, sets: Sets) -> None:
        """Tell the router what a decision asks for."""
        desired = run.work.desired
        if self._traffic is None or desired is None or not desired.routes:
            return
        if isinstance(step, Act) and step.route is not None:
            self._traffic.want(desired, step.route, sets)

    def lets_go(self, run: InstanceRun, now: datetime) -> bool:
        """Whether an instance that is removed gets no request any more."""
        is_removal = run.work.release is None or run.work.desired is None
        if self._traffic is None or not is_removal or not self._traffic.has(run.work.instance):
            return True
        return self._traffic.drop(run.work.instance, now, run.drain_timeout)

    def error_of(self, run: InstanceRun) -> CtrlplaneError | None:
        """Why nothing can be done about a work that needs the router."""
        desired, traffic = run.work.desired, self._traffic
        if traffic is None:
            return None
        is_routed = bool(desired and desired.routes) or traffic.has(run.work.instance)
        return traffic.error_of(run.work.instance) if is_routed else None

    def served_of(self, run: InstanceRun) -> frozenset[str]:
        """The names of the replicas that the router sends requests to."""
        traffic = self._traffic
        return frozenset() if traffic is None else traffic.served_of(run.work.instance)

    def describe_wait(self) -> str:
        message = "" if self._traffic is None else self._traffic.message
        return f"; the router: {message}" if message else ""

    def intend(self) -> None:
        if self._traffic is not None:
            self._traffic.intend()

    def submit(self) -> None:
        if self._traffic is not None:
            self._traffic.submit()

    def collect(self) -> bool:
        return self._traffic is not None and self._traffic.collect()

    def finish(self, *, may_stop: bool) -> tuple[CtrlplaneError, ...]:
        """Let what is in flight end; why what was wanted is not served."""
        if self._traffic is None:
            return ()
        self._traffic.finish(may_stop=may_stop)
        return self._traffic.find_errors()

    @property
    def is_settled(self) -> bool:
        return self._traffic is None or self._traffic.is_settled

    @property
    def count(self) -> int:
        return 0 if self._traffic is None else self._traffic.count

    @property
    def running(self) -> list[Future[Any]]:
        return [] if self._traffic is None else self._traffic.running

    def next_due(self) -> datetime | None:
        return None if self._traffic is None else self._traffic.next_due()

    def _orders_now(self, now: datetime) -> Mapping[ResourceKey, Order]:
        if self._asked_at is None or now - self._asked_at >= _ASK_EVERY:
            self._orders, self._asked_at = self._read_orders(), now
        return self._orders
