"""Drift that is corrected again and again, and drift that is only reported."""

from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.part import WorkResult
from ctrlplane_gitops.execute.step import WorkState
from ctrlplane_gitops.plan.change import Plan
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.value import replace
from ctrlplane_gitops.workers.drift import LIMIT, WINDOW, DriftLog, after_corrections, after_plan
from tests.plan.plan_kit import POLICY, App, World, applied, make_desired

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WEB = instance_key("acme", "web")
APPS = {"acme/web": App(), "zen/web": App()}
SHOP = make_desired(APPS)


def plan(world: World, log: DriftLog, now: datetime, desired: DesiredState = SHOP) -> Plan:
    return world.plan(desired, replace(POLICY, drift_holds=log.holds(desired.instances, now)))


def correct(log: DriftLog, now: datetime) -> DriftLog:
    world = applied(APPS)
    world.kill("acme/web", 1)
    return after_corrections(log, plan(world, DriftLog(), now), [WorkResult(WEB, WorkState.DONE)],
                             now)  # fmt: skip


def test_the_third_correction_within_ten_minutes_is_the_last() -> None:
    log, held = DriftLog(), []
    for number in range(LIMIT):
        held.append(bool(log.holds(SHOP.instances, NOW + number * MINUTE)))
        log = correct(log, NOW + number * MINUTE)
    held.append(bool(log.holds(SHOP.instances, NOW + LIMIT * MINUTE)))
    assert held == [False, False, False, True]


def test_corrections_far_apart_go_on_for_ever() -> None:
    log = DriftLog()
    for number in range(20):
        at = NOW + number * WINDOW / 2
        assert not log.holds(SHOP.instances, at)
        log = correct(log, at)
    assert len(log.corrected[WEB]) == 2


def test_quarantine_is_told_once_and_lasts_longer_than_the_ten_minutes() -> None:
    log = DriftLog(corrected={WEB: (NOW,) * LIMIT})
    world = applied(APPS)
    world.kill("acme/web", 1)
    told = []
    for hour in range(3):
        at = NOW + hour * timedelta(hours=1)
        seen = plan(world, log, at)
        assert not seen.works
        log, alerts = after_plan(log, seen, SHOP.instances, None)
        told += [(item.type, item.address) for item in alerts]
    assert told == [(EventType.INSTANCE_QUARANTINED, WEB.address)]


def test_quarantine_ends_with_other_specs_or_when_somebody_asks() -> None:
    log = DriftLog(corrected={WEB: (NOW,) * LIMIT})
    world = applied(APPS)
    world.kill("acme/web", 1)
    log, _ = after_plan(log, plan(world, log, NOW), SHOP.instances, None)
    later = NOW + timedelta(hours=1)
    assert not log.holds(make_desired({"acme/web": App(replicas=4)}).instances, later)
    asked = log.without([WEB])
    seen = plan(world, asked, later)
    assert [work.instance for work in seen.works] == [WEB]
    assert [item.type for item in after_plan(asked, seen, SHOP.instances, None)[1]] == [
        EventType.INSTANCE_RELEASED
    ]
    # Somebody else has mended it.
    _, alerts = after_plan(log, plan(applied(APPS), log, later), SHOP.instances, None)
    assert [item.type for item in alerts] == [EventType.INSTANCE_RELEASED]


def test_observed_drift_is_told_when_it_changes_and_when_it_is_over() -> None:
    quiet = {
        key: replace(item, is_drift_observed=key == WEB) for key, item in SHOP.instances.items()
    }
    desired = DesiredState(SHOP.plane, SHOP.resources, quiet)
    world, log, told = applied(APPS), DriftLog(), []
    for killed in ([], [0], [], [1], []):
        for index in killed:
            world.kill("acme/web", index)
        log, alerts = after_plan(log, plan(world, log, NOW, desired), quiet, None)
        told.append([item.type.value for item in alerts])
    assert told == [[], ["drift.detected"], [], ["drift.detected"], []]
    mended = plan(applied(APPS), log, NOW, desired)
    assert after_plan(log, mended, quiet, {instance_key("zen", "web")})[1] == ()
    assert [item.type for item in after_plan(log, mended, quiet, None)[1]] == [
        EventType.DRIFT_RESOLVED
    ]
