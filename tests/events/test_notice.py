"""What is worth a message: examples, and what holds whatever happens."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctrlplane_gitops.events.notice import (
    FORGOTTEN_AFTER,
    QUIET,
    RULES,
    Fold,
    Status,
    Told,
    fold,
    is_asked,
    settle,
    subject_of,
)
from ctrlplane_gitops.state.desired import Notification, SecretRef
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.recorded import Event

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WEB = "instance/acme/web"
SECRET = SecretRef(ResourceKey(Kind.CONTROL_PLANE, "", "prod"), "env", "OPS")


def subscription(
    name: str = "ops", *events: str, tenants: tuple[str, ...] = ("*",)
) -> Notification:
    return Notification(name, events or ("*",), SECRET, "http://ops/", tenants=tenants)


OPS = subscription()


class Log:
    """Events a minute apart."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(
        self, type: str, address: str = WEB, times: int = 1, after: timedelta = MINUTE, **data: str
    ) -> Log:
        for _ in range(times):
            at = self.events[-1].at + after if self.events else NOW
            number = len(self.events)
            self.events.append(Event(f"evt_{number}", at, type, address, f"text {number}", data))
        return self

    def fold(self, *subscriptions: Notification) -> Fold:
        return fold((), self.events, subscriptions or (OPS,))


def shown(found: Fold) -> list[tuple[str, str, int]]:
    return [(item.event.id, item.status.value, item.count) for item in found.told]


def test_a_hundred_identical_failures_are_one_message_and_one_recovery() -> None:
    found = Log().add("rollout.failed", times=100, release="v2").add("rollout.completed").fold()
    assert shown(found) == [("evt_0", "failure", 1), ("evt_100", "recovery", 100)]
    assert found.told[1].since == NOW
    assert found.notices == {}


@pytest.mark.parametrize(
    ("failure", "data", "recovery"),
    [
        ("rollout.rolledBack", {"release": "v2"}, "rollout.completed"),
        ("action.failed", {"code": "unreachable"}, "rollout.completed"),
        ("action.failed", {"code": "unreachable"}, "instance.repaired"),
        ("work.skipped", {}, "rollout.completed"),
        ("health.failed", {"check": "ready"}, "health.recovered"),
        ("health.degraded", {}, "health.passed"),
        ("instance.quarantined", {}, "instance.released"),
        ("certificate.expiring", {"threshold": "168h"}, "certificate.renewed"),
    ],
)
def test_every_failure_has_its_recovery(failure: str, data: dict[str, str], recovery: str) -> None:
    log = Log().add(failure, times=3, **data)
    log.add(recovery, **({"check": data["check"]} if "check" in data else {}))
    assert shown(log.fold()) == [("evt_0", "failure", 1), ("evt_3", "recovery", 3)]


def test_another_failure_of_the_same_address_is_another_message() -> None:
    log = Log().add("rollout.failed", release="v2").add("rollout.failed", release="v3")
    log.add("rollout.rolledBack", release="v3").add("rollout.failed", release="v2")
    log.add("action.failed", code="image").add("action.failed", code="provider")
    log.add("rollout.completed")
    assert [status for _, status, _ in shown(log.fold())] == ["failure"] * 5 + ["recovery"]
    assert log.fold().told[-1].count == 6


def test_drift_is_told_again_when_it_is_another_one() -> None:
    log = Log()
    for text in ("replicas 3 -> 2", "replicas 3 -> 2", "replicas 3 -> 1"):
        at = NOW + len(log.events) * MINUTE
        log.events.append(Event(f"evt_{len(log.events)}", at, "drift.detected", WEB, text))
    log.add("drift.resolved")
    assert shown(log.fold()) == [
        ("evt_0", "failure", 1),
        ("evt_2", "failure", 1),
        ("evt_3", "recovery", 3),
    ]


def test_what_fails_elsewhere_is_not_over_with_it() -> None:
    log = Log().add("rollout.failed", release="v2")
    log.add("rollout.failed", "instance/acme/web2", release="v2").add("rollout.completed")
    found = log.fold()
    assert [key[1] for key in found.notices] == ["instance/acme/web2"]


def test_checks_of_one_instance_fail_and_recover_one_by_one() -> None:
    log = Log().add("health.failed", check="a").add("health.failed", check="b")
    log.add("health.recovered", check="a").add("health.failed", check="b")
    log.add("health.recovered", check="b")
    assert shown(log.fold()) == [
        ("evt_0", "failure", 1),
        ("evt_1", "failure", 1),
        ("evt_2", "recovery", 1),
        ("evt_4", "recovery", 2),
    ]


