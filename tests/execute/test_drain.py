"""Replicas out of the table, until no request can be on its way to them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ctrlplane_gitops.execute.drain import Drain, members_in
from ctrlplane_gitops.execute.part import Ending
from ctrlplane_gitops.state.key import parse_address
from ctrlplane_gitops.state.traffic import Backend, Member, RouteEntry
from tests.execute.execute_kit import Scene, states
from tests.execute.road_kit import QUICK, SECOND, Road, acme, served_by_v
from tests.plan.plan_kit import NOW

A, B = Member("a", "127.0.0.1", 1), Member("b", "127.0.0.2", 1)
TIMEOUT = 30 * SECOND
SETTLED = NOW + timedelta(milliseconds=100)


def left(*members: Member, confirmed: bool = True) -> Drain:
    """A drain that these have left for."""
    drain = Drain()
    drain.leave({item.replica: (item,) for item in members})
    if confirmed:
        drain.confirm(NOW)
    return drain


def test_it_takes_its_whole_time_where_nothing_can_be_counted() -> None:
    drain = left(A)
    assert drain.busy(NOW + TIMEOUT - SECOND, TIMEOUT) == {"a"}
    assert drain.busy(NOW + TIMEOUT, TIMEOUT) == frozenset() and drain.is_over


def test_time_counts_only_from_when_the_table_without_it_is_live() -> None:
    drain = left(A, confirmed=False)
    assert drain.busy(NOW + 10 * TIMEOUT, TIMEOUT) == {"a"}
    assert drain.uncounted(NOW + 10 * TIMEOUT) == ()
    drain.confirm(NOW + 10 * TIMEOUT)
    drain.confirm(NOW + 20 * TIMEOUT)  # said again, nothing new
    assert drain.busy(NOW + 11 * TIMEOUT, TIMEOUT) == frozenset()


def test_it_is_over_as_soon_as_nothing_is_in_flight() -> None:
    drain = left(A, B)
    assert drain.uncounted(SETTLED) == (A, B)
    assert drain.take(0) and drain.is_over


@pytest.mark.parametrize("count", [3, None])
def test_requests_in_flight_or_no_count_keep_it_open(count: int | None) -> None:
    drain = left(A)
    drain.uncounted(SETTLED)
    assert not drain.take(count)
    assert drain.busy(SETTLED, TIMEOUT) == {"a"}


def test_what_was_on_its_way_when_the_table_changed_is_counted() -> None:
    assert left(A).uncounted(NOW + timedelta(milliseconds=99)) == ()


def test_a_router_is_not_asked_too_often() -> None:
    drain = left(A)
    assert drain.uncounted(SETTLED) == (A,)
    assert drain.uncounted(SETTLED + timedelta(milliseconds=199)) == ()
    assert drain.uncounted(SETTLED + timedelta(milliseconds=200)) == (A,)


def test_who_leaves_while_others_are_counted_is_not_counted_with_them() -> None:
    drain = left(A)
    drain.uncounted(SETTLED)
    drain.leave({"b": (B,)})
    drain.confirm(SETTLED)
    assert drain.take(0)
    assert drain.busy(SETTLED, TIMEOUT) == {"b"}


def test_who_gets_requests_again_is_not_waited_for() -> None:
    drain = left(A, B)
    drain.stay({"a"})
    assert drain.busy(NOW, TIMEOUT) == {"b"}


def test_who_leaves_again_has_its_time_again() -> None:
    drain = left(A)
    drain.stay({"a"})
    drain.leave({"a": (A,)})
    drain.confirm(NOW + TIMEOUT)
    assert drain.busy(NOW + TIMEOUT, TIMEOUT) == {"a"}


def test_a_suspicion_takes_nothing_from_who_is_known_to_leave() -> None:
    drain = left(A)
    drain.suspect({"a": (A,), "b": (B,)})
    drain.confirm(NOW + SECOND)
    assert drain.busy(NOW + TIMEOUT, TIMEOUT) == {"b"}


def test_members_are_found_by_name_in_every_entry() -> None:
    key, other = parse_address("route/acme/web"), Member("a", "127.0.0.1", 2)
    entries = [
        RouteEntry(key, key, ("x",), "/", (Backend(1, 100, (A, B)),)),
        RouteEntry(key, key, ("y",), "/", (Backend(1, 100, (other,)),)),
    ]
    assert members_in(entries, {"a"}) == {"a": (A, other)}
    assert members_in(entries, None) == {"a": (A, other), "b": (B,)}


# Under an apply.


@pytest.fixture
def road(scene: Scene) -> Road:
    road = Road(scene)
    scene.run(acme())
    return road


def test_slow_requests_hold_the_old_release_and_nothing_else(scene: Scene, road: Road) -> None:
    road.router.faults.in_flight = {"prod.acme.web.v1.0": 1}
    started = scene.clock.now()
    scene.run(acme("shop:2"))
    took = scene.clock.now() - started
    assert QUICK.drain_timeout <= took < QUICK.drain_timeout + 2 * SECOND
    assert road.members() == served_by_v(2)


def test_without_slow_requests_a_rollout_takes_no_drain_timeout(scene: Scene, road: Road) -> None:
    started = scene.clock.now()
    scene.run(acme("shop:2"))
    assert scene.clock.now() - started < 2 * SECOND


def test_a_router_that_cannot_count_is_given_the_whole_drain_timeout(scene: Scene) -> None:
    Road(scene, capabilities=["hitless"])
    scene.run(acme())
    started = scene.clock.now()
    scene.run(acme("shop:2"))
    assert scene.clock.now() - started >= QUICK.drain_timeout


@pytest.mark.parametrize("is_busy", [True, False])
def test_who_was_a_member_before_a_crash_is_taken_to_be_draining(
    scene: Scene, road: Road, is_busy: bool
) -> None:
    """The table that is there does not say who was taken out of it a moment ago."""
    road.router.faults.in_flight = dict.fromkeys(served_by_v(1), 1)
    assert scene.run(acme("shop:2"), within=3 * SECOND).ending is Ending.TIMED_OUT
    assert scene.replicas()["acme/web v1"] >= 1 and road.early == []
    table = road.router.served

    router = road.restart()
    assert router.served == table
    router.faults.in_flight = dict.fromkeys(served_by_v(1), 1) if is_busy else {}
    started = scene.clock.now()
    assert states(scene.run(acme("shop:2"))) == {"acme/web": "done"}
    assert (scene.clock.now() - started >= QUICK.drain_timeout) is is_busy
    assert scene.replicas() == {"acme/web v2": 2}
