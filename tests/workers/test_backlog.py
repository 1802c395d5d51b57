"""What failed is tried again, each instance for itself."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from ctrlplane_gitops.execute.part import WorkResult
from ctrlplane_gitops.execute.step import WorkState
from ctrlplane_gitops.state.desired import DesiredInstance
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.workers.backlog import Backlog, after_results
from tests.plan.plan_kit import App, make_desired

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEB, API = instance_key("acme", "web"), instance_key("acme", "api")


def wanted(image: str = "shop:1") -> dict[ResourceKey, DesiredInstance]:
    return dict(make_desired({"acme/web": App(image), "acme/api": App()}).instances)


def fail(backlog: Backlog, *keys: ResourceKey, now: datetime = NOW, image: str = "shop:1",
         state: WorkState = WorkState.FAILED) -> Backlog:  # fmt: skip
    results: Sequence[WorkResult] = [WorkResult(key, state, "no room") for key in keys]
    return after_results(backlog, results, wanted(image), now, lambda: 0)


def test_one_that_fails_waits_longer_and_longer_and_the_others_do_not() -> None:
    backlog, waits = fail(Backlog(), API), []
    for _ in range(8):
        backlog = fail(backlog, WEB)
        waits.append((backlog.setbacks[WEB].until - NOW).total_seconds())
    assert waits == [5, 10, 20, 40, 80, 160, 180, 180]
    assert backlog.setbacks[API].until == NOW + timedelta(seconds=5) == backlog.next_at


def test_who_is_held_says_why() -> None:
    backlog = fail(fail(Backlog(), WEB), WEB)
    (key, hold) = next(iter(backlog.holds(wanted(), NOW).items()))
    assert (key, hold.code, hold.reason) == (WEB, "backoff", "failed 2 times in a row: no room")


def test_nobody_is_held_when_the_time_has_come() -> None:
    backlog = fail(Backlog(), WEB)
    at = NOW + timedelta(seconds=5)
    assert backlog.due(NOW) == frozenset() and backlog.holds(wanted(), NOW).keys() == {WEB}
    assert backlog.due(at) == {WEB} and backlog.holds(wanted(), at) == {}


def test_something_else_that_is_wanted_is_tried_at_once_and_begins_anew() -> None:
    backlog = fail(fail(Backlog(), WEB), WEB)
    assert backlog.holds(wanted("shop:2"), NOW) == {}
    assert fail(backlog, WEB, image="shop:2").setbacks[WEB].failures == 1


@pytest.mark.parametrize(
    "state", [WorkState.DONE, WorkState.STARTED, WorkState.WAITING, WorkState.ROLLED_BACK]
)
def test_whoever_got_on_is_forgotten(state: WorkState) -> None:
    assert fail(fail(Backlog(), WEB), WEB, state=state) == Backlog()


@pytest.mark.parametrize(
    "state", [WorkState.UNDER_WAY, WorkState.SUPERSEDED, WorkState.OVERTAKEN, WorkState.CANCELLED]
)
def test_what_did_not_come_to_an_end_says_nothing(state: WorkState) -> None:
    backlog = fail(Backlog(), WEB)
    assert fail(backlog, WEB, state=state) == backlog


def test_those_being_tried_are_not_come_back_for() -> None:
    at = NOW + timedelta(minutes=1)
    backlog = fail(Backlog(), WEB).put_off([WEB, API], at)
    assert backlog.next_at == at and backlog.setbacks.keys() == {WEB}
    assert backlog.without([WEB]) == Backlog()