def test_worse_than_degraded_is_told_and_ends_with_it() -> None:
    log = Log().add("health.degraded", times=2, check="a").add("health.failed", check="a")
    log.add("health.recovered", check="a")
    assert shown(log.fold()) == [
        ("evt_0", "failure", 1),
        ("evt_2", "failure", 1),
        ("evt_3", "recovery", 3),
    ]


def test_what_fails_again_after_a_quiet_hour_is_told_again_and_counted_on() -> None:
    log = Log().add("action.failed", times=5, code="x")
    log.add("action.failed", after=QUIET, code="x").add("rollout.completed")
    assert shown(log.fold()) == [
        ("evt_0", "failure", 1),
        ("evt_5", "failure", 6),
        ("evt_6", "recovery", 6),
    ]


def test_a_recovery_without_a_failure_is_a_message_like_any_other() -> None:
    assert shown(Log().add("rollout.completed", times=2).fold()) == [
        ("evt_0", "single", 0),
        ("evt_1", "single", 0),
    ]


def test_what_nobody_knows_is_a_message_each_time() -> None:
    log = Log().add("moon.risen", times=2).add("rollout.paused")
    assert [status for _, status, _ in shown(log.fold())] == ["single"] * 3


def test_what_flaps_is_one_message_and_one_when_it_has_settled() -> None:
    log = Log().add("instance.repaired", times=100)
    found = log.fold()
    assert shown(found) == [("evt_0", "failure", 1)]
    last = log.events[-1].at
    assert settle(found.notices.values(), last + QUIET - MINUTE) == Fold(found.notices, ())
    over = settle(found.notices.values(), last + QUIET)
    assert (shown(over), over.notices) == ([("evt_99", "settled", 100)], {})
    (told,) = over.told
    assert (told.event.type, told.event.address) == ("instance.repaired", WEB)
    assert told.event.message == "100 times, and not for an hour: text 99"


def test_what_flapped_once_settles_in_silence() -> None:
    found = Log().add("instance.repaired").fold()
    assert settle(found.notices.values(), NOW + QUIET) == Fold({}, ())


def test_a_failure_does_not_settle_by_itself_but_is_forgotten_one_day() -> None:
    notices = Log().add("rollout.failed", times=2, release="v2").fold().notices
    later = NOW + MINUTE + FORGOTTEN_AFTER
    assert settle(notices.values(), later - MINUTE) == Fold(notices, ())
    assert settle(notices.values(), later) == Fold({}, ())


def test_what_is_removed_has_no_failures_any_more() -> None:
    log = Log().add("rollout.failed", release="v2").add("action.failed", code="x")
    log.add("rollout.failed", "instance/acme/db", release="v1")
    log.add("rollout.failed", "instance/beta/web", release="v1").add("instance.removed")
    found = log.fold()
    assert shown(found)[-1] == ("evt_4", "single", 0)
    assert {key[1] for key in found.notices} == {"instance/acme/db", "instance/beta/web"}
    log.add("tenant.removed", "tenant/acme")
    assert {key[1] for key in log.fold().notices} == {"instance/beta/web"}


def test_a_deployment_fails_and_recovers_as_its_instance() -> None:
    log = Log().add("action.failed", "deployment/acme/web", code="x").add("rollout.completed")
    assert shown(log.fold()) == [("evt_0", "failure", 1), ("evt_1", "recovery", 1)]


def test_who_does_not_ask_for_a_type_hears_nothing_of_it_but_it_ends() -> None:
    only = subscription("only", "rollout.failed")
    log = Log().add("rollout.failed", release="v2").add("rollout.completed")
    log.add("rollout.failed", release="v2")
    assert shown(log.fold(only)) == [("evt_0", "failure", 1), ("evt_2", "failure", 1)]


@pytest.mark.parametrize(
    ("events", "tenants", "type", "address", "expected"),
    [
        (("*",), ("*",), "moon.risen", "", True),
        (("rollout.*",), ("*",), "rollout.rolledBack", WEB, True),
        (("rollout.*",), ("*",), "release.pinned", WEB, False),
        (("*.failed",), ("*",), "health.failed", WEB, True),
        (("apply.ended", "health.*"), ("*",), "apply.ended", "controlplane/prod", True),
        (("*",), ("ac*",), "rollout.failed", WEB, True),
        (("*",), ("beta", "acme"), "tenant.removed", "tenant/acme", True),
        (("*",), ("beta",), "rollout.failed", WEB, False),
        (("*",), ("prod", "acme"), "apply.ended", "controlplane/prod", False),
    ],
)
def test_a_subscription_asks_by_globs_of_types_and_tenants(
    events: tuple[str, ...], tenants: tuple[str, ...], type: str, address: str, expected: bool
) -> None:
    event = Event("evt_1", NOW, type, address, "")
    assert is_asked(subscription("ops", *events, tenants=tenants), event) is expected


# Whatever happens

TYPES = sorted({str(rule.type) for rule in RULES} | {"moon.risen", "rollout.paused"})
ADDRESSES = (WEB, "deployment/acme/web", "instance/acme/db", "instance/beta/web", "tenant/acme",
             "controlplane/prod", "")  # fmt: skip
SUBSCRIPTIONS = (
    OPS,
    subscription("fail", "*.failed"),
    subscription("acme", "rollout.*", "health.*", tenants=("acme",)),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    at, events = NOW, []
    for number in range(draw(st.integers(0, 25))):
        at += timedelta(minutes=draw(st.sampled_from((0, 1, 10, 59, 60, 200))))
        data = draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "release": st.sampled_from(("v1", "v2")),
                    "code": st.just("x"),
                    "check": st.sampled_from(("a", "b")),
                },
            )
        )
        type, address = draw(st.sampled_from(TYPES)), draw(st.sampled_from(ADDRESSES))
        events.append(Event(f"evt_{number}", at, type, address, "", data))
    return events


@settings(max_examples=150, deadline=None)
@given(histories(), st.data())
def test_where_it_was_interrupted_makes_no_difference(
    events: list[Event], data: st.DataObject
) -> None:
    whole = fold((), events, SUBSCRIPTIONS)
    cut = data.draw(st.integers(0, len(events)))
    first = fold((), events[:cut], SUBSCRIPTIONS)
    second = fold(first.notices.values(), events[cut:], SUBSCRIPTIONS)
    assert (first.told + second.told, dict(second.notices)) == (whole.told, dict(whole.notices))


@settings(max_examples=100, deadline=None)
@given(histories())
def test_no_subscription_changes_what_another_is_told(events: list[Event]) -> None:
    whole = fold((), events, SUBSCRIPTIONS)
    for item in SUBSCRIPTIONS:
        alone = fold((), events, (item,))
        assert alone.told == tuple(x for x in whole.told if x.subscription == item.name)


@settings(max_examples=150, deadline=None)
@given(histories())
def test_nothing_is_told_twice_lost_or_told_to_who_did_not_ask(events: list[Event]) -> None:
    found = fold((), events, SUBSCRIPTIONS)
    pairs = Counter((item.subscription, item.event.id) for item in found.told)
    assert set(pairs.values()) <= {1}
    by_name = {item.name: item for item in SUBSCRIPTIONS}
    assert all(is_asked(by_name[item.subscription], item.event) for item in found.told)
    quiet = {str(rule.type) for rule in RULES if rule.kind}
    for item in SUBSCRIPTIONS:
        for event in events:
            if is_asked(item, event) and event.type not in quiet:
                assert (item.name, event.id) in pairs


STEPS = st.sampled_from((
    ("rollout.failed", {"release": "v1"}),
    ("rollout.failed", {"release": "v2"}),
    ("action.failed", {"code": "x"}),
    ("work.skipped", {}),
    ("rollout.completed", {}),
    ("replicas.scaled", {}),
))  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_a_recovery_counts_every_failure_since_the_last_one(
    steps: list[tuple[str, dict[str, str]]],
) -> None:
    log, expected, failures = Log(), [], 0
    for type, data in steps:
        log.add(type, **data)
        if type == "rollout.completed":
            expected.append(failures)
            failures = 0
        elif type != "replicas.scaled":
            failures += 1
    ends = [item for item in log.fold().told if item.event.type == "rollout.completed"]
    assert [item.count for item in ends] == expected
    assert all((item.status is Status.RECOVERY) == (item.count > 0) for item in ends)


@settings(max_examples=150, deadline=None)
@given(histories())
def test_messages_of_a_failure_that_goes_on_are_an_hour_apart(events: list[Event]) -> None:
    last: dict[tuple[str, str, tuple[str, ...]], Told] = {}
    for item in fold((), events, (OPS,)).told:
        subject = subject_of(item.event.address)
        if item.status is not Status.FAILURE:
            last = {key: value for key, value in last.items() if key[1] != subject}
            if item.event.address == "tenant/acme":
                last = {}
            continue
        key = (item.event.type, subject, tuple(sorted(item.event.data.items())))
        if key in last:
            assert item.event.at - last[key].event.at >= QUIET
        last[key] = item
